"""Work shared by a few threads of our own, each of which calls BLAS on one thread.

NumPy, BLAS and compiled loops release Python's lock, so threads run them at the same time. Two pools
that both wait by spinning (BLAS's and another one) take the processor from each other; here there is
one pool, whose workers look out for a moment and then sleep. Each worker takes a part that is small enough
to stay in its cache through several passes, which no library call for whole arrays can do.
"""

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from minigan.kernels.placement import Placement
from minigan.processor import processors

T = TypeVar("T")

# A queue of the standard library's C code: handing a part over takes a third of the time that its executors take.
_tasks: "SimpleQueue[Callable[[], None] | None]" = SimpleQueue()
_given, _done = np.zeros(1, np.int64), np.zeros(1, np.int64)  # they move with each put into a queue of their kind
_others: list[threading.Thread] = []  # the caller is a worker too
_placement = Placement([])
_local = threading.local()  # each worker's scratch memory, and whether it is a worker of the pool

PATIENCE = 1e-3  # seconds that a thread looks out before it sleeps: longer than what lies between two products
AFTER = 8e-6  # and leaves Python's lock to the one who moved the counter: to wait for the lock is to sleep, too
AWAKE = 8  # threads that may look out; of more, many would take turns at Python's lock to see that there is nothing

Watch = Callable[[np.ndarray, int, float, float], bool]


def _asleep(*_: object) -> bool:
    """In the place of `awake.watch` where there is nothing to watch with, or nobody should."""
    return False


_watch: Watch = _asleep
_errands: Any = None  # the module, where workers have letterboxes
_boxes = np.zeros((0, 0), np.int64)  # theirs
_claim = np.zeros(1, np.int64)  # 1 while somebody puts something into them


def _alone_after_fork() -> None:
    """The child has none of the other threads, and a queue that one of them was just reading may never give again."""
    global _tasks
    _tasks = SimpleQueue()
    _others.clear()
    _boxes[:] = 0
    _claim[0] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_alone_after_fork)


def set_threads(count: int) -> None:
    """How many workers share the work from now on; 1: the caller does it alone, and no thread is left."""
    global _placement, _watch, _errands, _boxes, _tasks
    before, tasks = _others[:], _tasks
    _others.clear()
    _tasks = SimpleQueue()  # of the new pool: what was left in the old one, if it is interrupted here, is for nobody
    for _ in before:
        tasks.put(None)
    _given[0] += 1
    for other in before:
        if other.ident is not None:  # else it could not be started
            other.join()
    _watch, _errands = _watcher(count)  # the new workers ask for them
    _boxes = np.zeros((count - 1, _errands.FIELDS if _errands else 0), np.int64)
    _others[:] = [threading.Thread(target=_serve, args=(box, _tasks), name="minigan", daemon=True) for box in _boxes]
    for other in _others:
        other.start()
    _placement = Placement(_others)


def _watcher(count: int) -> tuple[Watch, Any]:
    """`awake.watch`, and `errands`, where numba is installed and so many threads can have a processor each."""
    if 1 < count <= min(AWAKE, processors()):
        with suppress(Exception):  # no numba, or whatever it has to say about this machine and its own settings
            watch: Watch = import_module("minigan.kernels.awake").watch
            watch(np.ones(1, np.int64), 0, 0, 0)  # compiled and timed while no other thread wants Python's lock
            errands = import_module("minigan.kernels.errands")
            errands.look_out(np.ones(1, np.int64), 0, 0, 0, np.zeros(errands.FIELDS, np.int64))
            return watch, errands
    return _asleep, None


def threads() -> int:
    """How many workers there are."""
    return 1 + len(_others)


def multiply(job: np.ndarray, columns: bool, most: int) -> None:
    """Compute a product (`errands`) in as many parts as there are workers, but for `most`, of C's columns or rows.

    Those who have fallen asleep leave their parts to the caller, and are woken for the next one. A thread that computes
    beside another one has no workers.
    """
    try:
        away = _errands.together(job, columns, min(threads(), most), _boxes, _claim)
    except SystemError as err:
        raise _meant(err) from None
    if away:
        _placement.keep_off_the_caller()
        for _ in range(away):
            _tasks.put(_nothing)
        _given[0] += 1


def run_errands() -> bool:
    """Whether there are workers with letterboxes, and this is none of them."""
    return _errands is not None and not hasattr(_local, "in_pool")


def _nothing() -> None: ...


def share(work: Callable[[int, int], T], count: int, smallest: int = 1) -> list[T]:
    """What work(start, stop) returns for parts that together are range(count), one part a worker, in order.

    No part is smaller than `smallest` (but for a count that is). An error in a part is raised here, when all are done.
    A part that shares work itself does it alone: it would wait for workers who may all be waiting so. What the caller
    has set for its own thread, such as `numpy.errstate`, holds in every part. A part that no worker has begun with when
    the caller has done its own is done by the caller: another program may have that worker's processor.
    """
    parts = max(1, min(threads(), count // smallest))
    if parts == 1 or hasattr(_local, "in_pool"):
        try:
            return [work(0, count)]
        except SystemError as err:
            if (meant := _meant(err)) is err:
                raise
            raise meant from None
    shared = _Shared(work, [count * part // parts for part in range(parts + 1)])
    offer = [shared.help_out]
    _placement.keep_off_the_caller()
    for _ in range(1, parts):
        _tasks.put(partial(copy_context().run, _accept, offer))
    _given[0] += 1
    try:
        shared.all_parts()
    finally:
        offer.clear()  # who comes late finds nothing, and has kept no array
    if shared.errors:
        raise shared.errors[0]
    return shared.values


class _Shared:
    """Work in parts, of which the caller does the first, and each other one who comes first: it, or a worker."""

    def __init__(self, work: Callable[[int, int], Any], bounds: list[int]) -> None:
        self._work, self._bounds = work, bounds
        self._waiting = deque(range(1, len(bounds) - 1))  # each number comes out once, also where Python has no lock
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._at_work: list[None] = []  # one for each worker that may be at a part
        self.values: list[Any] = [None] * (len(bounds) - 1)
        self.errors: list[BaseException] = []

    def all_parts(self) -> None:
        """What the caller does: its own, and to wait for the others."""
        try:
            self._one(0)
            self._those_waiting()
            for _ in self.values:
                _next(self._ended, _done, _watch)  # all, before an error leaves: they write into arrays of the caller
        except BaseException:  # Ctrl-C while it waits; another one need not be patient
            self._waiting.clear()
            while self._at_work:
                time.sleep(1e-4)
            raise

    def help_out(self) -> None:
        """What a worker does."""
        self._at_work.append(None)
        try:
            self._those_waiting()
        finally:
            self._at_work.pop()

    def _those_waiting(self) -> None:
        with suppress(IndexError):  # none is left; `_one` keeps its errors
            while True:
                self._one(self._waiting.popleft())

    def _one(self, part: int) -> None:
        try:
            self.values[part] = self._work(self._bounds[part], self._bounds[part + 1])
        except BaseException as err:
            self.errors.append(_meant(err))
        self._ended.put(part)
        _done[0] += 1


def _meant(err: BaseException) -> BaseException:
    """The error, or the Ctrl-C that came just when numba handed over to a loop: it makes SystemErrors of that."""
    cause: BaseException | None = err
    while isinstance(cause, SystemError):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, KeyboardInterrupt) else err


def _accept(offer: list[Callable[[], None]]) -> None:
    for work in offer:
        work()


def _serve(box: np.ndarray, tasks: "SimpleQueue[Callable[[], None] | None]") -> None:
    """The life of a worker of the pool, with a letterbox."""
    _local.in_pool = True
    watch = partial(_errands.watch, box) if _errands else _watch
    while (task := _next(tasks, _given, watch)) is not None:
        task()


def _next(queue: "SimpleQueue[T]", counter: np.ndarray, watch: Watch) -> T:
    """What comes out of a queue next. Who finds it empty looks out for a while, and then sleeps."""
    while True:
        seen = counter[0]
        with suppress(Empty):
            return queue.get_nowait()
        if not watch(counter, seen, PATIENCE, AFTER):
            return queue.get()
        # What came may be gone by now, to another worker.


def scratch(use: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array of this worker's own, for one use at a time, with whatever was left in it.

    Fresh memory would have to be cleared by the system, page by page; this stays, and stays in the cache.
    """
    kept: dict[str, np.ndarray] = _local.__dict__.setdefault("kept", {})
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if use not in kept or kept[use].size < size:
        kept[use] = np.empty(size, np.uint8)
    return kept[use][:size].view(dtype).reshape(shape)
