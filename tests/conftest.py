"""Shared set-up: how hypothesis runs, and the devices that a test can ask for."""

import gc
import os
from collections.abc import Iterator

# Two processes run the tests (setup.cfg). Threads of both that wait for each other by spinning would take several times
# as long; set before NumPy is loaded, which reads it then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Else every process that a test starts would compile all modules, and every run all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import HealthCheck, settings

from minigan.backend import CPU, Device, GPUUnavailable, select_device
from minigan.kernels import loops, memory
from tests.strict_kernels import compiler

# No deadlines: the machine may be busy. The same examples in each run, so that a red run can be repeated.
settings.register_profile(
    "minigan", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("minigan")

# Freed memory stays with the process from here on, not only in fast kernels: to clear it again for each array was a
# tenth of all work. What fast kernels do about it is seen in processes of their own.
memory.keep_freed(True)
# Only a power cut shows whether a file has reached the disk: tests would wait for it thousands of times, for nothing.
# That it is asked for, and in which order, is tested all the same; commands in processes of their own do wait.
os.fsync = os.fstat  # which refuses what is no open file, too

if loops.COMPILED:
    # The shortest rows alone have loops of their own in the tests, and of the tiles none but in a test for it. So there
    # are fewer loops, for each of which numba takes up to a second. What commands run in other processes is as it is.
    from minigan.kernels import compiled

    assert (compiled.LANES, compiled.UNROLLED) == (16, 64)
    compiled.LANES, compiled.UNROLLED = 1, 9


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Loops are compiled by the tests of tests/kernels, before the other process comes to its own that need them. What
    carries `emulated` is skipped without g++, but for tests that a real GPU is for."""
    items.sort(key=lambda item: item.path.parent.name != "kernels")
    if compiler() is not None:
        return
    for item in items:
        if item.get_closest_marker("emulated") and not item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no g++, which stands in for the compiler of CUDA sources"))


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end: the garbage collector need not look through them, again and again."""
    gc.freeze()


@pytest.fixture(scope="session")  # not a test's own: hypothesis refuses that, as it stays the same for all examples
def gpu() -> Device:
    """A real GPU; tests that use it carry the marker `gpu` and are skipped without one."""
    try:
        return select_device("gpu")
    except GPUUnavailable as err:
        pytest.skip(str(err))


@pytest.fixture
def strict() -> Iterator[Device]:
    """The strict stand-in for CuPy: computes with NumPy, refuses whatever a GPU would refuse or wait for."""
    from tests import strict_cupy

    with strict_cupy.installed() as device:
        yield device


@pytest.fixture(params=["cpu", "strict", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Device:
    """Each device in turn: NumPy, the strict stand-in for CuPy, a real GPU where there is one."""
    return CPU if request.param == "cpu" else request.getfixturevalue(request.param)
