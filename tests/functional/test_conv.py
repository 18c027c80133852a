"""Convolution: one scalar read three ways, the explicit loops, and cases that can be seen at a glance."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from minigan.functional.conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from minigan.functional.patches import Geometry
from reference import conv as loops
from tests.strategies import assert_agrees, convolutions, error, few_examples, many_examples, normal, seeds


@many_examples
@given(case=convolutions())
def test_the_three_primitives_are_adjoint(case):
    """<conv2d(x, w), dy> = <x, input_grad(dy, w)> = <w, weight_grad(x, dy)>: exact, whatever the values."""
    x, w, dy, geometry = case
    y = (conv2d(x, w, geometry) * dy).sum()
    assert_agrees((x * conv2d_input_grad(dy, w, x.shape[1:3], geometry)).sum(), y)
    assert_agrees((w * conv2d_weight_grad(x, dy, w.shape[:2], geometry)).sum(), y)


@few_examples
@given(case=convolutions())
def test_convolution_agrees_with_the_explicit_loops(case):
    x, w, dy, geometry = case
    dx, dw = loops.conv2d_backward(dy, x, w, *case.settings)
    assert_agrees(conv2d(x, w, geometry), loops.conv2d(x, w, *case.settings))
    assert_agrees(conv2d_input_grad(dy, w, x.shape[1:3], geometry), dx)
    assert_agrees(conv2d_weight_grad(x, dy, w.shape[:2], geometry), dw)


@few_examples
@given(case=convolutions(), seed=seeds)
def test_the_input_gradient_used_forwards_is_the_transposed_convolution(case, seed):
    """The loops paint a kernel for each pixel; they know nothing of a convolution.

    dy takes the place of the transposed convolution's input; what is left over when the window moves
    by whole strides is its output padding.
    """
    _, w, small, geometry = case
    dy = normal(seed, *case.x.shape)
    (s, t), (d, e), (top, bottom, left, right) = geometry.stride, geometry.dilation, geometry.padding
    (height, width), (kh, kw) = dy.shape[1:3], w.shape[:2]
    left_over = ((height + top + bottom - d * (kh - 1) - 1) % s, (width + left + right - e * (kw - 1) - 1) % t)
    settings = geometry.stride, geometry.padding, left_over, geometry.dilation, geometry.groups
    assert_agrees(conv2d_input_grad(small, w, (height, width), geometry), loops.conv_transpose2d(small, w, *settings))
    dsmall, dw = loops.conv_transpose2d_backward(dy, small, w, *settings)
    assert_agrees(conv2d(dy, w, geometry), dsmall)
    assert_agrees(conv2d_weight_grad(dy, small, (kh, kw), geometry), dw)


@given(case=convolutions())
def test_groups_are_convolutions_side_by_side(case):
    x, w, _, geometry = case
    inputs, outputs = np.split(x, geometry.groups, axis=3), np.split(w, geometry.groups, axis=3)
    alone = replace(geometry, groups=1)
    parts = [conv2d(part, weights, alone) for part, weights in zip(inputs, outputs, strict=True)]
    assert_agrees(conv2d(x, w, geometry), np.concatenate(parts, axis=3))


def test_a_small_convolution_by_hand():
    """The kernel is not flipped: the weight at the top left belongs to the pixel at the top left."""
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).reshape(1, 2, 3, 1)
    w = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
    assert conv2d(x, w, Geometry())[0, ..., 0].tolist() == [[5421, 6532]]
    assert conv2d(x, w, Geometry((2, 1), (1, 0, 0, 1)))[0, ..., 0].tolist() == [[2100, 3200, 300]]


def test_a_transposed_convolution_paints_the_kernel():
    w = np.arange(1.0, 5.0).reshape(2, 2, 1, 1)
    dy = np.array([[1.0, 10.0]]).reshape(1, 1, 2, 1)
    painted = conv2d_input_grad(dy, w, (2, 5), Geometry((1, 2)))
    assert painted[0, ..., 0].tolist() == [[1, 2, 10, 20, 0], [3, 4, 30, 40, 0]]


def test_one_pixel_is_a_dense_layer():
    x, w = normal(0, 2, 3, 4, 5), normal(1, 1, 1, 5, 6)
    assert_agrees(conv2d(x, w, Geometry()), x @ w[0, 0])


@pytest.mark.parametrize("shift", [(0, 0), (0, 2), (1, 1), (2, 0)])
def test_a_kernel_of_a_single_one_moves_the_image(shift):
    x, w = normal(0, 2, 4, 5, 1), np.zeros((3, 3, 1, 1))
    w[shift] = 1
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    y = conv2d(x, w, Geometry(padding=(1, 1, 1, 1)))
    assert np.array_equal(y, padded[:, shift[0] : shift[0] + 4, shift[1] : shift[1] + 5])


def test_depthwise_channels_do_not_meet():
    x, w = normal(0, 1, 4, 4, 3), normal(1, 3, 3, 1, 3)
    other = x.copy()
    other[..., 1] += 1
    differs = (conv2d(x, w, Geometry(groups=3)) != conv2d(other, w, Geometry(groups=3))).any(axis=(0, 1, 2))
    assert differs.tolist() == [False, True, False]


@given(case=convolutions(), seed=seeds)
def test_convolution_is_linear_in_the_image_and_in_the_weights(case, seed):
    x, w, _, geometry = case
    other_x, other_w = normal([seed, 0], *x.shape), normal([seed, 1], *w.shape)
    y = conv2d(x, w, geometry)
    assert_agrees(conv2d(2 * x - other_x, w, geometry), 2 * y - conv2d(other_x, w, geometry))
    assert_agrees(conv2d(x, 2 * w - other_w, geometry), 2 * y - conv2d(x, other_w, geometry))


@given(case=convolutions())
def test_the_weight_gradients_of_two_batches_add_up_to_that_of_both(case):
    x, w, dy, geometry = case
    apart = sum(conv2d_weight_grad(x[n : n + 1], dy[n : n + 1], w.shape[:2], geometry) for n in range(len(x)))
    assert error(conv2d_weight_grad(x, dy, w.shape[:2], geometry), apart, floor=1.0) <= 1e-12


@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (5, 1), (4, 2), (1, 1)])
def test_weights_for_other_channels_are_refused(channels, groups):
    """Nothing is broadcast, not even one channel."""
    x, w = np.zeros((2, 4, 4, 4)), np.zeros((3, 3, channels, 2))
    with pytest.raises(ValueError, match="matmul"):
        conv2d(x, w, Geometry(groups=groups))
    with pytest.raises(ValueError, match="matmul"):
        conv2d_input_grad(np.zeros((2, 2, 2, 3)), w, (4, 4), Geometry())


@pytest.mark.parametrize("places", [(2, 3), (3, 2), (4, 4)])
def test_a_gradient_of_another_size_is_refused(places):
    with pytest.raises(ValueError, match="places"):
        conv2d_weight_grad(np.zeros((2, 4, 4, 1)), np.zeros((2, *places, 1)), (3, 3), Geometry())
    with pytest.raises(ValueError, match="places"):
        conv2d_input_grad(np.zeros((2, *places, 1)), np.zeros((3, 3, 1, 1)), (4, 4), Geometry())


def test_a_weight_gradient_is_added_to_a_total():
    x, dy, total = normal(0, 2, 6, 5, 4), normal(1, 2, 4, 3, 6), normal(2, 3, 3, 2, 6)
    geometry = Geometry(groups=2)
    expected = total + conv2d_weight_grad(x, dy, (3, 3), geometry)
    assert conv2d_weight_grad(x, dy, (3, 3), geometry, total) is total
    assert_agrees(total, expected)
