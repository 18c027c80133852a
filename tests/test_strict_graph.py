"""The stand-in for graphs: records instead of running, refuses what CUDA and CuPy refuse, replays in place."""

import importlib.util
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from tests import strict_cupy, strict_graph
from tests.strict_cupy import counting

xp = strict_cupy.MODULE


@contextmanager
def capture(device, graphs, pool=None):
    """Within the block the operations go into a graph, which is in `graphs` then."""
    cuda = device.xp.cuda
    stream = cuda.Stream(non_blocking=True)
    pool = pool or cuda.MemoryPool()
    with stream, cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        try:
            yield stream
        finally:
            graphs.append(stream.end_capture())
            graphs.append(pool)  # lives as long as the list


def test_operations_run_at_the_launch_and_each_time_again(strict):
    graphs = []
    x, total = xp.asarray(np.array([1.0, 2.0])), xp.zeros(2)
    with capture(strict, graphs):
        y = x * 3
        total += y
        largest = xp.argmax(y)
        low, high = xp.minimum(y, 5.0), xp.empty_like(y)
        xp.maximum(y, 5.0, out=high)
        flat = y.reshape(1, 2)
        total[:1] = 7.0 + total[:1]
    assert np.isnan(y.get()).all()
    assert total.get().tolist() == [0, 0]
    for times, start in [(1, [1.0, 2.0]), (2, [4.0, 1.0])]:
        x[...] = xp.asarray(np.array(start))
        graphs[0].launch()
        assert y.get().tolist() == flat.get()[0].tolist() == [3 * number for number in start]
        assert largest.get() == np.argmax(start)
        assert np.array_equal(low.get(), np.minimum(y.get(), 5))
        assert np.array_equal(high.get(), np.maximum(y.get(), 5))
        assert total.get().tolist() == ([10, 6] if times == 1 else [29, 9])


def test_numbers_of_the_host_are_baked_in(strict):
    graphs, rate = [], 2.0
    x, there = xp.ones(1), xp.full((), 2.0)
    with capture(strict, graphs):
        baked, read = x * rate, x * there
    rate, there[...] = 5.0, 5.0
    graphs[0].launch()
    assert (baked.get()[0], read.get()[0]) == (2, 5)


REFUSED = {
    "waiting": lambda x: float(x[0]),
    "copying to the host": lambda x: x.get(),
    "synchronising": lambda _: xp.cuda.get_current_stream().synchronize(),
    "copying from the host": lambda _: xp.asarray(np.ones(2)),
    "setting": lambda x: x.set(np.ones(2)),
    "a list as index": lambda x: x[[0, 1]],
    "a mask": lambda x: x[x > 0],
    "joining many, whose addresses go over": lambda x: xp.concatenate([x] * 9),
    "a second capture": lambda _: xp.cuda.Stream(non_blocking=True).begin_capture(),
}


@pytest.mark.parametrize("what", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_captured_is_refused_and_fine_outside(what, strict):
    x = strict.put(np.ones(2))
    with pytest.raises(strict_graph.CUDARuntimeError), capture(strict, []):
        what(x)
    if what is not REFUSED["a second capture"]:
        what(x)


def test_cupys_cublas_is_refused_unless_a_test_allows_it(strict, monkeypatch):
    x = strict.put(np.ones((2, 2)))
    monkeypatch.setattr(strict_graph, "cublas_refused", False)
    with capture(strict, []):
        x @ x
    monkeypatch.setattr(strict_graph, "cublas_refused", True)
    for product in (lambda: x @ x, lambda: strict.xp.dot(x, x), lambda: strict.xp.matmul(x, x)):
        product()
        with pytest.raises(NotImplementedError, match="cuBLAS"), capture(strict, []):
            product()


def test_only_a_stream_of_its_own_is_captured(strict):
    cuda = strict.xp.cuda
    with pytest.raises(RuntimeError, match="default"):
        cuda.get_current_stream().begin_capture()
    with pytest.raises(strict_graph.CUDARuntimeError):
        cuda.Stream().begin_capture()
    with pytest.raises(strict_graph.CUDARuntimeError):
        cuda.Stream(non_blocking=True).end_capture()


def test_fresh_memory_is_that_of_a_private_pool_which_has_to_live(strict):
    x, graphs = strict.put(np.ones(2)), []
    stream = strict.xp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        x += 1  # takes none
        with pytest.raises(AssertionError, match="common pool"):
            x + 1
        stream.end_capture()
    with capture(strict, graphs):
        x + 1
    graph, pool = graphs
    with strict.xp.cuda.using_allocator(pool.malloc):
        x += 1
        with pytest.raises(AssertionError, match="pool of a graph"):
            x + 1
    graph.launch()
    del pool, graphs[1]
    with pytest.raises(AssertionError, match="is gone"):
        graph.launch()


def test_work_of_another_stream_would_be_lost(strict):
    other = strict.xp.cuda.Stream(non_blocking=True)
    with capture(strict, []), other, pytest.raises(AssertionError, match="current"):
        strict.xp.zeros(2)


def test_other_launches_are_recorded_too(strict):
    ran, graphs = [], []
    assert not strict_graph.record(lambda: ran.append(1))
    with capture(strict, graphs):
        strict.xp.zeros(1)
        assert strict_graph.record(lambda: ran.append(2))
    assert ran == []
    graphs[0].launch()
    graphs[0].launch()
    assert ran == [2, 2]


NAMES = """
import cupy
for kind in ("Event", "Graph", "MemoryPool", "Stream"):
    print(kind, *dir(getattr(cupy.cuda, kind)))
print("cuda", *dir(cupy.cuda))
"""


def test_the_real_cupy_has_all_that_this_one_has():
    """In a process of its own: here, CuPy would count as a GPU in use."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    done = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True)
    real = {kind: set(names) for kind, *names in map(str.split, done.stdout.splitlines())}
    assert {name for name in vars(xp.cuda) if not name.startswith("_")} <= real["cuda"]
    for kind in (strict_graph.Event, strict_graph.Graph, strict_graph.MemoryPool, strict_graph.Stream):
        methods = {name for name, value in vars(kind).items() if callable(value) and not name.startswith("__")}
        assert methods
        assert methods <= real[kind.__name__]


def test_a_replay_is_no_operation_of_the_host(strict):
    graphs = []
    x = strict.put(np.ones(2))
    with capture(strict, graphs):
        x *= 2
    before = strict_graph.operations
    with counting() as counts:
        graphs[0].launch()
    assert (strict_graph.operations, counts.waits, counts.copies) == (before, [], [])
    assert x.get().tolist() == [2, 2]
