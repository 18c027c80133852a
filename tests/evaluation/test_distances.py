"""Squared distances in blocks: right, never negative, and within the memory that is promised."""

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from minigan.evaluation import distances
from minigan.evaluation.distances import blocks, check_points, rows_in_block, squared_distances


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


def test_they_are_those_of_scipy():
    a, b = points(7, 5), points(9, 5, seed=1)
    np.testing.assert_allclose(squared_distances(a, b), cdist(a, b, "sqeuclidean"), rtol=1e-12)


def test_a_point_and_itself_are_never_at_a_negative_distance():
    a = points(200, 30) * 1e3 + 1e4
    found = squared_distances(a, a)
    assert found.min() == 0
    assert np.sqrt(np.diag(found).max()) < 1e-5 * np.linalg.norm(a[0])


@pytest.mark.parametrize(
    ("dimension", "rows"), [(1, 1024), (784, 1024), (4096, 1024), (12288, 341), (196608, 21), (10**8, 1)]
)
def test_a_block_of_points_has_a_bounded_size(dimension, rows):
    assert rows_in_block(dimension) == rows
    assert rows == 1 or rows * dimension <= distances.NUMBERS


def test_blocks_are_all_the_points_flat_and_in_order(device, monkeypatch):
    monkeypatch.setattr(distances, "ROWS", 4)
    images = np.arange(10 * 2 * 3, dtype=np.float32).reshape(10, 2, 3)
    found = list(blocks(device.put(images)))
    assert [where for where, _ in found] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    joined = device.xp.concatenate([rows for _, rows in found])
    assert joined.dtype == np.float64
    assert joined.tolist() == images.reshape(10, 6).tolist()


def test_bytes_count_as_numbers_from_zero_to_one(device, monkeypatch):
    monkeypatch.setattr(distances, "ROWS", 2)
    pixels = device.put(np.array([[0, 255], [51, 102], [1, 254]], np.uint8))
    joined = device.xp.concatenate([rows for _, rows in blocks(pixels)])
    np.testing.assert_allclose(joined.tolist(), [[0, 1], [0.2, 0.4], [1 / 255, 254 / 255]], rtol=1e-15)


@pytest.mark.parametrize("count", [2_000, 20_000])
def test_a_walk_over_all_pairs_stays_within_the_bound(count):
    many, few = np.zeros((count, 784), np.float32), np.zeros((1500, 784), np.float32)
    tracemalloc.start()
    for _, rows in blocks(few):
        for _, part in blocks(many):
            squared_distances(rows, part)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160 * 2**20


def test_points_that_cannot_be_compared_are_refused(device):
    good = device.put(points(3, 4))
    with pytest.raises(ValueError, match=r"at least one in each set, got \(3, 4\), \(3, 5\)"):
        check_points(good, device.put(points(3, 5)))
    with pytest.raises(ValueError, match="at least one in each set"):
        check_points(good, device.put(points(0, 4)))
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not finite"):
            check_points(good, device.put(np.full((2, 4), value)))
