"""Keeps workers off the processor of the one who wakes them.

A thread that has slept may wake on the processor of its waker, and then the two take turns on it for tens of
milliseconds while another processor is idle. In a virtual machine Linux even prefers that: a processor that sleeps
looks as if the host had lent it to somebody else. A worker that may run anywhere but there wakes where there is room.

Only on Linux; elsewhere threads go where the system puts them.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache


@cache
def _asks_the_system() -> Callable[[], int] | None:
    """What tells the number of the processor that this thread is on; None where nothing does."""
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


class Placement:
    """Where a pool's workers may run: on all processors that the process may use, but the caller's."""

    def __init__(self, workers: Sequence[threading.Thread]) -> None:
        self._workers = workers
        self._processor = _asks_the_system()
        self._kept_off = -1
        # With more threads than processors some have to share one, and the caller's is as good as another.
        if self._processor and not 0 < len(workers) < len(os.sched_getaffinity(0)):
            self._processor = None

    def keep_off_the_caller(self) -> None:
        """To be called before each waking, as the caller may have moved: to ask takes a tenth of a microsecond."""
        if self._processor is None or (here := self._processor()) == self._kept_off:
            return
        self._kept_off = here
        others = os.sched_getaffinity(0) - {here}  # of those that the user allows now
        for worker in self._workers:
            if worker.native_id is not None:
                with suppress(OSError):  # it has ended, or there are no others left: it stays where it may be
                    os.sched_setaffinity(worker.native_id, others)
