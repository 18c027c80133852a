"""Linear algebra library, kernels and threads: results depend on them bit for bit, and speed does too."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_int
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minigan import ops
from minigan.backend import CPU, Device, GPUUnavailable, gpu_name
from minigan.cuda import cublas
from minigan.errors import UserError
from minigan.processor import processors

SMALL_ROUND = 1e9  # multiply-adds a round below which more threads than FEW win nothing
FEW = 2
SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def compute(kernels: str, asked: int | None, round_macs: float, processes: int = 1) -> Iterator[None]:
    """Compute with plain or fast kernels, on the threads that were asked for, else on as many as are of use.

    `processes` that train together on this machine have an equal share of its threads each. A setting in the
    environment is left alone. Raises UserError if the library multiplies wrongly.
    """
    check_products()
    threads = asked
    if asked is None and not any(name in os.environ for name in SETTINGS):
        threads = useful_threads(max(1, _threads() // processes), kernels, round_macs)
    with ops.thread_pools().limit(limits=threads, user_api="blas"):
        if kernels == "plain":
            yield
            return
        with ops.fast_kernels(_threads() if blas_libraries() else threads or 1):
            yield


def useful_threads(there: int, kernels: str, round_macs: float) -> int:
    """Of those that are there: all of them for a large system, few for a small one, whose products are small.

    Few are two with compiled loops. Without them it is one: to wake another for each small product takes longer than
    it saves, and so do the library's own threads on a busy machine, which spin.
    """
    if round_macs >= SMALL_ROUND:
        return there
    return min(there, FEW if kernels == "fast" and ops.can_compile() else 1)


def _threads() -> int:
    """Of the linear algebra library, now; of one that does not tell, such as Accelerate, all processors."""
    return max((int(info["num_threads"]) for info in blas_libraries()), default=processors())


@cache  # of one process the kernels do not change
def check_products() -> None:
    """Compare products of the linear algebra library with sums that it has no part in.

    The command may have chosen kernels for it (`minigan.processor`) that are made for another processor. Small and
    large products, turned factors and single columns have kernels of their own. Raises UserError if one is wrong.
    """
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for rows, inner, columns in ((67, 131, 67), (260, 150, 260), (131, 260, 1)):
            a, b = rng.standard_normal((rows, inner)).astype(dtype), rng.standard_normal((inner, columns)).astype(dtype)
            sums = np.stack([(row[:, np.newaxis] * b).sum(axis=0) for row in a])
            for left, right in ((a, b), (a.T.copy().T, b), (a, b.T.copy().T)):
                error = float(abs(np.matmul(left, right) - sums).max())
                if not error <= 1000 * np.finfo(dtype).eps:  # sums of few hundred products near 1; also for NaN
                    raise UserError(_wrong(error))


def _wrong(error: float) -> str:
    used = {info["internal_api"]: str(info.get("architecture", "unknown")) for info in blas_libraries()}
    advice = "choose others, such as OPENBLAS_CORETYPE=Haswell in the environment"
    return (
        f"the linear algebra library ({', '.join(f'{name}, {kernels} kernels' for name, kernels in used.items())}) "
        f"multiplies wrongly on this processor, off by {error:.1g}: "
        f"{advice if 'openblas' in used else 'install another one'}"
    )


def blas_libraries() -> list[dict[str, Any]]:
    """What threadpoolctl tells about NumPy's BLAS (library, version, kernels, threads).

    Others may be loaded too, such as SciPy's own, or not yet; they take no part in training.
    """
    found = [info for info in ops.thread_pools().info() if info["user_api"] == "blas"]
    brought = [info for info in found if {"numpy", "numpy.libs"} & set(Path(info["filepath"]).parts)]
    return brought or found


def blas_facts(device: Device = CPU) -> str:
    """Libraries, kernels and threads of the CPU, or what computes on a GPU: what has to be equal for equal bits."""
    if device.xp is not np:
        return gpu_facts(device)
    parts = [
        f"{info['internal_api']} {info['version']} {info.get('architecture', '')} x{info['num_threads']}"
        for info in blas_libraries()
    ]
    parts = sorted(parts) or [f"unknown BLAS of {platform.platform()}"]
    return f"NumPy {np.__version__} on {platform.machine()}, {', '.join(parts)}, {ops.kernels_in_use()}"


def gpu_facts(gpu: Device) -> str:
    """The same of a GPU, which leaves to the host to draw the random numbers."""
    try:
        version, _ = cublas_library(gpu)
    except GPUUnavailable:  # plain kernels leave the products to CuPy
        version = "unknown"
    tf32 = "on" if cublas.in_tf32() else "off"
    return (
        f"CuPy {gpu.xp.__version__} on {gpu_name(gpu)}, cuBLAS {version}, TF32 {tf32}, "
        f"{ops.kernels_in_use(gpu.xp)}, random numbers of NumPy {np.__version__}"
    )


def cublas_library(gpu: Device) -> tuple[str, str]:
    """Version and path of the cuBLAS that the fused kernels' products go to. Raises GPUUnavailable if there is none."""
    library = cublas.load(gpu.xp)
    version = []
    for part in range(3):  # libraryPropertyType: MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL
        number = c_int()
        library.cublasGetProperty(part, byref(number))
        version.append(str(number.value))
    return ".".join(version), library._name
