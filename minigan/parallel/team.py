r"""The processes that share each batch, seen from one of them.

Each has an equal part of every batch and a copy of all parameters, and every process computes the same update,
since the numbers that go into it are merged before. Derivation, and what equals what: docs/parallel.md.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minigan.backend import Device
from minigan.typing import Array, Shape


@dataclass(frozen=True, eq=False)
class Team:
    """A team of one, where nothing has to be merged; `parallel.mpi` has the others.

    rank of size processes; place: the number of this one among the `neighbours` on its machine.
    """

    rank: int = 0
    size: int = 1
    place: int = 0
    neighbours: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def on(self, device: Device) -> "Team":
        """The same team, for arrays of a device."""
        return self

    def average(self, vector: Array) -> None:
        """Replace a vector by the mean of those of all processes; all call this at the same time."""

    def gather(self, array: Array) -> Array:
        """The arrays of all processes, which have one shape, stacked: (size, ...); all call this at the same time."""
        return array[None]

    def largest(self, number: int) -> int:
        """The largest of the numbers of all processes; all call this at the same time."""
        return number

    def part(self, batch: np.ndarray) -> np.ndarray:
        """This process's rows of what belongs to the samples of a whole batch."""
        if self.size == 1:
            return batch
        rows = len(batch) // self.size
        return batch[self.rank * rows : (self.rank + 1) * rows]

    def draws(self, rng: np.random.Generator, rows: int) -> Any:
        """`rng` for this process, whose part of a batch has so many rows."""
        return rng if self.size == 1 else PartOfDraws(rng, self, rows)


ALONE = Team()


@dataclass(frozen=True)
class PartOfDraws:
    """Stands where a generator does: draws for all samples of a batch, and gives out those of one process.

    A sample then gets the numbers that it would get in a single process. Of a generator's methods it has the one that
    layers use.
    """

    rng: np.random.Generator
    team: Team
    rows: int  # of this process's part

    def random(self, size: Shape, dtype: Any = np.float64) -> np.ndarray:
        """U[0, 1) of shape `size` for this process's rows; twice as many if real and generated samples are joined."""
        batches, rest = divmod(size[0], self.rows)
        if rest:
            raise ValueError(f"{size[0]} samples are no multiple of this process's {self.rows}")
        whole = self.rng.random((batches, self.team.size, self.rows, *size[1:]), dtype=dtype)
        return whole[:, self.team.rank].reshape(size)
