"""PixelShuffle: a permutation, the one of the paper, and undone by its inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from reference import pixel_shuffle as loops
from tests.strategies import assert_agrees, normal, seeds

shapes = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
factors = st.integers(1, 4)


def numbered(shape, factor):
    """An image (N, H, W, C r^2) of different numbers."""
    return np.arange(float(np.prod(shape) * factor**2)).reshape(*shape[:3], shape[3] * factor**2)


@given(shape=shapes, factor=factors)
def test_agrees_with_the_explicit_loops(shape, factor):
    x = numbered(shape, factor)
    y = pixel_shuffle(x, factor)
    assert np.array_equal(y, loops.pixel_shuffle(x, factor))
    assert np.array_equal(pixel_unshuffle(y, factor), loops.pixel_unshuffle(y, factor))


@given(shape=shapes, factor=factors)
def test_shuffling_is_a_permutation(shape, factor):
    x = numbered(shape, factor)
    for moved in (pixel_shuffle(x, factor), pixel_unshuffle(x.repeat(factor, 1).repeat(factor, 2), factor)):
        assert set(moved.ravel()) == set(x.ravel())
    assert pixel_shuffle(x, factor).shape == (shape[0], factor * shape[1], factor * shape[2], shape[3])


@given(shape=shapes, factor=factors)
def test_each_undoes_the_other(shape, factor):
    x = numbered(shape, factor)
    y = pixel_shuffle(x, factor)
    assert np.array_equal(pixel_unshuffle(y, factor), x)
    assert np.array_equal(pixel_shuffle(pixel_unshuffle(y, factor), factor), y)


@given(shape=shapes, factor=factors, seed=seeds)
def test_the_inverse_is_the_adjoint(shape, factor, seed):
    x = normal([seed, 0], *numbered(shape, factor).shape)
    y = pixel_shuffle(x, factor)
    dy = normal([seed, 1], *y.shape)
    assert_agrees((y * dy).sum(), (x * pixel_unshuffle(dy, factor)).sum())


def test_the_channels_of_a_pixel_become_a_block_row_by_row():
    y = pixel_shuffle(np.arange(8.0).reshape(1, 1, 1, 8), 2)
    assert y[0, ..., 0].tolist() == [[0, 1], [2, 3]]
    assert y[0, ..., 1].tolist() == [[4, 5], [6, 7]]


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_channels_that_make_no_whole_blocks_are_refused(channels):
    with pytest.raises(ValueError, match="reshape"):
        pixel_shuffle(np.zeros((1, 2, 2, channels)), 2)


@pytest.mark.parametrize("size", [(3, 2), (2, 3), (1, 2)])
def test_sizes_that_make_no_whole_blocks_are_refused(size):
    with pytest.raises(ValueError, match="reshape"):
        pixel_unshuffle(np.zeros((1, *size, 2)), 2)
