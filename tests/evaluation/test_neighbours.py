"""Scores by neighbours: the explicit loops, what equal and what disjoint sets give, copies, bounded memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from minigan.evaluation import distances
from minigan.evaluation.neighbours import (
    density_coverage,
    kth_distance,
    nearest,
    precision_recall,
    two_sample_accuracy,
)
from reference import scores

rows = st.sampled_from([1, 3, 1024])  # points in a block: the result must not depend on it


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@given(st.integers(4, 9), st.integers(4, 9), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99), rows)
def test_agree_with_the_explicit_loops_however_the_blocks_fall(n, m, dimension, k, seed, size):
    real, fake = draw([seed, 1], n, dimension), draw([seed, 2], m, dimension) + 0.5
    equal = min(n, m)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "ROWS", size)
        assert precision_recall(real, fake, k) == pytest.approx(scores.precision_recall(real, fake, k))
        assert density_coverage(real, fake, k) == pytest.approx(scores.density_coverage(real, fake, k))
        found = two_sample_accuracy(real[:equal], fake[:equal])
        assert found[1:] == pytest.approx(scores.two_sample_accuracy(real[:equal], fake[:equal]))
        assert found.accuracy == pytest.approx(sum(found[1:]) / 2)
        assert nearest(fake, real).index.tolist() == scores.nearest(fake, real)


@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 99), rows)
def test_the_kth_distance_is_that_of_a_search_tree(count, dimension, seed, size):
    points = draw(seed, count, dimension)
    k = min(3, count - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "ROWS", size)
        found = kth_distance(points, k)
    expected = cKDTree(points).query(points, k=[k + 1])[0][:, 0]
    np.testing.assert_allclose(np.sqrt(found), expected, rtol=1e-7)


def test_the_nearest_is_that_of_a_search_tree():
    points, among = draw(0, 60, 3), draw(1, 80, 3)
    found, (expected, index) = nearest(points, among), cKDTree(among).query(points)
    np.testing.assert_allclose(np.sqrt(found.squared), expected, rtol=1e-9)
    assert found.index.tolist() == index.tolist()


def test_two_sets_of_one_distribution_score_as_the_papers_derive():
    real, fake = draw(0, 2000, 4), draw(1, 2000, 4)
    density, coverage = density_coverage(real, fake)
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.01)
    assert two_sample_accuracy(real, fake).accuracy == pytest.approx(0.5, abs=0.03)


def test_sets_far_apart_share_nothing():
    real, fake = draw(0, 30, 2), draw(1, 30, 2) + 100
    assert precision_recall(real, fake) == (0, 0)
    assert density_coverage(real, fake) == (0, 0)
    assert two_sample_accuracy(real, fake) == (1, 1, 1)


def test_a_missing_mode_is_seen_by_recall_and_coverage_but_not_by_precision():
    """And by the two-sample test, in which the half on real images says so."""
    modes = np.array([[0.0, 0], [50, 0]])
    real = np.concatenate([draw(i, 200, 2) + mode for i, mode in enumerate(modes)])
    fake = draw(9, 400, 2) + modes[0]
    precision, recall = precision_recall(real, fake)
    assert precision > 0.9
    assert recall == pytest.approx(0.5, abs=0.05)
    assert density_coverage(real, fake).coverage == pytest.approx(0.5, abs=0.05)
    _, on_real, on_fake = two_sample_accuracy(real, fake)
    assert on_real == pytest.approx(
        0.67, abs=0.05
    )  # a third of the first mode's neighbours are real, all of the second's
    assert on_fake == pytest.approx(0.67, abs=0.05)


def test_copies_of_the_real_images_look_perfect_and_are_seen_by_distance_alone():
    real = draw(0, 200, 10)
    fake = real + 1e-6
    assert min(precision_recall(real, fake)) == 1
    assert density_coverage(real, fake).coverage == 1
    assert two_sample_accuracy(real, fake).accuracy == 0
    found = nearest(fake, real)
    assert found.index.tolist() == list(range(200))
    assert 1e6 * found.squared.max() < nearest(draw(1, 200, 10), real).squared.min()


def test_equally_near_points_count_as_real():
    """Both sets are one point many times: every nearest neighbour is at distance 0, real ones and generated ones."""
    same = np.zeros((5, 2))
    assert two_sample_accuracy(same, same) == (0.5, 1, 0)


def test_every_device_gives_the_same(device):
    real, fake = draw(0, 40, 3), draw(1, 40, 3) + 0.3
    there = device.put(real), device.put(fake)
    for score in (precision_recall, density_coverage, two_sample_accuracy):
        assert score(*there) == pytest.approx(score(real, fake), rel=1e-12)
    found = nearest(*there)
    assert found.index.tolist() == nearest(real, fake).index.tolist()
    np.testing.assert_allclose(kth_distance(there[0], 3).tolist(), kth_distance(real, 3), rtol=1e-12)


@pytest.mark.parametrize("score", [precision_recall, density_coverage, two_sample_accuracy, nearest])
def test_memory_stays_within_the_bound(score):
    real, fake = draw(0, 3000, 64).astype(np.float32), draw(1, 3000, 64).astype(np.float32)
    tracemalloc.start()
    score(real, fake)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * 2**20  # all distances at once would be 69 MiB, two arrays of them 137


def test_what_cannot_be_compared_is_refused():
    real = draw(0, 5, 3)
    with pytest.raises(ValueError, match="neighbour number 5 needs more than 5 points, got 5"):
        density_coverage(real, real)
    with pytest.raises(ValueError, match="as many real as generated points, got 5, 4"):
        two_sample_accuracy(real, real[:4])
    with pytest.raises(ValueError, match="one dimension are needed"):
        precision_recall(real, draw(0, 5, 4))
    with pytest.raises(ValueError, match="not finite"):
        nearest(np.full((5, 3), np.inf), real)
