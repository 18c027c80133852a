"""Work shared by threads: order, errors, scratch memory, places, and no way to wait for each other for ever."""

import gc
import os
import sys
import threading
import time
import warnings
import weakref
from types import ModuleType

import numpy as np
import pytest

from minigan.kernels import placement, workers
from minigan.kernels.workers import scratch, share

on_two_threads = pytest.mark.usefixtures("two_threads")


@pytest.fixture(params=["asleep", "awake"])
def watch(request):
    """How threads wait for each other: asleep at once, or looking out for a while."""
    if request.param == "asleep":
        return workers._asleep
    return pytest.importorskip("minigan.kernels.awake", reason="needs numba").watch


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch, watch):
    monkeypatch.setattr(workers, "_watcher", lambda _: (watch, None))
    workers.set_threads(request.param)
    yield request.param
    workers.set_threads(1)


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), MemoryError(), None])
@pytest.mark.usefixtures("threads")
def test_ctrl_c_within_a_compiled_loop_is_one(cause):
    def work(*_):
        try:
            raise SystemError("<function _numba_unpickle> returned a result with an exception set") from cause
        except SystemError:
            raise SystemError("CPUDispatcher(<function>) returned a result with an exception set")  # noqa: B904

    with pytest.raises(KeyboardInterrupt if isinstance(cause, KeyboardInterrupt) else SystemError) as found:
        share(work, 6)
    if isinstance(cause, MemoryError):
        assert found.value.__context__.__cause__ is cause
        assert not found.value.__suppress_context__


@pytest.fixture
def two_threads(monkeypatch, watch):
    monkeypatch.setattr(workers, "_watcher", lambda _: (watch, None))
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


@pytest.mark.usefixtures("threads")
def test_every_part_is_done_once():
    counts = np.zeros(6, int)
    for _ in range(20):
        done = share(lambda start, stop: counts[start:stop].__iadd__(1).size, 6)
    assert sum(done) == 6
    assert (counts == 20).all()


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
def test_the_caller_does_what_no_worker_has_begun_with():
    """Else a round would stand still while another program has the worker's processor."""
    go_on, busy = threading.Event(), threading.Event()
    workers._tasks.put(lambda: (busy.set(), go_on.wait(timeout=20)))
    assert busy.wait(timeout=20)
    assert share(lambda *_: threading.current_thread(), 2) == [threading.current_thread()] * 2
    go_on.set()
    assert share(lambda start, stop: (start, stop), 2) == [(0, 1), (1, 2)]  # a task without a part is no part


@pytest.mark.parametrize(("processors", "awake"), [(1, set()), (2, {2}), (3, {2, 3}), (64, {2, 3, 8})])
def test_threads_look_out_where_each_can_have_a_processor(monkeypatch, processors, awake):
    watch = pytest.importorskip("minigan.kernels.awake", reason="needs numba").watch
    monkeypatch.setattr(workers, "processors", lambda: processors)
    assert {count for count in (1, 2, 3, 8, 9, 64) if workers._watcher(count)[0] is watch} == awake


@pytest.mark.parametrize("missing", [None, ModuleType("minigan.kernels.awake")], ids=["not there", "does not work"])
def test_threads_sleep_where_nothing_is_compiled(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, "minigan.kernels.awake", missing)
    monkeypatch.setattr(workers, "processors", lambda: 2)
    assert workers._watcher(2) == (workers._asleep, None)


def test_a_failure_on_the_way_to_new_threads_leaves_none(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    workers.set_threads(2)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_watcher", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workers.set_threads(3)
    assert workers.threads() == 1
    workers.set_threads(1)


def test_an_interrupted_end_of_a_pool_leaves_nothing_to_the_next_one(monkeypatch):
    """Else its workers would take what was meant for those before, and end at once."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for _ in range(3):
        workers.set_threads(3)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "join", interrupted)
            with pytest.raises(KeyboardInterrupt):
                workers.set_threads(2)
    workers.set_threads(2)
    time.sleep(0.05)
    assert workers.threads() == 2
    assert all(worker.is_alive() for worker in workers._others)
    barrier = threading.Barrier(2)
    share(lambda *_: barrier.wait(timeout=20), 2)
    workers.set_threads(1)


def test_threads_that_cannot_be_started_are_not_waited_for(monkeypatch):
    def refused(*_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            workers.set_threads(3)
    workers.set_threads(2)
    assert share(lambda a, b: (a, b), 2) == [(0, 1), (1, 2)]
    workers.set_threads(1)


@pytest.mark.parametrize("interrupted", ["in its own part", "while it waits"])
@on_two_threads
def test_after_ctrl_c_no_worker_writes_into_the_caller_s_arrays_any_more(monkeypatch, interrupted):
    begun, go_on, array = threading.Event(), threading.Event(), np.zeros(2)
    real = workers._next

    def ctrl_c(queue, counter, watch):
        if counter is workers._done and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return real(queue, counter, watch)

    def work(start, _):
        if start == 0:
            assert begun.wait(timeout=20)
            threading.Timer(0.05, go_on.set).start()
            if interrupted == "in its own part":
                raise KeyboardInterrupt
        else:
            begun.set()
            assert go_on.wait(timeout=20)
        array[start] = 7

    monkeypatch.setattr(workers, "_next", ctrl_c if interrupted == "while it waits" else real)
    with pytest.raises(KeyboardInterrupt):
        share(work, 2)
    assert array[1] == 7  # it was waited for
    monkeypatch.undo()
    assert share(lambda a, b: (a, b), 2) == [(0, 1), (1, 2)]


def test_a_part_for_one_worker_sends_no_other_to_sleep(monkeypatch):
    """All see that something came, and one gets it; the others look out further."""
    looked = {}

    def watch(counter, before, *_):
        name = threading.get_ident()
        if counter is workers._given:
            looked[name] = looked.get(name, 0) + 1
            while counter[0] == before:
                time.sleep(0.001)
        return True

    monkeypatch.setattr(workers, "_watcher", lambda _: (watch, None))
    workers.set_threads(4)
    until = time.monotonic() + 20
    while len(looked) < 3 and time.monotonic() < until:
        time.sleep(0.001)
    before = dict(looked)
    share(lambda *_: None, 2)
    while sum(looked.values()) < sum(before.values()) + 3 and time.monotonic() < until:
        time.sleep(0.001)
    assert {name: times + 1 for name, times in before.items()} == looked
    workers.set_threads(1)


@on_two_threads
def test_what_comes_late_keeps_no_array():
    go_on, busy = threading.Event(), threading.Event()
    workers._tasks.put(lambda: (busy.set(), go_on.wait(timeout=20)))
    assert busy.wait(timeout=20)
    made = [np.zeros(3)]
    kept = weakref.ref(made[0])
    share(lambda *_, made=made: made[0] + 1, 2)
    made.clear()
    gc.collect()
    assert kept() is None
    go_on.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@on_two_threads
def test_a_forked_process_works_alone():
    stuck, workers._tasks = workers._tasks, None  # as one is that a thread of the parent was just reading
    child = os.fork()
    if child == 0:
        alone = workers.threads() == 1 and share(lambda a, b: (a, b), 2) == [(0, 2)]
        workers.set_threads(2)
        both = share(lambda a, b: (a, b), 2) == [(0, 1), (1, 2)]
        workers.set_threads(1)
        os._exit(0 if alone and both else 1)
    workers._tasks = stuck
    assert os.waitpid(child, 0)[1] == 0
    assert share(lambda a, b: (a, b), 2) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("seen", [True, False], ids=["while it looks out", "after it has gone to sleep"])
def test_a_worker_begins_when_it_is_given_a_part(monkeypatch, seen):
    """However long it has waited: what was put into the queue is found there, with or without being watched."""
    looked = threading.Event()

    def watch(counter, before, *_):
        if counter is workers._given:
            looked.set()
            while seen and counter[0] == before and workers._tasks.empty():
                time.sleep(0.001)
        return seen

    monkeypatch.setattr(workers, "_watcher", lambda _: (watch, None))
    workers.set_threads(2)
    assert looked.wait(timeout=20)
    barrier = threading.Barrier(2)
    share(lambda *_: barrier.wait(timeout=20), 2)
    workers.set_threads(1)


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


class Processors:
    """Says that the caller is on processor `here`, and that the process may use some; remembers who was moved where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, allowed: set[int]) -> None:
        self.here, self.moved = 0, []
        monkeypatch.setattr(placement, "_asks_the_system", lambda: lambda: self.here)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed, raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", self.move, raising=False)

    def move(self, thread: int, where: set[int]) -> None:
        self.moved.append((thread, where))


@pytest.fixture
def of_workers():
    """Identities of the workers of a pool that is made by then."""
    yield lambda: [thread.native_id for thread in workers._others]
    workers.set_threads(1)


def test_workers_are_kept_off_the_caller_s_processor(monkeypatch, of_workers):
    processors = Processors(monkeypatch, {0, 1, 4, 5})
    workers.set_threads(3)
    for processors.here, others in ((4, {0, 1, 5}), (0, {1, 4, 5})):
        processors.moved.clear()
        share(lambda *_: None, 3)
        assert processors.moved == [(worker, others) for worker in of_workers()]
        share(lambda *_: None, 3)
        assert len(processors.moved) == 2  # not again, as long as the caller stays


def test_a_new_pool_has_to_be_placed_again(monkeypatch, of_workers):
    processors = Processors(monkeypatch, {0, 1})
    for _ in range(2):
        workers.set_threads(2)
        share(lambda *_: None, 2)
        assert processors.moved.pop() == (of_workers()[0], {1})


@pytest.mark.parametrize("allowed", [set(), {0}, {0, 1}], ids=["unknown", "one", "fewer than threads"])
@pytest.mark.usefixtures("of_workers")
def test_workers_go_where_they_like_if_there_is_no_room(monkeypatch, allowed):
    processors = Processors(monkeypatch, allowed)
    workers.set_threads(3)
    assert share(lambda start, _: start, 3) == [0, 1, 2]
    assert not processors.moved


@pytest.mark.usefixtures("of_workers")
def test_a_worker_that_cannot_be_placed_works_on(monkeypatch):
    class Refusing(Processors):
        def move(self, *_):
            raise OSError("not allowed")

    Refusing(monkeypatch, {0, 1})
    workers.set_threads(2)
    assert share(lambda start, _: start, 2) == [0, 1]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system tells nothing about processors")
@pytest.mark.usefixtures("of_workers")
def test_threads_of_this_system_are_placed():
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one processor")
    workers.set_threads(2)
    barrier = threading.Barrier(2)
    places = share(lambda *_: (barrier.wait(timeout=20), os.sched_getaffinity(0))[1], 2)
    assert places[0] == allowed  # the caller's are left alone
    assert places[1] < allowed
    assert len(places[1]) == len(allowed) - 1
