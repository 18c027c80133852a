"""Squared distances in blocks: right, never negative, and within the memory that is promised."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from minigan.evaluation import distances
from minigan.evaluation.distances import check_points, distance_blocks, numbers, parts


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def joined(a, b):
    """All distances in one array; every place written once."""
    whole = np.full((len(a), len(b)), np.nan)
    for rows, columns, block in distance_blocks(a, b):
        assert np.isnan(whole[rows, columns]).all()
        whole[rows, columns] = block
    return whole


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 4, 1024]), st.integers(1, 4))
def test_they_are_those_of_scipy_however_the_blocks_fall(n, m, dimension, rows, width):
    a, b = draw(0, n, dimension), draw(1, m, dimension)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "ROWS", rows)
        patch.setattr(distances, "WIDTH", width)
        np.testing.assert_allclose(joined(a, b), cdist(a, b, "sqeuclidean"), rtol=1e-13, atol=1e-13)


def test_a_point_and_itself_are_never_at_a_negative_distance():
    a = draw(0, 200, 30) * 1e3 + 1e4
    found = joined(a, a)
    assert found.min() == 0
    assert np.sqrt(np.diag(found).max()) < 1e-5 * np.linalg.norm(a[0])


def test_images_are_flat_points(device):
    a, b = draw(0, 3, 2, 4, 1).astype(np.float32), draw(1, 5, 2, 4, 1).astype(np.float32)
    ((_, _, block),) = distance_blocks(device.put(a), device.put(b))
    assert block.dtype == np.float64
    np.testing.assert_allclose(block.tolist(), cdist(a.reshape(3, 8), b.reshape(5, 8), "sqeuclidean"), rtol=1e-9)


def test_bytes_count_as_numbers_from_zero_to_one(device):
    pixels = device.put(np.array([[0, 255], [51, 102]], np.uint8))
    np.testing.assert_allclose(numbers(pixels).tolist(), [[0, 1], [0.2, 0.4]], rtol=1e-15)
    ((_, _, block),) = distance_blocks(pixels, pixels)
    assert block[0].tolist() == pytest.approx([0, 0.2**2 + 0.6**2])


@pytest.mark.parametrize(("count", "step", "ends"), [(0, 3, []), (3, 3, [3]), (7, 3, [3, 6, 7]), (2, 3, [2])])
def test_parts_follow_each_other_to_the_end(count, step, ends):
    found = list(parts(count, step))
    assert [part.stop for part in found] == ends
    assert [part.start for part in found] == [0, *ends][: len(ends)]


@pytest.mark.parametrize(("many", "dimension"), [(2_000, 784), (20_000, 784), (1_100, 20_000)])
def test_a_walk_over_all_pairs_stays_within_the_bound(many, dimension):
    a, b = np.zeros((many, dimension), np.uint8), np.zeros((1100, dimension), np.uint8)
    tracemalloc.start()
    for _ in distance_blocks(a, b):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160 * 2**20


def test_points_that_cannot_be_compared_are_refused(device):
    good = device.put(draw(0, 3, 4))
    with pytest.raises(ValueError, match=r"at least one in each set, got \(3, 4\), \(3, 5\)"):
        check_points(good, device.put(draw(0, 3, 5)))
    with pytest.raises(ValueError, match="at least one in each set"):
        check_points(good, device.put(draw(0, 0, 4)))
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not finite"):
            check_points(good, device.put(np.full((2, 4), value)))


def test_copies_are_at_no_distance_however_the_blocks_fall():
    images = np.random.default_rng(0).integers(0, 256, (1500, 16, 16, 3), dtype=np.uint8)
    copies = images[np.random.default_rng(1).permutation(1500)]
    order = np.argsort(np.random.default_rng(1).permutation(1500))
    for rows, columns, block in distance_blocks(images, copies):
        for number, row in enumerate(block):
            place = order[rows.start + number] - columns.start
            if 0 <= place < block.shape[1]:
                assert row[place] == 0
    one_level = images[:2].copy()
    one_level[0, 0, 0, 0] ^= 1
    ((_, _, found),) = distance_blocks(images[:1], one_level[:1])
    assert found[0, 0] == pytest.approx(255**-2, rel=1e-6)
