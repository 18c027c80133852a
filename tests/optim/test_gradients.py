"""Weight decay and clipping, in place on the gradient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minigan.backend import to_host
from minigan.nn import Params
from minigan.optim import add_weight_decay, clip_by_norm, clip_by_value
from tests.strategies import error, normal, seeds, values
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

SHAPES = {"dense1.w": (3, 2), "dense1.b": (2,), "batchnorm1.gamma": (2,), "conv1.w": (1, 1, 2, 2), "conv1.b": (2,)}
BIASES = {"dense1.b", "batchnorm1.gamma", "conv1.b"}
SIZE = 16

vectors = arrays(np.float64, SIZE, elements=values())


def put(device, host, dtype=np.float64):
    """A vector with names, on a device."""
    return Params(device.put(host.astype(dtype)), SHAPES, {}, (3,))


def on_host(host, dtype=np.float64):
    return Params(host.astype(dtype), SHAPES, {}, (3,))


def clipped(g, max_norm):
    grads = on_host(g)
    clip_by_norm(grads, max_norm)
    return grads.flat


# Weight decay -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("biases", [False, True])
@given(rate=st.floats(0, 2), seed=seeds)
def test_weight_decay_adds_the_weights_and_on_demand_the_biases(biases, rate, seed):
    g, theta = on_host(normal([seed, 0], SIZE)), on_host(normal([seed, 1], SIZE))
    before, weights = g.copy(), theta.copy()
    add_weight_decay(g, theta, rate, biases=biases)
    for name in SHAPES:
        pull = rate * weights[name] if biases or name not in BIASES else 0
        assert np.array_equal(g[name], before[name] + pull), name
    assert np.array_equal(theta.flat, weights.flat)


def test_weight_decay_is_the_gradient_of_half_the_squared_norm():
    """By central differences, which are exact for a square."""
    rate, h, theta = 0.3, 1e-2, on_host(normal(0, SIZE))
    g = theta.gradients()
    add_weight_decay(g, theta, rate, biases=True)
    for i in range(SIZE):
        up, down = (0.5 * rate * ((theta.flat + sign * h * np.eye(SIZE)[i]) ** 2).sum() for sign in (1, -1))
        assert g.flat[i] == pytest.approx((up - down) / (2 * h), abs=1e-12)


def test_weight_decay_leaves_the_statistics_out():
    theta = Params(np.ones(8), {"w": (2, 2)}, {"mean": (2,), "var": (2,)}, (2,))
    g = theta.gradients()
    add_weight_decay(g, theta, 0.5, biases=True)
    assert g.flat.tolist() == [0.5] * 4


# Clipping by norm ---------------------------------------------------------------------------------------


@given(g=vectors, max_norm=st.floats(1e-3, 1e3))
def test_the_norm_is_bounded_and_the_direction_kept(g, max_norm):
    result, norm = clipped(g, max_norm), np.linalg.norm(g)
    assert np.linalg.norm(result) <= max_norm * (1 + 1e-12)
    np.testing.assert_allclose(result * norm, g * np.linalg.norm(result), rtol=1e-9, atol=1e-12)
    assert (result * g >= 0).all()


@given(g=vectors, factor=st.floats(1.01, 100))
def test_a_longer_gradient_gets_exactly_the_norm_and_a_shorter_one_is_left_alone(g, factor):
    norm = np.linalg.norm(g)
    if norm > 1e-6:
        assert np.linalg.norm(clipped(g, norm / factor)) == pytest.approx(norm / factor, rel=1e-12)
        assert np.array_equal(clipped(g, norm * factor), g)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e6])
def test_a_zero_gradient_stays_zero(dtype, max_norm, device):
    grads = put(device, np.zeros(SIZE), dtype)
    clip_by_norm(grads, max_norm)
    assert np.array_equal(to_host(grads.flat), np.zeros(SIZE))


def test_a_large_limit_is_no_limit():
    """A zero gradient and a limit of a billion overflow nothing in single precision."""
    grads = on_host(np.zeros(SIZE), np.float32)
    clip_by_norm(grads, 1e9)
    assert not grads.flat.any()


def test_the_norm_is_that_of_the_whole_gradient_not_of_each_array():
    g = np.ones(SIZE)  # norm 4
    np.testing.assert_allclose(clipped(g, 2.0), g / 2, rtol=1e-15)


# Clipping by value --------------------------------------------------------------------------------------


@given(g=vectors, limit=st.floats(1e-3, 10))
def test_each_entry_is_limited_on_its_own(g, limit):
    grads = on_host(g)
    clip_by_value(grads, limit)
    for before, after in zip(g, grads.flat, strict=True):
        assert after == (before if abs(before) <= limit else np.sign(before) * limit)


# Devices and precision ----------------------------------------------------------------------------------

CHANGES = {
    "decay": lambda grads, theta: add_weight_decay(grads, theta, 0.1),
    "decay of all": lambda grads, theta: add_weight_decay(grads, theta, 0.1, biases=True),
    "norm": lambda grads, _: clip_by_norm(grads, 0.5),
    "value": lambda grads, _: clip_by_value(grads, 0.5),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@every_change
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_is_changed_in_place_in_its_precision_on_its_device(change, dtype, device):
    grads, theta = put(device, normal(0, SIZE), dtype), put(device, normal(1, SIZE), dtype)
    flat, host = grads.flat, on_host(normal(0, SIZE), dtype)
    change(grads, theta)
    change(host, on_host(normal(1, SIZE), dtype))
    assert grads.flat is flat
    assert flat.dtype == dtype
    assert error(to_host(flat), host.flat) <= (1e-6 if dtype == np.float32 else 1e-14)
    assert not np.array_equal(to_host(flat), normal(0, SIZE).astype(dtype))


@every_change
def test_nothing_waits_for_the_gpu_and_nothing_is_computed_in_double_precision(change, strict):
    grads, theta = put(strict, normal(0, SIZE), np.float32), put(strict, normal(1, SIZE), np.float32)
    with forbid_synchronisation(), forbid_dtype("float64"):
        change(grads, theta)
