"""The adjoints of backward functions: explicit loops, PyTorch's second gradients, and what an adjoint is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional import activations
from minigan.functional.batchnorm import (
    batchnorm,
    batchnorm_backward,
    batchnorm_double_backward,
    batchnorm_inference,
    batchnorm_inference_backward,
    batchnorm_inference_double_backward,
)
from minigan.functional.gradient_penalty import gradient_penalty
from minigan.functional.maxout import maxout, maxout_backward, maxout_double_backward
from minigan.functional.pooling import max_pool, max_pool_backward, max_pool_double_backward
from reference import double_backward as loops
from tests.strategies import arrays_any, arrays_nup, assert_agrees, error, few_examples, normal, seeds, windows

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "double_backward.npz", allow_pickle=False)
BENT = {"elu": (0.7,), "softplus": (), "sigmoid": (), "tanh": (), "scaled_tanh": ()}
bent = pytest.mark.parametrize(("name", "parameters"), BENT.items(), ids=BENT)


def golden(name):
    """The arrays of one operation: its inputs, and what PyTorch made of them."""
    return {key.partition("/")[2]: GOLDEN[key] for key in GOLDEN.files if key.startswith(f"{name}/")}


def double_backward(name, ddx, dy, x, parameters):
    """(ddy, the gradient on x) of an activation."""
    _, cache = getattr(activations, name)(x, *parameters)
    on_dy = getattr(activations, f"{name}_backward")(ddx, cache, *parameters)
    return on_dy, getattr(activations, f"{name}_double_backward")(ddx, dy, cache, *parameters)


# Activations ----------------------------------------------------------------------------------------


@bent
@few_examples
@given(x=arrays_any(), seed=seeds)
def test_activations_agree_with_the_explicit_loops(name, parameters, x, seed):
    dy, ddx = normal(seed, 2, *x.shape)
    curvature = getattr(loops, f"{name}_curvature")(x, *parameters)
    assert_agrees(double_backward(name, ddx, dy, x, parameters)[1], curvature * dy * ddx)


@bent
def test_activations_agree_with_pytorch(name, parameters):
    case = golden(name)
    ddy, on_x = double_backward(name, case["ddx"], case["dy"], case["x"], parameters)
    assert error(ddy, case["ddy"]) <= 1e-12
    assert error(on_x, case["on_x"]) <= 1e-12


@bent
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_are_straight_far_out(name, parameters, dtype):
    """+-1e4 overflows every exponential: no warning, and no curvature."""
    ones = np.ones(2, dtype)
    with np.errstate(all="raise", under="ignore"):
        _, on_x = double_backward(name, ones, ones, np.array([-1e4, 1e4], dtype), parameters)
    assert on_x.dtype == dtype
    assert (on_x == 0).all()


# Batch normalisation --------------------------------------------------------------------------------


@few_examples
@given(rows=st.integers(2, 6), channels=st.integers(1, 3), eps=st.sampled_from([1e-5, 0.8]), seed=seeds)
def test_batchnorm_agrees_with_the_explicit_loops(rows, channels, eps, seed):
    x, dy, ddx = normal(seed, 3, rows, channels)
    gamma = normal([seed, 1], channels)
    _, cache = batchnorm(x, gamma, 0 * gamma, eps)
    for ours, theirs in zip(
        batchnorm_double_backward(ddx, dy, gamma, cache), loops.batchnorm(ddx, dy, x, gamma, eps), strict=True
    ):
        # Two samples of a channel differ by nothing but eps once they are normalised: gradients are large, and cancel.
        assert error(ours, theirs, floor=1 / eps) <= 1e-12


@pytest.mark.parametrize("number", range(3))
def test_batchnorm_agrees_with_pytorch(number):
    case = golden(f"batchnorm-{number}")
    _, cache = batchnorm(case["x"], case["gamma"], case["beta"], float(case["eps"]))
    ddy, on_x, dgamma = batchnorm_double_backward(case["ddx"], case["dy"], case["gamma"], cache)
    for ours, name in ((ddy, "ddy"), (on_x, "on_x"), (dgamma, "on_gamma")):
        assert error(ours, case[name]) <= 1e-10, name


def test_batchnorm_in_inference_agrees_with_pytorch():
    case = golden("batchnorm_inference")
    arguments = (case[name] for name in ("x", "gamma", "beta", "mean", "var"))
    _, cache = batchnorm_inference(*arguments, float(case["eps"]))
    ddy, dgamma = batchnorm_inference_double_backward(case["ddx"], case["dy"], case["gamma"], cache)
    assert error(ddy, case["ddy"]) <= 1e-12
    assert error(dgamma, case["on_gamma"]) <= 1e-12
    assert not case["on_x"].any()


@given(seed=seeds, rows=st.integers(2, 9), channels=st.integers(1, 4), train=st.booleans())
def test_batchnorm_is_an_adjoint(seed, rows, channels, train):
    """<ddx, dx(dy)> = <ddy(ddx), dy> for any ddx and dy: dx is linear in dy. It is linear in gamma, too."""
    x, dy, ddx = normal(seed, 3, rows, channels)
    gamma = normal([seed, 1], channels)
    if train:
        _, cache = batchnorm(x, gamma, 0 * gamma, 0.1)
        dx, _, _ = batchnorm_backward(dy, gamma, cache)
        ddy, _, dgamma = batchnorm_double_backward(ddx, dy, gamma, cache)
    else:
        _, cache = batchnorm_inference(x, gamma, 0 * gamma, x[0], x[1] ** 2, 0.1)
        dx, _, _ = batchnorm_inference_backward(dy, gamma, cache)
        ddy, dgamma = batchnorm_inference_double_backward(ddx, dy, gamma, cache)
    assert_agrees((ddx * dx).sum(), (ddy * dy).sum())
    assert_agrees((ddx * dx).sum(), (dgamma * gamma).sum())


@given(seed=seeds, rows=st.integers(2, 9), channels=st.integers(1, 4))
def test_batchnorm_does_not_see_the_mean_nor_the_scale(seed, rows, channels):
    """dx is the same for x + c, and 1/a of it for a x (eps aside): so the gradient on x has no such parts."""
    x, dy, ddx = normal(seed, 3, rows, channels)
    gamma = normal([seed, 1], channels)
    _, cache = batchnorm(x, gamma, 0 * gamma, 1e-300)
    dx, _, _ = batchnorm_backward(dy, gamma, cache)
    _, on_x, _ = batchnorm_double_backward(ddx, dy, gamma, cache)
    size = abs(ddx).max() * abs(dy).max() * abs(gamma) * cache.inv_std  # (C,)  of <ddx, dx>, nearly
    assert (abs(on_x.sum(axis=0)) <= 1e-12 * size * cache.inv_std).all()
    along = (on_x * x).sum(axis=0) + (ddx * dx).sum(axis=0)  # d/da of <ddx, dx / a> at a = 1
    assert (abs(along) <= 1e-11 * size * (1 + abs(x * cache.inv_std).max(axis=0))).all()


# What puts a gradient somewhere ---------------------------------------------------------------------


@given(case=arrays_nup(), seed=seeds)
def test_maxout_takes_from_where_backward_puts(case, seed):
    x, pieces = case
    y, cache = maxout(x, pieces)
    dy, ddx = normal(seed, *y.shape), normal([seed, 1], *x.shape)
    ddy = maxout_double_backward(ddx, cache)
    assert ddy.shape == y.shape
    assert_agrees((ddx * maxout_backward(dy, cache)).sum(), (ddy * dy).sum())


@given(window=windows(max_dilation=1, pooling=True), seed=seeds)
def test_max_pool_takes_from_where_backward_puts(window, seed):
    x = normal(seed, *window.shape)
    y, cache = max_pool(x, window.kernel, window.geometry)
    dy, ddx = normal([seed, 1], *y.shape), normal([seed, 2], *x.shape)
    ddy = max_pool_double_backward(ddx, cache, window.kernel, window.geometry)
    dx = max_pool_backward(dy, cache, window.kernel, window.geometry)
    assert ddy.shape == y.shape
    assert_agrees((ddx * dx).sum(), (ddy * dy).sum())


# The penalty ----------------------------------------------------------------------------------------


@few_examples
@given(n=st.integers(1, 5), k=st.integers(1, 6), centre=st.sampled_from([0.0, 1.0, 2.5]), seed=seeds)
def test_the_penalty_agrees_with_the_explicit_loops(n, k, centre, seed):
    dx = normal(seed, n, k)
    value, ddx = gradient_penalty(dx, centre)
    expected, gradient = loops.gradient_penalty(dx, centre)
    assert_agrees(value, expected)
    assert_agrees(ddx, gradient)


@pytest.mark.parametrize("centre", [0.0, 1.0])
def test_the_penalty_agrees_with_pytorch(centre):
    case = golden(f"gradient_penalty-{centre:g}")
    value, ddx = gradient_penalty(case["dx"], centre)
    assert error(value, case["value"]) <= 1e-12
    assert error(ddx, case["ddx"]) <= 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_of_zero_has_a_penalty_and_no_direction(dtype):
    with np.errstate(all="raise"):
        value, ddx = gradient_penalty(np.zeros((2, 3, 1), dtype), 1.0)
    assert (float(value), value.dtype, ddx.dtype, ddx.shape) == (1.0, dtype, dtype, (2, 3, 1))
    assert not ddx.any()


def test_gradients_of_the_right_length_have_no_penalty():
    value, ddx = gradient_penalty(np.array([[0.6, 0.8], [-1.0, 0.0]]), 1.0)
    assert value == pytest.approx(0, abs=1e-30)
    assert abs(ddx).max() < 1e-15


@pytest.mark.parametrize("size", [1e-16, 1e-17, 1e-20, 1e-22, 1e-25, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_gradients_are_not_blown_up(size, dtype):
    """float32 has no squares of numbers below 1e-23: ddx is that of the length, up to 2/N, or goes to 0."""
    dx = np.array([[0.6, 0.8], [3.0, -4.0]], dtype) * dtype(size)
    _, ddx = gradient_penalty(dx, 1.0)
    assert abs(ddx).max() <= 1.001
    if size >= 1e-16:
        np.testing.assert_allclose(ddx, [[-0.6, -0.8], [-0.6, 0.8]], rtol=1e-5)
