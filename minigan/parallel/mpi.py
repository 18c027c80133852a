"""Teams of processes that mpiexec has started: they meet through MPI, their GPUs through NCCL.

This is the only file that imports mpi4py, and it does so only in a process that mpiexec has started with others.
"""

import atexit
import contextlib
import importlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minigan import backend
from minigan.backend import Device
from minigan.errors import UserError
from minigan.parallel.team import ALONE, Team
from minigan.typing import Array

# Where launchers tell a process its rank and how many there are: MPICH, Intel MPI and Slurm's PMI; Open MPI; PMIx.
PLACES = (("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMIX_RANK", ""))
INSTALL_HINT = "pip install 'minigan[mpi]', and start it with the mpiexec of the same environment"
PATIENCE = 2.0  # seconds that the first process has to say what is wrong in all of them


class Launch(NamedTuple):
    rank: int
    size: int | None  # None: the launcher does not tell


def launched() -> Launch | None:
    """What mpiexec has told this process; None if it was started without."""
    for rank, size in PLACES:
        if rank in os.environ:
            return Launch(int(os.environ[rank]), int(os.environ[size]) if size in os.environ else None)
    return None


@contextmanager
def joined() -> Iterator[Team]:
    """The team of this process: ALONE, or that of the processes which mpiexec has started.

    Only the first one's output is seen, and an error in any of them ends them all.
    """
    launch = launched()
    if launch is None or launch.size == 1:
        yield ALONE
        return
    with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as silence:
        if launch.rank:
            silence.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            yield _team(launch)
        except Exception as err:
            _end_all(launch.rank, getattr(err, "exit_code", 1))
            raise
        except KeyboardInterrupt:
            _end_all(launch.rank, 130)
            raise


def _end_all(rank: int, code: int) -> None:
    """Leave as soon as the error has been shown, which makes mpiexec end the others.

    What is wrong in all processes is said by the first; another one speaks only if the first has nothing to say.
    MPI is not closed as usual, since that would wait for processes which may be waiting for this one.
    """
    time.sleep(PATIENCE if rank else 0)

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)


def _team(launch: Launch) -> Team:
    """Raises UserError without mpi4py, without an MPI, or if that is not the MPI of mpiexec."""
    try:
        mpi: Any = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as err:  # RuntimeError: mpi4py without an MPI
        reason = " ".join(str(err).split())
        raise UserError(f"mpiexec needs mpi4py, which is not usable ({reason}): {INSTALL_HINT}") from err
    world = mpi.COMM_WORLD
    if launch.size is not None and world.size != launch.size:
        library = mpi.Get_library_version().split("\n")[0].strip("\0")
        raise UserError(
            f"mpiexec has started {launch.size} processes, of which mpi4py sees {world.size}: it is not the mpiexec "
            f"of mpi4py's MPI ({' '.join(library.split())}); {INSTALL_HINT}"
        )
    if world.size == 1:
        return ALONE
    here = world.Split_type(mpi.COMM_TYPE_SHARED)
    return MPITeam(world.rank, world.size, here.rank, here.size, mpi, world)


@dataclass(frozen=True, eq=False)
class MPITeam(Team):
    """Processes whose arrays are NumPy's, merged by MPI."""

    mpi: Any = None  # the module mpi4py.MPI
    world: Any = None  # the communicator of all processes

    def on(self, device: Device) -> Team:
        if device.xp is np:
            return self
        nccl = backend.nccl(self.size, self.rank)
        return NCCLTeam(self.rank, self.size, self.place, self.neighbours, self.mpi, self.world, nccl)

    def average(self, vector: Array) -> None:
        self.world.Allreduce(self.mpi.IN_PLACE, vector)
        vector /= self.size

    def gather(self, array: Array) -> Array:
        stacked = np.empty((self.size, *array.shape), array.dtype)
        self.world.Allgather(np.ascontiguousarray(array), stacked)
        return stacked

    def largest(self, number: int) -> int:
        return int(self.world.allreduce(number, self.mpi.MAX))


@dataclass(frozen=True, eq=False)
class NCCLTeam(MPITeam):
    """Processes with a GPU each: arrays of CuPy are merged by NCCL, numbers on the host by MPI."""

    nccl: Any = None  # cupyx.distributed.NCCLBackend

    def average(self, vector: Array) -> None:
        self.nccl.all_reduce(vector, vector)
        vector /= self.size

    def gather(self, array: Array) -> Array:
        if isinstance(array, np.ndarray):
            return super().gather(array)
        stacked = backend.array_module(array).empty((self.size, *array.shape), array.dtype)
        self.nccl.all_gather(array, stacked, array.size)
        return stacked
