"""Work shared by threads: order, errors, scratch memory, and no way to wait for each other for ever."""

import threading
import time
import warnings

import numpy as np
import pytest

from minigan.kernels import workers
from minigan.kernels.workers import scratch, share

on_two_threads = pytest.mark.usefixtures("two_threads")


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    workers.set_threads(request.param)
    yield request.param
    workers.set_threads(1)


@pytest.fixture
def two_threads():
    workers.set_threads(2)
    yield
    workers.set_threads(1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("smallest", [1, 3, 50])
def test_parts_cover_the_count_in_order(threads, count, smallest):
    parts = share(lambda start, stop: (start, stop), count, smallest)
    assert 1 <= len(parts) <= threads
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(count))
    assert len(parts) == 1 or all(stop - start >= smallest for start, stop in parts)
    assert len(parts) == max(1, min(threads, count // smallest))


@on_two_threads
def test_results_are_in_order_whoever_is_first():
    def work(start, _):
        time.sleep(0.05 if start == 0 else 0)
        return start

    assert share(work, 2) == [0, 1]


@on_two_threads
def test_parts_run_at_the_same_time():
    barrier = threading.Barrier(2)
    share(lambda *_: barrier.wait(timeout=20), 2)  # raises if only one comes


@pytest.mark.parametrize("failing", [0, 1], ids=["of the caller", "of a worker"])
@on_two_threads
def test_an_error_is_raised_when_all_parts_have_ended(failing):
    ended = threading.Event()

    def work(start, _):
        if start == failing:
            raise KeyError(start)
        time.sleep(0.1)
        ended.set()

    with pytest.raises(KeyError) as caught:
        share(work, 2)
    assert caught.value.args == (failing,)
    assert ended.is_set()
    assert share(lambda _, stop: stop, 2) == [1, 2]  # and they work on


@pytest.mark.usefixtures("threads")
def test_work_that_shares_work_does_not_wait_for_itself():
    """A worker that waited for a part in its own pool would wait for ever."""
    found = []

    def outer(start, stop):
        return share(lambda a, b: sum(share(lambda c, d: d - c, b - a)), stop - start)

    runner = threading.Thread(target=lambda: found.append(share(outer, 12)), daemon=True)
    runner.start()
    runner.join(timeout=20)
    assert sum(part for parts in found[0] for part in parts) == 12


@on_two_threads
def test_settings_of_the_caller_hold_in_every_part():
    """NumPy's errstate among them: the trainer silences overflows, which it looks for itself."""
    large = np.full(4, 1e300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(all="ignore"):
            parts = share(lambda start, stop: large[start:stop] * large[start:stop], 4)
        assert np.isinf(np.concatenate(parts)).all()
        with pytest.raises(RuntimeWarning):
            share(lambda start, _: start and large * large, 4)


@on_two_threads
def test_several_callers_at_once():
    results = []

    def caller(offset):
        for _ in range(50):
            results.append(share(lambda a, b: offset + b - a, 4))

    callers = [threading.Thread(target=caller, args=(100 * i,), daemon=True) for i in range(3)]
    for one in callers:
        one.start()
    for one in callers:
        one.join(timeout=30)
    assert sorted(results) == sorted([100 * i + 2] * 2 for i in range(3) for _ in range(50))


@on_two_threads
def test_scratch_memory_is_the_worker_s_own_and_stays():
    barrier = threading.Barrier(2)

    def work(start, _):
        array = scratch("test", (3, 2), np.float32)
        array[...] = start
        barrier.wait(timeout=20)
        again = scratch("test", (2, 3), np.float32)
        assert np.shares_memory(array, again)
        assert (again == start).all()
        return array.__array_interface__["data"][0]

    first, second = share(work, 2)
    assert first != second
    assert share(work, 2) == [first, second]


def test_scratch_memory_of_different_uses_shapes_and_types():
    one, other = scratch("one", (4,), np.float64), scratch("other", (4,), np.float64)
    assert not np.shares_memory(one, other)
    assert scratch("one", (2, 2), np.float32).dtype == np.float32
    assert scratch("one", (1000,), np.float64).shape == (1000,)
    assert scratch("one", (0, 3), np.float32).shape == (0, 3)
    assert scratch("one", (4,), np.float64).flags.aligned
