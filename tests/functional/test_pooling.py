"""Pooling: explicit loops, which pixel wins, and who counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minigan.functional.patches import Geometry
from minigan.functional.pooling import (
    average_pool,
    average_pool_backward,
    global_average,
    global_average_backward,
    max_pool,
    max_pool_backward,
)
from reference import pooling as loops
from tests.strategies import assert_agrees, few_examples, many_examples, normal, seeds, values, windows

HALVE = ((2, 2), Geometry((2, 2)))
pooling_windows = windows(max_dilation=1, pooling=True)


@st.composite
def pooled_images(draw):
    """A window and an image with likely zeros and repeated values, so that windows have ties."""
    window = draw(pooling_windows)
    return window, draw(arrays(np.float64, window.shape, elements=values()))


def upstream(window, seed):
    return normal(seed, window.shape[0], *window.places, window.shape[3])


@few_examples
@given(case=pooled_images(), seed=seeds)
def test_averages_agree_with_the_explicit_loops(case, seed):
    (kernel, geometry, _), x = case
    dy = upstream(case[0], seed)
    y, cache = average_pool(x, kernel, geometry)
    assert_agrees(y, loops.average_pool(x, kernel, geometry.stride, geometry.padding))
    expected = loops.average_pool_backward(dy, x, kernel, geometry.stride, geometry.padding)
    assert_agrees(average_pool_backward(dy, cache, kernel, geometry), expected)


@few_examples
@given(case=pooled_images(), seed=seeds)
def test_maxima_agree_with_the_explicit_loops(case, seed):
    (kernel, geometry, _), x = case
    dy = upstream(case[0], seed)
    y, cache = max_pool(x, kernel, geometry)
    assert np.array_equal(y, loops.max_pool(x, kernel, geometry.stride, geometry.padding))
    expected = loops.max_pool_backward(dy, x, kernel, geometry.stride, geometry.padding)
    assert_agrees(max_pool_backward(dy, cache, kernel, geometry), expected)


@many_examples
@given(window=pooling_windows, seed=seeds)
def test_the_gradient_of_the_average_is_its_adjoint(window, seed):
    x, dy = normal([seed, 0], *window.shape), upstream(window, [seed, 1])
    y, cache = average_pool(x, window.kernel, window.geometry)
    assert_agrees((x * average_pool_backward(dy, cache, window.kernel, window.geometry)).sum(), (y * dy).sum())


@many_examples
@given(window=pooling_windows, seed=seeds)
def test_the_maximum_is_the_same_combination_of_pixels_as_its_gradient(window, seed):
    """max is linear near x, so <y, dy> = <x, dx>."""
    x, dy = normal([seed, 0], *window.shape), upstream(window, [seed, 1])
    y, cache = max_pool(x, window.kernel, window.geometry)
    assert_agrees((x * max_pool_backward(dy, cache, window.kernel, window.geometry)).sum(), (y * dy).sum())


@given(window=pooling_windows, seed=seeds)
def test_padding_never_wins(window, seed):
    """All pixels are far below zero, which the zeros around the image would beat."""
    x = -1e3 - abs(normal([seed, 0], *window.shape))
    y, cache = max_pool(x, window.kernel, window.geometry)
    assert (y <= -1e3).all()
    assert np.isfinite(y).all()
    dx = max_pool_backward(np.ones_like(y), cache, window.kernel, window.geometry)
    assert dx.sum() == y.size  # nothing was handed to the padding


@given(case=pooled_images())
def test_one_pixel_of_each_window_gets_the_whole_gradient(case):
    (kernel, geometry, _), x = case
    _, cache = max_pool(x, kernel, geometry)
    assert (cache.winner.sum(axis=3) == 1).all()


def test_a_small_image_by_hand():
    x = np.array([[1.0, 2.0, 5.0, 4.0], [3.0, 0.0, 6.0, 9.0]]).reshape(1, 2, 4, 1)
    dy = np.array([[8.0, 80.0]]).reshape(1, 1, 2, 1)
    y, cache = average_pool(x, *HALVE)
    assert y.ravel().tolist() == [1.5, 6]
    assert average_pool_backward(dy, cache, *HALVE)[0, ..., 0].tolist() == [[2, 2, 20, 20]] * 2
    y, cache = max_pool(x, *HALVE)
    assert y.ravel().tolist() == [3, 9]
    assert max_pool_backward(dy, cache, *HALVE)[0, ..., 0].tolist() == [[0, 0, 0, 0], [8, 0, 0, 80]]


def test_among_equal_pixels_the_first_wins():
    y, cache = max_pool(np.full((1, 4, 4, 2), 7.0), *HALVE)
    dx = max_pool_backward(np.ones_like(y), cache, *HALVE)
    assert dx[0, ..., 1].tolist() == [[1, 0, 1, 0], [0] * 4, [1, 0, 1, 0], [0] * 4]


def test_a_pixel_that_won_several_windows_gets_the_sum():
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 1] = 1
    y, cache = max_pool(x, (2, 2), Geometry())
    dx = max_pool_backward(np.ones_like(y), cache, (2, 2), Geometry())
    assert dx[0, ..., 0].tolist() == [[0, 0, 0], [0, 4, 0], [0, 0, 0]]


def test_zeros_outside_the_image_count_in_the_average():
    y, _ = average_pool(np.ones((1, 2, 2, 1)), (2, 2), Geometry((2, 2), (1, 1, 1, 1)))
    assert (y == 0.25).all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 4, 2, 5), (2, 1, 7, 1)])
def test_the_global_average_agrees_with_the_explicit_loops(shape):
    x, dy = normal(0, *shape), normal(1, shape[0], shape[3])
    y, cache = global_average(x)
    assert_agrees(y, loops.global_average(x))
    assert_agrees(global_average_backward(dy, cache), loops.global_average_backward(dy, x))


def test_the_global_average_is_one_window_as_large_as_the_image():
    x = normal(0, 3, 4, 2, 5)
    assert_agrees(global_average(x)[0], average_pool(x, (4, 2), Geometry())[0][:, 0, 0])


def test_the_gradient_of_the_global_average_can_be_written_to():
    _, cache = global_average(np.zeros((1, 2, 3, 1)))
    dx = global_average_backward(np.ones((1, 1)), cache)
    dx[0, 0, 0, 0] = 7
    assert (dx.ravel()[1:] == 1 / 6).all()


@pytest.mark.parametrize("pool", [average_pool, max_pool])
def test_a_window_larger_than_the_image_is_refused(pool):
    with pytest.raises(ValueError, match="does not fit into an image"):
        pool(np.zeros((1, 2, 2, 1)), (3, 2), Geometry())
