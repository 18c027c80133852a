"""Upsampling: explicit loops, adjoints, and what interpolation must leave as it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional.upsample import (
    interpolation,
    upsample_bilinear,
    upsample_bilinear_backward,
    upsample_nearest,
    upsample_nearest_backward,
)
from reference import upsample as loops
from tests.strategies import assert_agrees, few_examples, many_examples, normal, seeds

BOTH = {
    "nearest": (upsample_nearest, upsample_nearest_backward),
    "bilinear": (upsample_bilinear, upsample_bilinear_backward),
}
both_modes = pytest.mark.parametrize("mode", BOTH)
shapes = st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
factors = st.integers(1, 5)


def enlarged(shape, factor):
    return shape[0], factor * shape[1], factor * shape[2], shape[3]


@both_modes
@few_examples
@given(shape=shapes, factor=st.integers(1, 4), seed=seeds)
def test_agrees_with_the_explicit_loops(mode, shape, factor, seed):
    x, dy = normal([seed, 0], *shape), normal([seed, 1], *enlarged(shape, factor))
    forward, backward = BOTH[mode]
    assert_agrees(forward(x, factor), getattr(loops, f"upsample_{mode}")(x, factor))
    assert_agrees(backward(dy, factor), getattr(loops, f"upsample_{mode}_backward")(dy, x, factor))


@both_modes
@many_examples
@given(shape=shapes, factor=factors, seed=seeds)
def test_backward_is_the_adjoint_of_forward(mode, shape, factor, seed):
    x, dy = normal([seed, 0], *shape), normal([seed, 1], *enlarged(shape, factor))
    forward, backward = BOTH[mode]
    assert_agrees((forward(x, factor) * dy).sum(), (x * backward(dy, factor)).sum())


@both_modes
@given(shape=shapes, factor=factors, value=st.floats(-5, 5))
def test_a_constant_image_stays_constant(mode, shape, factor, value):
    y = BOTH[mode][0](np.full(shape, value), factor)
    assert_agrees(y, np.full(enlarged(shape, factor), value))


@both_modes
@given(shape=shapes, factor=factors, seed=seeds)
def test_every_pixel_counts_equally_often_in_the_gradient_sum(mode, shape, factor, seed):
    """Rows of the matrix sum to 1, so backward keeps the sum of the gradients."""
    dy = normal(seed, *enlarged(shape, factor))
    assert_agrees(BOTH[mode][1](dy, factor).sum(), dy.sum())


@both_modes
def test_factor_one_changes_nothing(mode):
    x = normal(0, 2, 3, 4, 2)
    forward, backward = BOTH[mode]
    assert np.array_equal(forward(x, 1), x)
    assert np.array_equal(backward(x, 1), x)


def test_nearest_copies_each_pixel_into_a_block():
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    block = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert upsample_nearest(x, 2)[0, ..., 0].tolist() == block


def test_bilinear_takes_quarters_between_pixels():
    x = np.array([0.0, 4.0, 8.0]).reshape(1, 1, 3, 1)
    assert upsample_bilinear(x, 2)[0, :, :, 0].tolist() == [[0, 1, 3, 5, 7, 8]] * 2


@given(size=st.integers(1, 12), factor=st.integers(1, 7))
def test_rows_of_the_interpolation_matrix_are_weights(size, factor):
    matrix = interpolation(size, factor)
    assert matrix.shape == (factor * size, size)
    assert (matrix >= 0).all()
    assert ((matrix > 0).sum(axis=1) <= 2).all()
    assert_agrees(matrix.sum(axis=1), np.ones(factor * size))
    assert_agrees(matrix[::-1, ::-1], matrix)  # left and right are alike


@given(size=st.integers(2, 8), factor=st.integers(1, 5), slope=st.floats(-3, 3), offset=st.floats(-3, 3))
def test_a_linear_ramp_stays_linear_inside(size, factor, slope, offset):
    """Between the outermost pixel centres; beyond them the image is constant."""
    x = offset + slope * np.arange(size)
    position = (np.arange(size * factor) + 0.5) / factor - 0.5
    expected = offset + slope * position.clip(0, size - 1)
    assert_agrees(upsample_bilinear(x.reshape(1, 1, -1, 1), factor)[0, 0, :, 0], expected)
    assert_agrees(upsample_bilinear(x.reshape(1, -1, 1, 1), factor)[0, :, 0, 0], expected)


def test_height_and_width_are_interpolated_independently():
    rows, columns = normal(0, 3), normal(1, 4)
    tall = upsample_bilinear(rows.reshape(1, 3, 1, 1), 2)[0, :, 0, 0]
    wide = upsample_bilinear(columns.reshape(1, 1, 4, 1), 2)[0, 0, :, 0]
    y = upsample_bilinear(np.outer(rows, columns).reshape(1, 3, 4, 1), 2)
    assert_agrees(y[0, ..., 0], np.outer(tall, wide))
