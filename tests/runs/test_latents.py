"""Ways through latent space."""

import numpy as np
import pytest
from hypothesis import given

from minigan.runs.latents import arithmetic, great_circle, straight, walk
from tests.strategies import normal, seeds


@given(seed=seeds)
def test_the_way_begins_and_ends_at_its_latents(seed: int) -> None:
    a, b = normal(seed, 2, 7)
    np.testing.assert_allclose(great_circle(a, b, 0), a, atol=1e-12)
    np.testing.assert_allclose(great_circle(a, b, 1), b, atol=1e-12)


@given(seed=seeds)
def test_between_latents_of_one_length_it_keeps_that_length(seed: int) -> None:
    a, b = normal(seed, 2, 7)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angles = []
    for t in (0.25, 0.5, 0.75):
        z = great_circle(a, b, t)
        assert np.linalg.norm(z) == pytest.approx(1, rel=1e-9)
        angles.append(np.arccos(np.clip(a @ z, -1, 1)))
    assert angles[1] == pytest.approx(2 * angles[0], rel=1e-6)  # at constant speed
    assert angles[2] == pytest.approx(3 * angles[0], rel=1e-6)


def test_parallel_latents_are_joined_by_a_straight_line() -> None:
    a = np.array([1.0, 2.0])
    np.testing.assert_allclose(great_circle(a, 3 * a, 0.5), 2 * a)
    np.testing.assert_allclose(great_circle(np.zeros(2), a, 0.5), a / 2)


def test_a_walk_passes_through_every_anchor_and_closes() -> None:
    anchors = normal(0, 3, 5).astype(np.float32)
    points = walk(anchors, between=4)
    assert points.shape == (12, 5)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[::4], anchors, rtol=1e-6)
    np.testing.assert_allclose(points[-1], great_circle(anchors[2], anchors[0], 0.75), rtol=1e-5)


def test_a_walk_may_go_straight_as_that_of_classes() -> None:
    """From class 0 to 1 to 2 and back: shares of two classes, which are 1 together."""
    points = walk(np.eye(3, dtype=np.float32), between=4, way=straight)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points[:5], [[1, 0, 0], [0.75, 0.25, 0], [0.5, 0.5, 0], [0.25, 0.75, 0], [0, 1, 0]])
    np.testing.assert_array_equal(points.sum(axis=1), 1)
    assert walk(np.empty((3, 0), np.float32), between=4, way=straight).shape == (12, 0)


def test_arithmetic_adds_and_subtracts() -> None:
    latents = normal(0, 6, 3)
    drawn = arithmetic(latents, (1, 4, 5))
    np.testing.assert_array_equal(drawn[:3], latents[[1, 4, 5]])
    np.testing.assert_array_equal(drawn[3], latents[1] - latents[4] + latents[5])
