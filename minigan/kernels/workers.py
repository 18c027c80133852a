"""Work shared by a few threads of our own, each of which calls BLAS on one thread.

NumPy, BLAS and compiled loops release Python's lock, so threads run them at the same time. Two pools
that both wait by spinning (BLAS's and another one) take the processor from each other; here there is
one pool, and it waits asleep. Each worker takes a part that is small enough to stay in its cache
through several passes, which no library call for whole arrays can do.
"""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike

T = TypeVar("T")

_pools: dict[int, ThreadPoolExecutor] = {}
_threads = 1
_local = threading.local()  # each worker's scratch memory, and whether it is a worker of a pool


def set_threads(count: int) -> None:
    """How many workers share the work from now on; 1: the caller does it alone."""
    global _threads
    _threads = count


def threads() -> int:
    """How many workers there are."""
    return _threads


def share(work: Callable[[int, int], T], count: int, smallest: int = 1) -> list[T]:
    """What work(start, stop) returns for parts that together are range(count), one part a worker, in order.

    No part is smaller than `smallest` (but for a count that is). An error in a part is raised here, when all are done.
    A part that shares work itself does it alone: it would wait for workers who may all be waiting so. What the caller
    has set for its own thread, such as `numpy.errstate`, holds in every part.
    """
    parts = max(1, min(_threads, count // smallest))
    if parts == 1 or hasattr(_local, "in_pool"):
        return [work(0, count)]
    if parts not in _pools:
        _pools[parts] = ThreadPoolExecutor(parts - 1, "minigan", initializer=_enter_pool)
    bounds = [count * part // parts for part in range(parts + 1)]
    others = [
        _pools[parts].submit(copy_context().run, work, bounds[part], bounds[part + 1]) for part in range(1, parts)
    ]
    try:
        first = work(bounds[0], bounds[1])
    finally:
        wait(others)  # before an error of the first leaves: they write into arrays of the caller
    return [first, *(other.result() for other in others)]


def _enter_pool() -> None:
    _local.in_pool = True


def scratch(use: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array of this worker's own, for one use at a time, with whatever was left in it.

    Fresh memory would have to be cleared by the system, page by page; this stays, and stays in the cache.
    """
    kept: dict[str, np.ndarray] = _local.__dict__.setdefault("kept", {})
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if use not in kept or kept[use].size < size:
        kept[use] = np.empty(size, np.uint8)
    return kept[use][:size].view(dtype).reshape(shape)
