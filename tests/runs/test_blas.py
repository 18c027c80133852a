"""How many threads the linear algebra library uses."""

import subprocess
import sys

import numpy as np
import pytest

from minigan import ops
from minigan.backend import GPUUnavailable
from minigan.cuda import cublas
from minigan.errors import UserError
from minigan.runs import blas
from minigan.runs.blas import SETTINGS, SMALL_ROUND, blas_facts, blas_libraries, compute, useful_threads


def threads() -> set[int]:
    return {blas["num_threads"] for blas in blas_libraries()}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    blas.check_products.cache_clear()


def test_a_small_system_gets_one_thread_of_the_library() -> None:
    with compute("plain", 2, 0):
        before = threads()
        with compute("plain", None, int(SMALL_ROUND) - 1):
            assert threads() == {1}
        assert threads() == before


@pytest.mark.parametrize(
    ("there", "kernels", "compiled", "used"),
    [(1, "fast", True, 1), (2, "fast", True, 2), (8, "fast", True, 2), (8, "fast", False, 1), (8, "plain", True, 1)],
)
def test_a_small_system_gets_two_workers_if_they_need_not_be_woken(
    there: int, kernels: str, compiled: bool, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops, "can_compile", lambda: compiled)
    assert useful_threads(there, kernels, int(SMALL_ROUND) - 1) == used
    assert useful_threads(there, kernels, int(SMALL_ROUND)) == there


def test_a_large_system_keeps_those_of_the_library() -> None:
    before = threads()
    with compute("plain", None, int(SMALL_ROUND)):
        assert threads() == before


def test_processes_of_one_machine_share_its_threads() -> None:
    with compute("plain", 2, 0):
        with compute("plain", None, int(SMALL_ROUND), processes=2):
            assert threads() == {1}
        with compute("plain", None, int(SMALL_ROUND), processes=5):
            assert threads() == {1}
        with compute("plain", 2, int(SMALL_ROUND), processes=2):
            assert threads() == {2}


def test_what_is_asked_for_is_given() -> None:
    with compute("plain", 1, int(1e12)):
        assert threads() == {1}
        assert "x1" in blas_facts()


def test_a_library_that_somebody_else_loads_changes_no_fact() -> None:
    """Otherwise a run that was scored, which loads SciPy's BLAS, could not be told from one of another machine."""
    script = (
        "from minigan.runs.blas import blas_facts; before = blas_facts()\n"
        "import scipy.linalg; assert blas_facts() == before, (before, blas_facts())"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_setting_in_the_environment_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    before = threads()
    with compute("plain", None, 0):
        assert threads() == before


def test_a_library_that_does_not_tell_its_threads_leaves_them_to_the_fast_kernels(monkeypatch) -> None:
    """Accelerate, which NumPy has on macOS."""
    monkeypatch.setattr("minigan.runs.blas.blas_libraries", list)
    monkeypatch.setattr("minigan.runs.blas.processors", lambda: 6)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for asked, processes, used in ((2, 1, 2), (None, 1, 6), (None, 2, 3)):
        with compute("fast", asked, SMALL_ROUND, processes):
            assert ops.kernels_in_use().endswith(f"x{used}")
            assert "unknown BLAS of " in blas_facts()


def test_fast_kernels_take_the_threads_and_leave_blas_one() -> None:
    with compute("plain", 2, int(1e12)):
        assert threads() == {2}
        assert "plain kernels" in blas_facts()
    with compute("fast", 2, int(1e12)):
        assert threads() == {1}
        assert "fast kernels" in blas_facts()
        assert blas_facts().endswith("x2")
    assert "plain kernels" in blas_facts()


def test_of_a_gpu_the_facts_are_its_own(strict, monkeypatch) -> None:
    for kernels, switch, told in [("fast", "0", "TF32 off, fused kernels"), ("plain", "1", "TF32 on, plain kernels")]:
        monkeypatch.setenv("CUPY_TF32", switch)
        with compute(kernels, 1, 0):
            assert blas_facts(strict) == (
                f"CuPy {strict.xp.__version__} on stand-in for a GPU, cuBLAS 13.1.0, {told}, "
                f"random numbers of NumPy {np.__version__}"
            )


def test_plain_kernels_of_a_gpu_do_without_our_own_cublas(strict, monkeypatch) -> None:
    def missing(_xp):
        raise GPUUnavailable("no cuBLAS")

    monkeypatch.setattr(cublas, "load", missing)
    assert "cuBLAS unknown" in blas_facts(strict)


def kinds(a: np.ndarray, b: np.ndarray) -> set[str]:
    """Of a product, by what a library may have kernels of its own for."""
    found = {"small"} if len(a) < 100 else {"large"} if len(a) > 200 else {"one column"}
    turned = {"left turned": a, "right turned": b}
    return found | {name for name, array in turned.items() if not array.flags.c_contiguous}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spoilt", ["small", "large", "one column", "left turned", "right turned"])
@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_products_that_are_wrong_stop_the_command(monkeypatch: pytest.MonkeyPatch, dtype, spoilt, wrong) -> None:
    """One number of one kind of products, in one precision, and not by much."""

    def product(a, b):
        c = a @ b
        if a.dtype == dtype and spoilt in kinds(a, b):
            c[3, 0] += wrong
        return c

    monkeypatch.setattr(blas.np, "matmul", product)
    with pytest.raises(UserError, match=r"multiplies wrongly .* off by .* OPENBLAS_CORETYPE"), compute("plain", 1, 0):
        pytest.fail("training has begun")


def test_right_products_are_accepted() -> None:
    blas.check_products()
