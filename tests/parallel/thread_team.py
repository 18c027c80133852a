"""A team whose processes are threads of one process: the same meetings as with MPI, without MPI."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from minigan.backend import array_module
from minigan.parallel.team import Team

Result = TypeVar("Result")


class Board:
    """Where threads leave arrays for each other; `meetings` counts how often they all met."""

    def __init__(self, size: int) -> None:
        self.left: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=60)
        self.meetings = 0

    def exchange(self, rank: int, thing: Any) -> list[Any]:
        self.left[rank] = thing
        if self.barrier.wait() == 0:
            self.meetings += 1
        found = list(self.left)
        self.barrier.wait()  # before the next exchange overwrites them
        return found


@dataclass(frozen=True, eq=False)
class ThreadTeam(Team):
    board: Board = field(default_factory=lambda: Board(1))

    def gather(self, array: Any) -> Any:
        return array_module(array).stack(self.board.exchange(self.rank, array.copy()))

    def average(self, vector: Any) -> None:
        vector[...] = self.gather(vector).sum(axis=0)
        vector /= self.size

    def largest(self, number: int) -> int:
        return int(max(self.board.exchange(self.rank, number)))


def together(size: int, work: Callable[[Team], Result]) -> list[Result]:
    """What `work` returns in each of `size` processes. An error in one of them ends them all, and is raised."""
    board = Board(size)

    def one(rank: int) -> Result:
        try:
            with np.errstate(all="ignore"):
                return work(ThreadTeam(rank, size, rank, size, board=board))
        except BaseException:
            board.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(one, rank) for rank in range(size)]
        errors = [error for future in futures if (error := future.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return [future.result() for future in futures]
