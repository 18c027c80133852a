"""Schedules are pure functions of the number of the update, t = 1, 2, ..."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.optim import Cyclical, ExponentialDecay, LinearRamp
from minigan.optim.schedules import at

updates = st.integers(1, 1_000_000)
numbers = st.floats(-10, 10)
SCHEDULES = [
    ExponentialDecay(0.1, 1.01, 1e-3),
    LinearRamp(0.5, 0.7, 40, every=7),
    LinearRamp(0.5, 0.7, 40, every=7, delay=20),
    Cyclical(0.1, 0.9, 12),
]


@given(value=numbers, t=updates)
def test_a_number_is_its_own_schedule(value, t):
    assert at(value, t) == at(lambda _: value, t) == value


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_a_resumed_run_continues_exactly(schedule):
    """The value depends on t alone, not on which values were asked for before."""
    in_order = [schedule(t) for t in range(1, 101)]
    assert [schedule(t) for t in range(100, 0, -1)] == in_order[::-1]
    assert at(schedule, 57) == in_order[56]


@given(start=st.floats(1e-3, 10), factor=st.floats(1.0, 1.5), t=st.integers(1, 200))
def test_exponential_decay_divides_once_after_each_update(start, factor, t):
    value = start
    for _ in range(t - 1):
        value /= factor
    assert ExponentialDecay(start, factor)(t) == pytest.approx(value, rel=1e-12)


@given(factor=st.floats(1.0, 2.0), floor=st.floats(0, 0.1), t=updates)
def test_exponential_decay_starts_at_its_start_and_ends_at_its_floor(factor, floor, t):
    schedule = ExponentialDecay(0.1, factor, floor)
    assert schedule(1) == 0.1
    assert floor <= schedule(t + 1) <= schedule(t)


@pytest.mark.parametrize("factor", [1.01, 2.0])
def test_exponential_decay_survives_runs_of_any_length(factor):
    """1.01 ** 100,000 is larger than any float."""
    assert ExponentialDecay(0.1, factor, floor=1e-6)(100_001) == 1e-6
    assert ExponentialDecay(0.1, factor)(100_001) < 1e-300


def test_exponential_decay_of_the_first_gan():
    """0.1 / 1.000004^k: e^-0.5 of it after 125,000 updates; 1e-6 from about update 2,878,000 on."""
    schedule = ExponentialDecay(0.1, 1.000004, 1e-6)
    assert schedule(125_001) == pytest.approx(0.1 * math.exp(-0.5), rel=2e-6)
    assert schedule(2_870_000) > 1e-6
    assert schedule(2_890_000) == 1e-6


@given(start=numbers, end=numbers, length=st.integers(1, 1000), t=updates)
def test_a_ramp_is_a_straight_line_and_then_constant(start, end, length, t):
    ramp = LinearRamp(start, end, length)
    assert ramp(1) == start
    assert ramp(length + 1) == ramp(length + t) == pytest.approx(end, abs=1e-12)
    k = min(t - 1, length)
    assert ramp(t) == pytest.approx((start * (length - k) + end * k) / length, rel=1e-9, abs=1e-12)


@given(every=st.integers(1, 20), epochs=st.integers(1, 20), epoch=st.integers(0, 30))
def test_a_ramp_in_steps_is_one_value_an_epoch(every, epochs, epoch):
    ramp = LinearRamp(0.5, 0.7, length=epochs * every, every=every)
    values = {ramp(epoch * every + 1 + i) for i in range(every)}
    assert len(values) == 1
    assert values.pop() == pytest.approx(0.5 + 0.2 * min(1, epoch / epochs), rel=1e-12)


@given(low=numbers, high=numbers, half=st.integers(1, 50), t=updates)
def test_a_cycle_goes_up_and_down_in_straight_lines_for_ever(low, high, half, t):
    cycle = Cyclical(low, high, 2 * half)
    assert cycle(1) == pytest.approx(low, abs=1e-12)
    assert cycle(half + 1) == pytest.approx(high, abs=1e-12)
    assert cycle(t) == cycle(t + 2 * half)
    up = min((t - 1) % (2 * half), 2 * half - (t - 1) % (2 * half)) / half
    assert cycle(t) == pytest.approx(low + (high - low) * up, rel=1e-9, abs=1e-9)


@given(low=st.floats(0, 1), rise=st.floats(0, 1), period=st.integers(1, 30), t=updates)
def test_a_cycle_stays_between_its_ends(low, rise, period, t):
    assert low - 1e-12 <= Cyclical(low, low + rise, period)(t) <= low + rise + 1e-12


@given(delay=st.integers(0, 50), t=st.integers(1, 200))
def test_a_delayed_ramp_is_the_same_one_so_many_updates_later(delay, t):
    ramp, later = LinearRamp(1.0, 0.0, 30, every=4), LinearRamp(1.0, 0.0, 30, every=4, delay=delay)
    assert later(t + delay) == ramp(t)
    assert all(later(before) == 1.0 for before in range(1, delay + 1))


def test_a_ramp_cannot_begin_before_the_first_update():
    with pytest.raises(ValueError, match="a ramp is delayed by 0 updates or more, got -1"):
        LinearRamp(1.0, 0.0, 30, delay=-1)
