"""Counting modes: eight are eight, what perfect samples score, what a collapsed generator scores."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from minigan.data.sources import load_images
from minigan.evaluation.classifier import load_classifier
from minigan.evaluation.modes import (
    GRID_STD,
    RING_STD,
    StackedClassifier,
    draw_gaussians,
    gaussian_modes,
    grid,
    reverse_kl,
    ring,
    stacked_modes,
)

SETS: list[Any] = [pytest.param(ring, RING_STD, 8, id="ring"), pytest.param(grid, GRID_STD, 25, id="grid")]
Centres = Callable[[], np.ndarray]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("centres", "std", "modes"), SETS)
def test_the_modes_are_distinct_and_many_standard_deviations_apart(centres: Centres, std: float, modes: int) -> None:
    points = centres()
    assert points.shape == (modes, 2)
    apart = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(modes)
    assert apart.min() > 30 * std
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)


def test_the_ring_is_a_regular_octagon_of_radius_two() -> None:
    np.testing.assert_allclose(np.linalg.norm(ring(), axis=1), 2)
    sides = np.linalg.norm(ring() - np.roll(ring(), 1, axis=0), axis=1)
    np.testing.assert_allclose(sides, 4 * math.sin(math.pi / 8))


def test_counting_both_ends_of_the_circle_would_leave_seven_modes() -> None:
    """The mistake of a published demo, found by the count."""
    angles = np.linspace(0, 2 * np.pi, 8)
    seven = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert len(np.unique(seven.round(9), axis=0)) == 7
    assert len(np.unique(ring().round(9), axis=0)) == 8


@pytest.mark.parametrize(("centres", "std", "modes"), SETS)
@pytest.mark.parametrize("within", [3, 4])
def test_perfect_samples(centres: Centres, std: float, modes: int, within: int) -> None:
    count = 20_000
    report = gaussian_modes(draw_gaussians(centres(), std, count, rng()), centres(), std, within)
    assert report.covered == modes
    exact = 1 - math.exp(-(within**2) / 2)
    assert abs(report.high_quality - exact) < 4 * math.sqrt(exact * (1 - exact) / count)
    assert report.counts.sum() == count
    assert 0 < report.reverse_kl < 3 * (modes - 1) / (2 * count)


def test_a_generator_that_has_collapsed_covers_one_mode(device: Any) -> None:
    centres = ring()
    points = draw_gaussians(centres[2:3], RING_STD, 500, rng())
    report = gaussian_modes(device.put(points), device.put(centres), RING_STD)
    assert (report.covered, report.counts.tolist()) == (1, [0, 0, 500, 0, 0, 0, 0, 0])
    assert report.reverse_kl == pytest.approx(math.log(8))
    assert report.high_quality > 0.97


def test_samples_between_the_modes_cover_none() -> None:
    centres = ring()
    between = (centres + np.roll(centres, 1, axis=0)) / 2 * 1.0001
    report = gaussian_modes(between, centres, RING_STD)
    assert (report.covered, report.high_quality) == (0, 0)


def test_three_standard_deviations_are_within_and_a_little_more_is_not() -> None:
    centres = np.array([[5.0, 5.0]])
    offsets = np.array([[0.0, 2.99], [2.99, 0], [3.01, 0], [2.2, 2.2]])  # the last is 3.11 away
    assert gaussian_modes(centres + 0.1 * offsets, centres, 0.1).high_quality == 0.5


@pytest.mark.parametrize("expected", [None, [1, 2, 3, 4]])
def test_the_reverse_kl_is_that_of_scipy(expected: list[int] | None) -> None:
    counts = np.array([5, 0, 2, 13])
    p = np.ones(4) if expected is None else np.array(expected)
    assert reverse_kl(counts, None if expected is None else p) == pytest.approx(entropy(counts, p))


def test_what_is_never_expected_is_infinitely_wrong() -> None:
    assert reverse_kl(np.array([1, 1]), np.array([1, 0])) == math.inf


def test_the_bias_that_the_docstring_states() -> None:
    """The mean of 200 draws is known to half a percent; the next term, K^2 / (12 N^2), is another half."""
    counts = [np.bincount(rng(seed).integers(0, 1000, 26_000), minlength=1000) for seed in range(200)]
    assert np.mean([reverse_kl(each) for each in counts]) == pytest.approx(999 / 52_000, rel=0.02)


def stacked_classifier() -> StackedClassifier:
    digits = load_classifier("classifier-mnist")
    return StackedClassifier(digits.name, digits.theta, digits.device)


def test_the_probability_of_three_digits_is_the_product_of_theirs() -> None:
    images = load_images("stacked").images[:20]
    read = load_classifier("classifier-mnist").look
    red, green, blue = (softmax(read(images[..., c : c + 1])[1], axis=1) for c in range(3))
    product = np.einsum("na,nb,nc->nabc", red, green, blue).reshape(20, 1000)
    np.testing.assert_allclose(softmax(stacked_classifier().look(images)[1], axis=1), product, atol=1e-6)


def test_stacked_digits_are_counted_colour_by_colour() -> None:
    data = load_images("mnist5k")
    classifier = stacked_classifier()
    digits = [data.images[data.labels == digit][:1] for digit in range(10)]
    shown = np.concatenate([np.concatenate([digits[a], digits[b], digits[c]], axis=3) for a, b, c in WRITTEN])
    report = stacked_modes(classifier.look(shown)[1])
    assert np.flatnonzero(report.counts).tolist() == sorted({100 * a + 10 * b + c for a, b, c in WRITTEN})
    assert report.covered == 4
    assert report.counts[123] == 2


WRITTEN = [(1, 2, 3), (3, 2, 1), (0, 0, 7), (9, 8, 0), (1, 2, 3)]


def test_real_stacked_digits_cover_what_chance_would() -> None:
    report = stacked_modes(stacked_classifier().look(load_images("stacked").images[:2000])[1])
    by_chance = 1000 * (1 - (1 - 1 / 1000) ** 2000)  # 865
    assert abs(report.covered - by_chance) < 40
    assert report.reverse_kl == pytest.approx(999 / 4000, rel=0.3)
