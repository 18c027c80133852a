"""The emulated GPU (tests/emulator) without CuPy: it executes late, in any order, and refuses what CUDA refuses."""

import ctypes
import os
import shutil
import subprocess
import sys
from ctypes import byref, c_double, c_float, c_int, c_size_t, c_void_p
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

EMULATOR = Path(__file__).parent / "emulator"
PARTS = ("streams", "graphs", "runtime", "cublas")  # what answers without CuPy
SIZE = 64  # bytes
NOT_READY, UNSUPPORTED, INVALIDATED, UNJOINED, ISOLATION, CAPTURED_EVENT = 600, 900, 901, 904, 905, 907
TO_DEVICE, TO_HOST = 1, 2

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="no g++, which compiles the emulated GPU"
)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """Its library, which executes nothing before somebody waits."""
    library = tmp_path_factory.mktemp("emulator") / "libemulator.so"
    sources = [EMULATOR / f"{name}.cpp" for name in PARTS]
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Werror", "-shared", "-fPIC", *sources, "-o", library], check=True)
    with patch.dict(os.environ, EMULATOR_ORDER="1"):
        return ctypes.CDLL(str(library))


@pytest.fixture
def stream(gpu):
    return new_stream(gpu)


def new_stream(gpu):
    made = c_void_p()
    assert gpu.cudaStreamCreateWithFlags(byref(made), 1) == 0  # the default stream does not wait for it
    return made


def new_event(gpu, stream):
    made = c_void_p()
    assert gpu.cudaEventCreateWithFlags(byref(made), 2) == 0
    assert gpu.cudaEventRecord(made, stream) == 0
    return made


def memory(gpu, kind="cudaMalloc"):
    made = c_void_p()
    assert getattr(gpu, kind)(byref(made), c_size_t(SIZE), *([0] if kind == "cudaHostAlloc" else [])) == 0
    return made


def fill(gpu, place, value, stream):
    return gpu.cudaMemsetAsync(place, value, c_size_t(SIZE), stream)


def seen(place):
    """The first byte there now; device memory of the emulator is the host's."""
    return ctypes.cast(place, ctypes.POINTER(ctypes.c_ubyte))[0]


def test_nothing_is_done_before_somebody_waits(gpu, stream):
    place = memory(gpu)
    assert fill(gpu, place, 7, stream) == 0
    assert seen(place) == 255  # as fresh memory: NaN
    assert gpu.cudaStreamSynchronize(new_stream(gpu)) == 0
    assert seen(place) == 255
    assert gpu.cudaStreamSynchronize(stream) == 0
    assert seen(place) == 7


@pytest.mark.parametrize("waits", [True, False])
def test_streams_wait_for_each_other_where_they_are_told_to(gpu, stream, waits):
    place, other = memory(gpu), new_stream(gpu)
    fill(gpu, place, 1, stream)
    if waits:
        assert gpu.cudaStreamWaitEvent(other, new_event(gpu, stream), 0) == 0
    fill(gpu, place, 2, other)
    assert gpu.cudaStreamSynchronize(other) == 0
    assert gpu.cudaStreamSynchronize(stream) == 0
    assert seen(place) == (2 if waits else 1)


@pytest.mark.parametrize("kind", ["page-locked", "pageable"])
def test_a_copy_reads_page_locked_memory_when_it_comes_to_it(gpu, stream, kind):
    there = memory(gpu)
    here = memory(gpu, "cudaHostAlloc") if kind == "page-locked" else ctypes.create_string_buffer(SIZE)
    ctypes.memset(here, 3, SIZE)
    assert gpu.cudaMemcpyAsync(there, here, c_size_t(SIZE), TO_DEVICE, stream) == 0
    ctypes.memset(here, 4, SIZE)
    assert gpu.cudaStreamSynchronize(stream) == 0
    assert seen(there) == (4 if kind == "page-locked" else 3)


def test_a_copy_that_leaves_the_memory_is_refused(gpu, stream):
    there, here = memory(gpu), ctypes.create_string_buffer(2 * 4096)
    assert gpu.cudaMemcpyAsync(there, here, c_size_t(2 * 4096), TO_DEVICE, stream) == 1
    assert gpu.cudaMemcpyAsync(here, here, c_size_t(SIZE), TO_HOST, stream) == 1


def end(gpu, stream):
    """The error at the end of a capture, and the graph."""
    graph = c_void_p()
    return gpu.cudaStreamEndCapture(stream, byref(graph)), graph


def test_a_graph_is_replayed_in_the_order_of_its_edges(gpu, stream):
    place, other = memory(gpu), new_stream(gpu)
    assert gpu.cudaStreamBeginCapture(stream, 2) == 0
    for value in range(8):
        assert fill(gpu, place, value, stream) == 0
        assert gpu.cudaStreamWaitEvent(other, new_event(gpu, stream), 0) == 0
        assert fill(gpu, place, value + 100, other) == 0
        assert gpu.cudaStreamWaitEvent(stream, new_event(gpu, other), 0) == 0
    error, graph = end(gpu, stream)
    assert error == 0
    assert seen(place) == 255  # recorded, not done
    for _ in range(5):
        assert gpu.cudaGraphLaunch(graph, stream) == 0
        assert gpu.cudaStreamSynchronize(stream) == 0
        assert seen(place) == 107


def test_where_edges_are_missing_a_graph_takes_any_order(gpu, stream):
    place, other = memory(gpu), new_stream(gpu)
    gpu.cudaStreamBeginCapture(stream, 2)
    assert gpu.cudaStreamWaitEvent(other, new_event(gpu, stream), 0) == 0
    fill(gpu, place, 1, stream)
    fill(gpu, place, 2, other)
    assert gpu.cudaStreamWaitEvent(stream, new_event(gpu, other), 0) == 0
    _, graph = end(gpu, stream)
    found = set()
    for _ in range(30):
        gpu.cudaGraphLaunch(graph, stream)
        gpu.cudaStreamSynchronize(stream)
        found.add(seen(place))
    assert found == {1, 2}


def waits_for_the_stream(gpu, stream):
    return gpu.cudaStreamSynchronize(stream)


def asks_the_stream(gpu, stream):
    return gpu.cudaStreamQuery(stream)


def waits_for_the_device(gpu, _stream):
    return gpu.cudaDeviceSynchronize()


def waits_for_an_event(gpu, stream):
    return gpu.cudaEventSynchronize(new_event(gpu, stream))


def copies_pageable_memory(gpu, stream):
    return gpu.cudaMemcpyAsync(memory(gpu), ctypes.create_string_buffer(SIZE), c_size_t(SIZE), TO_DEVICE, stream)


def waits_for_another_stream(gpu, stream):
    return gpu.cudaStreamWaitEvent(stream, new_event(gpu, new_stream(gpu)), 0)


OFFENCES = {
    waits_for_the_stream: UNSUPPORTED,
    asks_the_stream: UNSUPPORTED,
    waits_for_the_device: UNSUPPORTED,
    waits_for_an_event: CAPTURED_EVENT,
    copies_pageable_memory: UNSUPPORTED,
    waits_for_another_stream: ISOLATION,
}


@pytest.mark.parametrize(("offend", "error"), OFFENCES.items(), ids=lambda case: getattr(case, "__name__", None))
def test_what_cuda_refuses_in_a_capture_is_refused_and_spoils_it(gpu, stream, offend, error):
    place = memory(gpu)
    gpu.cudaStreamBeginCapture(stream, 2)
    assert offend(gpu, stream) == error
    assert fill(gpu, place, 1, stream) == INVALIDATED
    assert end(gpu, stream)[0] == INVALIDATED
    assert fill(gpu, place, 1, stream) == 0  # it is over


def test_work_that_nobody_waits_for_spoils_a_capture(gpu, stream):
    other = new_stream(gpu)
    gpu.cudaStreamBeginCapture(stream, 2)
    assert gpu.cudaStreamWaitEvent(other, new_event(gpu, stream), 0) == 0
    fill(gpu, memory(gpu), 1, other)
    assert end(gpu, stream)[0] == UNJOINED


def test_who_asks_often_enough_sees_a_stream_end(gpu, stream):
    place, other = memory(gpu), new_stream(gpu)
    fill(gpu, place, 1, other)
    assert gpu.cudaStreamWaitEvent(stream, new_event(gpu, other), 0) == 0
    fill(gpu, place, 2, stream)
    assert gpu.cudaStreamWaitEvent(stream, new_event(gpu, other), 0) == 0  # of which nothing has been executed
    answers = [gpu.cudaStreamQuery(stream) for _ in range(2)]
    assert answers == [NOT_READY, NOT_READY]
    assert seen(place) == 2
    assert gpu.cudaStreamSynchronize(other) == 0
    assert gpu.cudaStreamQuery(stream) == 0


@pytest.mark.parametrize(("ta", "tb"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize(("dtype", "kind", "compute"), [("float32", 0, 68), ("float32", 0, 77), ("float64", 1, 70)])
def test_products_are_those_of_numpy(gpu, stream, ta, tb, dtype, kind, compute):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 5, (5, 7) if ta else (7, 5)), rng.integers(-4, 5, (3, 5) if tb else (5, 3))
    c = np.ones((7, 3))
    a, b, c = (np.asfortranarray(array.astype(dtype)) for array in (a, b, c))
    expected = 2 * (a.T if ta else a) @ (b.T if tb else b) - c
    number, handle = (c_float if kind == 0 else c_double), c_void_p()
    gpu.cublasCreate_v2(byref(handle))
    gpu.cublasSetStream_v2(handle, stream)
    alpha, beta = byref(number(2)), byref(number(-1))
    matrices = [(c_void_p(array.ctypes.data), kind, c_int(array.shape[0])) for array in (a, b, c)]
    assert gpu.cublasGemmEx(
        handle, ta, tb, 7, 3, 5, alpha, *matrices[0], *matrices[1], beta, *matrices[2], compute, c_int(-1)
    ) == 0  # fmt: skip
    assert gpu.cudaStreamSynchronize(stream) == 0
    assert np.array_equal(c, expected)
