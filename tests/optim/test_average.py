"""The exponential average of the generator's parameters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.backend import to_host
from minigan.nn import Params
from minigan.optim.average import average_coefficients, update_average
from tests.strategies import normal
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

SHAPES, STATISTICS = {"w": (2, 2)}, {"mean": (2,)}
SIZE = 6


def parameters(host, device=None):
    return Params(host if device is None else device.put(host), SHAPES, STATISTICS, (2,))


def averaged(decay, points, start):
    average = parameters(start.copy())
    for t, point in enumerate(points, start=1):
        update_average(average, parameters(point), average_coefficients(decay, t))
    return average.flat


@given(decay=st.floats(0, 0.9999), steps=st.integers(1, 60))
def test_the_average_is_that_of_the_formula(decay, steps):
    """One number at a time; the parameters and the running statistics alike."""
    start, points = normal(0, SIZE), normal(1, steps, SIZE)
    expected = []
    for i in range(SIZE):
        value = start[i]
        for t in range(1, steps + 1):
            d = min(decay, (1 + t) / (10 + t))
            value = d * value + (1 - d) * points[t - 1, i]
        expected.append(value)
    np.testing.assert_allclose(averaged(decay, points, start), expected, rtol=1e-12, atol=1e-13)


def test_the_parameters_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(6,\) \(3,\)"):
        update_average(parameters(np.ones(SIZE)), Params(np.ones(3), {"w": (3,)}, {}, (3,)), (0.5, 0.5))


def test_the_start_is_forgotten_soon():
    """With a decay of 0.999 alone, 0.9 of the start would still be there after 100 updates."""
    assert abs(averaged(0.999, np.zeros((100, SIZE)), np.ones(SIZE))).max() < 1e-7


def test_without_decay_it_is_the_last_point():
    points = normal(0, 5, SIZE)
    assert np.array_equal(averaged(0.0, points, np.ones(SIZE)), points[-1])


@given(decay=st.floats(0, 0.9999), steps=st.integers(1, 30))
def test_points_that_stand_still_are_their_own_average(decay, steps):
    point = normal(0, SIZE)
    np.testing.assert_allclose(averaged(decay, [point] * steps, point), point, rtol=1e-12)


def test_the_average_is_steadier_than_the_orbit():
    """Around a circle: the points stay at distance 1 from the middle, the average comes near to it."""
    angle = 0.3 * np.arange(1, 2001)
    points = np.stack([np.cos(angle), np.sin(angle)] * 3, axis=1)
    assert abs(averaged(0.99, points, points[0])).max() < 0.05


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_the_average_changes_in_place_and_in_its_precision(dtype, device):
    average, theta = (parameters(normal(seed, SIZE).astype(dtype), device) for seed in (0, 1))
    flat = average.flat
    update_average(average, theta, average_coefficients(0.999, 1))
    assert average.flat is flat
    assert flat.dtype == dtype
    assert np.array_equal(to_host(theta.flat), normal(1, SIZE).astype(dtype))
    expected = 2 / 11 * normal(0, SIZE) + 9 / 11 * normal(1, SIZE)
    np.testing.assert_allclose(to_host(flat), expected, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-7)


def test_nothing_waits_for_the_gpu_and_nothing_is_computed_in_double_precision(strict):
    average, theta = (parameters(normal(seed, SIZE).astype(np.float32), strict) for seed in (0, 1))
    with forbid_synchronisation(), forbid_dtype("float64"):
        for t in (1, 2, 10_000):
            update_average(average, theta, average_coefficients(0.999, t))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coefficients_that_lie_on_the_device_make_the_same_average_to_the_bit(dtype, device):
    theta = parameters(normal(1, SIZE).astype(dtype), device)
    first, second = (parameters(normal(0, SIZE).astype(dtype), device) for _ in range(2))
    for t in (1, 2, 10_000):
        numbers = average_coefficients(0.999, t)
        update_average(first, theta, numbers)
        there = device.put(np.array(numbers, dtype))
        update_average(second, theta, (there[0], there[1]))
    assert np.array_equal(to_host(first.flat), to_host(second.flat))
