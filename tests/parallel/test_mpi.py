"""How a process finds its team: from what mpiexec leaves in the environment, and through mpi4py."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from minigan import backend
from minigan.backend import CPU, Device, GPUUnavailable
from minigan.errors import UserError
from minigan.parallel import mpi
from minigan.parallel.mpi import Launch, MPITeam, NCCLTeam, joined, launched
from minigan.parallel.team import ALONE


@pytest.fixture(autouse=True)
def started_by_hand(monkeypatch):
    """As if no launcher had started the tests."""
    for name in (name for names in mpi.PLACES for name in names if name):
        monkeypatch.delenv(name, raising=False)


def environment(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def fake_mpi(monkeypatch, size):
    """mpi4py whose world has so many processes."""
    here = SimpleNamespace(rank=0, size=size)
    world = SimpleNamespace(rank=0, size=size, Split_type=lambda _: here, Dup=lambda: None)
    library = "MPICH Version:      5.0.2\nMPICH Release date: 2025"
    module = SimpleNamespace(COMM_WORLD=world, COMM_TYPE_SHARED=1, Get_library_version=lambda: library)
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=module))
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", module)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "0"}, Launch(1, 4, 0)),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "3"}, Launch(3, 4, 3)),
        ({"PMIX_RANK": "2"}, Launch(2, None, 2)),
        ({"PMI_RANK": "", "PMIX_RANK": "2"}, Launch(2, None, 2)),
        ({"OMPI_COMM_WORLD_RANK": "x"}, None),
    ],
)
def test_what_launchers_tell(variables, expected, monkeypatch):
    environment(monkeypatch, **variables)
    assert launched() == expected


@pytest.mark.parametrize("variables", [{}, {"PMI_RANK": "0", "PMI_SIZE": "1"}])
def test_one_process_is_alone_and_needs_no_mpi4py(variables, monkeypatch):
    environment(monkeypatch, **variables)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with joined() as team:
        assert team is ALONE


@pytest.mark.parametrize("place", ["0", "1"])
def test_without_mpi4py_one_process_a_machine_says_what_to_install(place, monkeypatch, capsys):
    environment(monkeypatch, PMI_RANK="2", PMI_SIZE="4", MPI_LOCALRANKID=place)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    before = sys.stderr
    monkeypatch.setattr(sys, "stderr", before)  # so that it comes back
    with pytest.raises(UserError, match=r"needs mpi4py.*pip install '\.\[mpi\]'"), joined():
        pass
    print("a line", file=sys.stderr)
    assert capsys.readouterr().err == ("a line\n" if place == "0" else "")
    if sys.stderr is not before:
        sys.stderr.close()


def test_the_mpiexec_of_another_mpi_is_noticed(monkeypatch):
    """Each process would be alone in its world, and all would train into one folder."""
    environment(monkeypatch, OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="2")
    fake_mpi(monkeypatch, size=1)
    with pytest.raises(UserError, match=r"2 processes, of which mpi4py sees 1: .*\(MPICH Version: 5\.0\.2\)"), joined():
        pass


def test_a_launcher_that_does_not_tell_the_size_may_have_started_one(monkeypatch):
    environment(monkeypatch, PMIX_RANK="0")
    fake_mpi(monkeypatch, size=1)
    with joined() as team:
        assert team is ALONE


def test_only_the_first_process_is_heard(monkeypatch, capsys):
    for rank in "01":
        environment(monkeypatch, PMI_RANK=rank, PMI_SIZE="2")
        fake_mpi(monkeypatch, size=2)
        with joined() as team:
            assert isinstance(team, MPITeam)
            print(f"rank {rank}")
    assert capsys.readouterr().out == "rank 0\n"


def test_on_gpus_the_team_meets_through_nccl(strict, monkeypatch):
    team = MPITeam(1, 2, 0, 1, "mpi", "world", "failures")
    assert team.on(CPU) is team
    monkeypatch.setattr(backend, "nccl", lambda size, rank: ("nccl", size, rank))
    there = team.on(strict)
    assert isinstance(there, NCCLTeam)
    assert vars(there) == vars(team) | {"nccl": ("nccl", 2, 1)}
    assert ALONE.on(Device("gpu:0", strict.xp)) is ALONE


def test_cupy_is_asked_for_its_communicator(monkeypatch):
    cuda = SimpleNamespace(nccl=SimpleNamespace(available=True))
    made = SimpleNamespace(NCCLBackend=lambda size, rank, use_mpi: (size, rank, use_mpi))
    monkeypatch.setattr(backend.importlib, "import_module", {"cupy.cuda": cuda, "cupyx.distributed": made}.get)
    assert backend.nccl(4, 3) == (4, 3, True)
    cuda.nccl.available = False
    with pytest.raises(GPUUnavailable, match="pip install nvidia-nccl-cu12"):
        backend.nccl(4, 3)


def test_mpi_merges_arrays_of_numpy():
    """With what mpi4py is asked for, by a world of two that have the same."""

    def double(mark, vector):
        assert mark == "in place"
        vector *= 2

    world = SimpleNamespace(
        Allreduce=double,
        Allgather=lambda own, stacked: stacked.__setitem__(..., own),
        allreduce=lambda number, operation: operation(number, 7),
    )
    team = MPITeam(0, 2, 0, 2, SimpleNamespace(IN_PLACE="in place", MAX=max), world)
    vector = np.arange(3.0)
    team.average(vector)
    assert vector.tolist() == [0, 1, 2]
    assert team.gather(np.arange(6.0).reshape(2, 3).T).shape == (2, 3, 2)
    assert team.largest(3) == 7
