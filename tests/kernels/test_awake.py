"""Waiting in a compiled loop: a change is seen, the wait ends, and Python's lock is left to others."""

import threading
import time

import numpy as np
import pytest

awake = pytest.importorskip("minigan.kernels.awake", reason="needs numba")
LONG, SHORT = 60.0, 1e-3


def test_a_change_before_is_seen_at_once():
    assert awake.watch(np.full(1, 5), 4, LONG, 0)


def test_without_a_change_it_ends():
    assert not awake.watch(np.full(1, 5), 5, SHORT, 0)


@pytest.mark.timeout(LONG / 2)
@pytest.mark.parametrize("after", [0, SHORT])
def test_a_change_by_another_thread_is_seen(after):
    """The other one needs Python's lock to move the counter, so it is free."""
    counter = np.zeros(1, np.int64)

    def move():
        time.sleep(0.05)
        counter[0] += 1

    mover = threading.Thread(target=move, daemon=True)
    mover.start()
    assert awake.watch(counter, 0, LONG, after)
    mover.join()


def test_times_are_seconds():
    """Within a wide margin, as another program may have the processor."""

    def took(*times):
        start = time.perf_counter()
        awake.watch(np.zeros(1, np.int64), *times)
        return time.perf_counter() - start

    assert took(0, 0.05, 0) > 0.01  # no change: patience
    assert took(1, LONG, 0.05) > 0.01  # at once, and then the time after
    assert took(1, LONG, 0) < LONG / 4


def test_a_time_that_was_a_wait_for_python_s_lock_is_not_believed(monkeypatch):
    awake.seconds_a_turn.cache_clear()
    monkeypatch.setattr(awake.time, "perf_counter", iter(range(100)).__next__)  # every look at the clock a second later
    assert awake.seconds_a_turn() == awake.LONGEST_TURN
    awake.seconds_a_turn.cache_clear()
