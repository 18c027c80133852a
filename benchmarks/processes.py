"""Things that are measured live in processes of their own, which take turns.

Each has its own threads and settings. While one works the others wait for a message, asleep; how much of
the processor they take while they wait is measured too.
"""

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from minigan.errors import UserError

GOODBYE = 5.0  # seconds that a process gets to end by itself
SETTLE = 0.25  # seconds before a block: OpenBLAS's threads wait for a tenth of one, spinning, after their last product


class ProcessFailed(Exception):
    """An error in the other process; the message is its traceback."""


class Remote:
    """``make(*arguments)`` in a fresh process; ``remote("method", ...)`` calls a method of it and waits for the result.

    A context manager: the process ends with the block. Raises UserError as it was raised there, ProcessFailed
    for other errors and for a process that is gone.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def __call__(self, method: str, *arguments: Any) -> Any:
        self._pipe.send((method, arguments))
        return self._answer()

    def waiting(self) -> dict[str, float]:
        """Seconds that the process has waited for messages, and seconds of processor time that it used for that."""
        facts: dict[str, float] = self(WAITING)
        return facts

    def _answer(self) -> Any:
        try:
            good, value = self._pipe.recv()
        except EOFError:
            self._process.join(GOODBYE)
            raise ProcessFailed(f"the process is gone (exit code {self._process.exitcode})") from None
        if not good:
            raise value
        return value

    def close(self) -> None:
        self._pipe.close()
        self._process.join(GOODBYE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


WAITING = "how long have you waited?"


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The other end: answers (True, result) or (False, error) until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    waited = {"seconds": 0.0, "processor": 0.0}
    method, subject = "", None
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            try:
                if not method:
                    subject, result = make(*arguments), None
                else:
                    result = waited if method == WAITING else getattr(subject, method)(*arguments)
                answer: tuple[bool, Any] = (True, result)
            except UserError as err:
                answer = (False, err)
            except Exception:
                answer = (False, ProcessFailed(traceback.format_exc()))
            pipe.send(answer)
            clock, processor = time.perf_counter(), time.process_time()
            method, arguments = pipe.recv()
            waited["seconds"] += time.perf_counter() - clock
            waited["processor"] += time.process_time() - processor


def alternate(sides: Mapping[str, Remote], rounds: int, blocks: int) -> dict[str, list[float]]:
    """Seconds a round of each side, one number a block; the sides take turns, and so does the first of a turn.

    Each begins when the threads of the one before are asleep.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(blocks):
        for name in order:
            time.sleep(SETTLE)
            times[name].append(sides[name]("seconds_a_round", rounds))
        order = order[1:] + order[:1]
    return times
