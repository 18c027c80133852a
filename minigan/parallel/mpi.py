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

# Where launchers tell a process its rank, how many there are, and its number among those on its machine.
PLACES = (
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),  # MPICH, Intel MPI; Slurm for them
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),  # Open MPI
    ("PMIX_RANK", "", ""),
)
INSTALL_HINT = "pip install '.[mpi]', and start it with the mpiexec of the same environment"
PATIENCE = 2.0  # seconds to find out whether an error is one of all processes


class Launch(NamedTuple):
    rank: int
    size: int | None  # None: the launcher does not tell
    place: int  # on this machine; the rank if the launcher does not tell


def launched() -> Launch | None:
    """What mpiexec has told this process; None if it was started without."""
    for names in PLACES:
        rank, size, place = (int(text) if (text := os.environ.get(name, "")).isdecimal() else None for name in names)
        if rank is not None:
            return Launch(rank, size, rank if place is None else place)
    return None


@contextmanager
def joined() -> Iterator[Team]:
    """The team of this process: ALONE, or that of the processes which mpiexec has started.

    Only the first one's output is seen. An error in all of them is shown once, an error in some ends them all.
    """
    launch = launched()
    if launch is None or launch.size == 1:
        yield ALONE
        return
    team = None
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.ExitStack() as silence:
        if launch.rank:
            silence.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            team = _team(launch)
            yield team
        except (Exception, KeyboardInterrupt) as err:
            if isinstance(team, MPITeam):
                _fail(team, 130 if isinstance(err, KeyboardInterrupt) else getattr(err, "exit_code", 1))
            elif launch.place:  # not even joined, as all on this machine: the first of them says why
                _hush()
            raise


def _fail(team: "MPITeam", code: int) -> None:
    """Be silent if all processes fail and this is not the first; else, once the error has been shown, end them all.

    Closing MPI waits for all processes, and the others may be waiting for this one. So unless they fail too, it leaves
    without, and mpiexec ends them.
    """
    all_fail, deadline = team.failures.Ibarrier(), time.monotonic() + PATIENCE

    def together() -> bool:
        while not all_fail.Test():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def leave() -> None:
        if not together():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    if not team.leads and together():
        _hush()
    atexit.register(leave)


def _hush() -> None:
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  to the end of the process


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
    return MPITeam(world.rank, world.size, here.rank, here.size, mpi, world, world.Dup())


@dataclass(frozen=True, eq=False)
class MPITeam(Team):
    """Processes whose arrays are NumPy's, merged by MPI."""

    mpi: Any = None  # the module mpi4py.MPI
    world: Any = None  # the communicator of all processes
    failures: Any = None  # another one, where only those meet that have failed

    def on(self, device: Device) -> Team:
        if device.xp is np:
            return self
        return NCCLTeam(**vars(self), nccl=backend.nccl(self.size, self.rank))

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
