"""Activations: explicit loops in terms of the input, limits, symmetries and kinks."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given

from minigan.functional import activations
from reference import activations as loops
from tests.strategies import arrays_any, assert_agrees, error, few_examples, normal, seeds


class Activation(NamedTuple):
    name: str
    parameters: tuple[float, ...]
    left: float  # the slope far to the left
    at_zero: float  # the slope at 0: that of the left side, at a kink
    right: float  # the slope far to the right

    def forward(self, x):
        return getattr(activations, self.name)(x, *self.parameters)

    def backward(self, dy, cache):
        return getattr(activations, self.name + "_backward")(dy, cache, *self.parameters)


ACTIVATIONS = [
    Activation("relu", (), 0, 0, 1),
    Activation("leaky_relu", (0.2,), 0.2, 0.2, 1),
    Activation("leaky_relu", (0.0,), 0, 0, 1),
    Activation("elu", (1.0,), 0, 1, 1),
    Activation("elu", (0.3,), 0, 0.3, 1),
    Activation("softplus", (), 0, 0.5, 1),
    Activation("sigmoid", (), 0, 0.25, 0),
    Activation("tanh", (), 0, 1, 0),
    Activation("scaled_tanh", (), 0, 1.7159 * 2 / 3, 0),
]
every_activation = pytest.mark.parametrize("f", ACTIVATIONS, ids=lambda f: "-".join(map(str, (f.name, *f.parameters))))
both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@every_activation
@few_examples
@given(x=arrays_any(), seed=seeds)
def test_agrees_with_the_explicit_loops(f, x, seed):
    dy = normal(seed, *x.shape)
    y, cache = f.forward(x)
    assert_agrees(y, getattr(loops, f.name)(x, *f.parameters))
    assert_agrees(f.backward(dy, cache), getattr(loops, f.name + "_backward")(dy, x, *f.parameters))


@every_activation
@both_precisions
def test_slopes_at_zero_and_far_out(f, dtype):
    """+-1e4 overflows every exponential: no warning, and exactly the limits of the derivative."""
    with np.errstate(all="raise", under="ignore"):
        y, cache = f.forward(np.array([-1e4, 0, 1e4], dtype))
        slopes = f.backward(np.ones(3, dtype), cache)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(slopes, np.array([f.left, f.at_zero, f.right]), rtol=4 * np.finfo(dtype).eps, atol=0)


@every_activation
def test_is_monotone(f):
    x = np.linspace(-30, 30, 1001)
    y, cache = f.forward(x)
    assert (np.diff(y) >= 0).all()
    assert (f.backward(np.ones_like(x), cache) >= 0).all()


@pytest.mark.parametrize(
    ("name", "parameters", "x", "y"),
    [
        ("relu", (), [-2, 0, 3], [0, 0, 3]),
        ("leaky_relu", (0.25,), [-2, 0, 3], [-0.5, 0, 3]),
        ("elu", (2.0,), [-1e4, 0, 3], [-2, 0, 3]),
        ("softplus", (), [-1e4, 0, 1e4], [0, np.log(2), 1e4]),
        ("sigmoid", (), [-1e4, 0, 1e4], [0, 0.5, 1]),
        ("tanh", (), [-1e4, 0, 1e4], [-1, 0, 1]),
        ("scaled_tanh", (), [-1e4, 0, 1e4], [-1.7159, 0, 1.7159]),
    ],
)
@both_precisions
def test_values_known_by_heart(name, parameters, x, y, dtype):
    actual, _ = getattr(activations, name)(np.array(x, dtype), *parameters)
    np.testing.assert_allclose(actual, np.array(y, dtype), rtol=2 * np.finfo(dtype).eps, atol=0)


def test_scaled_tanh_maps_one_to_one():
    """LeCun's choice of the constants: f(+-1) = +-1, up to the five digits of 1.7159."""
    y, _ = activations.scaled_tanh(np.array([-1.0, 1.0]))
    np.testing.assert_allclose(y, [-1, 1], atol=1e-5)


@given(x=arrays_any(limit=30.0))
def test_sigmoid_of_minus_x_is_one_minus_sigmoid(x):
    assert_agrees(activations.sigmoid(-x)[0], 1 - activations.sigmoid(x)[0], 1e-15)


@given(x=arrays_any(limit=30.0))
def test_softplus_of_x_minus_that_of_minus_x_is_x(x):
    assert_agrees(activations.softplus(x)[0] - activations.softplus(-x)[0], x, 1e-15)


@given(x=arrays_any(limit=30.0), seed=seeds)
def test_the_slope_of_softplus_is_sigmoid(x, seed):
    dy = normal(seed, *x.shape)
    _, cache = activations.softplus(x)
    assert_agrees(activations.softplus_backward(dy, cache), activations.sigmoid(x)[0] * dy, 1e-14)


@given(x=arrays_any())
def test_tanh_is_a_sigmoid_of_twice_the_input(x):
    assert_agrees(activations.tanh(x)[0], 2 * activations.sigmoid(2 * x)[0] - 1, 1e-15)


@pytest.mark.parametrize("name", ["tanh", "scaled_tanh"])
@given(x=arrays_any(limit=30.0))
def test_odd_functions_are_odd_and_their_slopes_even(name, x):
    f = Activation(name, (), 0, 0, 0)
    (y, cache), (mirrored, mirrored_cache) = f.forward(x), f.forward(-x)
    assert (mirrored == -y).all()
    assert (f.backward(x, mirrored_cache) == f.backward(x, cache)).all()


@pytest.mark.parametrize("name", ["softplus", "sigmoid"])
@both_precisions
def test_the_left_tail_keeps_its_digits(name, dtype):
    """Both are e^x far to the left: 1 - (1 - e^x) would be 0 there."""
    x = np.array([-80.0, -60.0, -40.0])
    y, _ = getattr(activations, name)(x.astype(dtype))
    assert error(y / np.exp(x), np.ones(3)) <= 100 * np.finfo(dtype).eps
