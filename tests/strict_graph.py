"""CUDA graphs for the stand-in for CuPy: streams, captures, replays, memory pools, pinned memory, events.

While streams are being captured, nothing is executed: an operation is recorded, its fresh results hold NaN (whole
numbers: 0) and what it would change stays as it was. `Graph.launch` executes what was recorded, on the same memory.
Numbers from the host that went into a launch are baked in, as on a GPU.

A second stream takes part from when it waits for an event of the first one. What it does is executed as late as events
allow, where the first waits for it: so who reads too early reads something else.

Refused during a capture: whatever waits for the GPU or copies from the host, CuPy's cuBLAS, a stream that does not take
part, and fresh memory from any but a private pool; at its end, a stream that nobody waits for. Refused later: taking
memory from the pool of a graph, which would hand out what a replay writes to, and launching a graph whose pool is gone.
A graph of CuPy would let the memory and the other stream pass and compute something else.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np

PRODUCTS = frozenset({"dot", "inner", "matmul", "outer", "tensordot", "vdot"})  # what CuPy gives to cuBLAS


class CUDARuntimeError(RuntimeError):
    """What CuPy raises when the driver refuses."""


class MemoryPool:
    """Memory of its own; its arrays are NumPy's here, so that it only tells who takes memory when."""

    def __init__(self) -> None:
        self.captured = False

    def malloc(self, size: int) -> Any:
        raise NotImplementedError("the stand-in takes its memory from NumPy")


class Graph:
    """What was captured."""

    def __init__(self, stream: "Stream") -> None:
        self.stream = stream
        self.nodes: list[Callable[[], object]] = []
        self.late: dict[Stream, list[Callable[[], object]]] = {}  # of other streams, until one waits for them
        self.pool: Callable[[], MemoryPool | None] | None = None  # if it took memory
        self.launches = 0

    def launch(self, stream: "Stream | None" = None) -> None:
        if _capture is not None:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: a graph is launched during a capture")
        if self.pool is not None and self.pool() is None:
            raise AssertionError("the memory pool of the graph is gone: a replay would write to freed memory")
        self.launches += 1
        for node in self.nodes:
            node()


_capture: Graph | None = None
_streams: list["Stream"] = []
_pools: list[MemoryPool] = []
operations = 0  # started by the host one by one, so far: those of a replay are none
cublas_refused = True  # CuPy's own calls; tests of other things may allow them


class Stream:
    """A stream; the one that was entered last is the current one."""

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        assert not ptds, "no part of the stand-in"
        self.null, self.non_blocking, self.priority = null, non_blocking, priority
        self.ptr = 0 if null else id(self)

    def __enter__(self) -> "Stream":
        _streams.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        _streams.pop()

    def begin_capture(self, mode: int | None = None) -> None:
        global _capture
        if self.null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if not self.non_blocking or _capture is not None:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported")
        _capture = Graph(self)

    def end_capture(self) -> Graph:
        global _capture
        if _capture is None or _capture.stream is not self:
            raise CUDARuntimeError("cudaErrorIllegalState: this stream is not being captured")
        graph, _capture = _capture, None
        if any(graph.late.values()):
            raise CUDARuntimeError("cudaErrorStreamCaptureUnjoined: nobody waits for work of another stream")
        return graph

    def is_capturing(self) -> bool:
        return _capture is not None and _takes_part(self, _capture)

    def wait_event(self, event: "Event") -> None:
        if _capture is None or event.graph is not _capture:
            return
        if self is not _capture.stream:
            _capture.late.setdefault(self, [])
        else:
            late = _capture.late.get(event.stream, [])
            _capture.nodes += late[: event.after]
            del late[: event.after]


def current_stream() -> Stream | None:
    return _streams[-1] if _streams else None


class Event:
    """A mark in a stream. Waiting for one of an earlier round keeps the host near the GPU: no synchronisation."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.waited = True  # for its last mark
        self.graph: Graph | None = None  # to which the stream belonged at its mark
        self.stream: Stream | None = None
        self.after = 0  # so many of the late operations of its stream

    def record(self, stream: Stream | None = None) -> None:
        self.waited = False
        self.stream = stream or current_stream()
        if self.stream is not None and _capture is not None and _takes_part(self.stream, _capture):
            self.graph, self.after = _capture, len(_capture.late.get(self.stream, []))

    def synchronize(self) -> None:
        self.waited = True


def alloc_pinned_memory(size: int) -> bytearray:
    return bytearray(b"\xff" * size)  # as floats: NaN


@contextmanager
def using_allocator(allocator: Callable[[int], Any]) -> Iterator[None]:
    """Take memory from a private pool within the block: ``using_allocator(pool.malloc)``."""
    _pools.append(allocator.__self__)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        _pools.pop()


def record(call: Callable[[], object]) -> bool:
    """Keep a launch for the graph that is being captured, and return True; False if none is, and it has to be run."""
    global operations
    operations += 1
    if _capture is None:
        return False
    _check_stream(_capture)
    _capture.late.get(_streams[-1], _capture.nodes).append(call)
    return True


def refuse(cause: str) -> None:
    """Raise what the driver raises for an operation that cannot be captured, if a capture is going on."""
    if _capture is not None:
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {cause}: operation not permitted while capturing")


def run(name: str, function: Callable[..., Any], args: tuple, options: dict[str, Any] | None = None) -> Any:
    """function(*args, **options) on NumPy's arrays: executed now, or recorded."""
    options = options or {}
    if _capture is None:
        record(function)  # which counts it
        result = function(*args, **options)
        if _pools and _pools[-1].captured and _fresh(result, list(_arrays((args, options)))):
            raise AssertionError(f"{name} takes memory from the pool of a graph, which writes to it in each replay")
        return result
    if cublas_refused and name in PRODUCTS:
        raise NotImplementedError(f"{name}: calling cuBLAS API during stream capture is currently unsupported")
    return _trace(_capture, name, function, args, options)


def _trace(graph: Graph, name: str, function: Callable[..., Any], args: tuple, options: dict[str, Any]) -> Any:
    """Execute once, to know the results' shapes, and undo it."""
    given = [array for array in _arrays((args, options)) if array.flags.writeable]
    before = [array.copy() for array in given]
    with np.errstate(all="ignore"):  # the numbers are those of before the round, or NaN
        result = _in_arrays(function(*args, **options))
    for array, numbers in zip(given, before, strict=True):
        array[...] = numbers
    fresh = _fresh(result, list(_arrays((args, options))))
    if fresh and not _pools:
        raise AssertionError(f"{name} takes memory from the common pool while it is captured")
    if fresh:
        _pools[-1].captured = True
        graph.pool = weakref.ref(_pools[-1])
    for _, target in fresh:
        target.fill(np.nan if target.dtype.kind in "fc" else 0)

    def again() -> None:
        values = list(_arrays(_in_arrays(function(*args, **options))))
        for place, target in fresh:
            target[...] = values[place]

    record(again)
    return result


def _check_stream(graph: Graph) -> None:
    if not _streams or not _takes_part(_streams[-1], graph):
        raise AssertionError("the current stream is not one that is being captured: this would not be captured")


def _takes_part(stream: Stream | None, graph: Graph) -> bool:
    return stream is graph.stream or stream in graph.late


def _fresh(result: Any, given: list[np.ndarray]) -> list[tuple[int, np.ndarray]]:
    """The arrays of a result that are no views of what was given, with their numbers in it."""
    return [
        (place, array)
        for place, array in enumerate(_arrays(_in_arrays(result)))
        if not any(np.may_share_memory(array, other) for other in given)
    ]


def _in_arrays(result: Any) -> Any:
    if isinstance(result, np.generic):
        return np.asarray(result)
    return type(result)(map(_in_arrays, result)) if type(result) in (list, tuple) else result


def _arrays(nested: Any) -> Iterator[np.ndarray]:
    if isinstance(nested, np.ndarray):
        yield nested
    elif isinstance(nested, dict):
        yield from _arrays(list(nested.values()))
    elif isinstance(nested, list | tuple):
        for item in nested:
            yield from _arrays(item)
