"""``python -m minigan.info``: versions, linear algebra, threads and devices, for yourself or for a bug report."""

import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minigan import __version__, cli
from minigan.processor import WIDE, cpuinfo

if TYPE_CHECKING:
    from minigan.backend import Device

LIBRARIES = ("numpy", "scipy", "matplotlib", "pillow", "safetensors", "cupy-cuda12x", "cupy-cuda13x", "numba")
# OpenBLAS's names for kernels without AVX-512.
NARROW_KERNELS = ("Haswell", "Zen", "Sandybridge", "Nehalem")


@dataclass(frozen=True)
class Options:
    debug: bool = False
    """show the traceback of an error"""


def main(argv: list[str]) -> int:
    cli.parse(Options, argv, prog="python -m minigan.info", description="Show versions, BLAS, threads and devices.")
    print(f"minigan {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"libraries: {', '.join(f'{name} {version}' for name, version in installed())}")
    print(f"processor: {os.cpu_count()} cores, {platform.machine()}")
    for line in blas_lines() + numba_lines() + gpu_lines():
        print(line)
    return 0


def installed() -> list[tuple[str, str]]:
    """(name, version) of the libraries that are there."""
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def blas_lines() -> list[str]:
    """The linear algebra library, and a hint where its kernels are narrower than the processor."""
    from minigan.runs.blas import blas_libraries

    lines = []
    for blas in blas_libraries():
        kernels = blas.get("architecture", "unknown")
        lines.append(
            f"BLAS: {blas['internal_api']} {blas['version']}, {kernels} kernels, {blas['num_threads']} threads"
        )
        if kernels in NARROW_KERNELS and WIDE in cpuinfo()[1]:
            lines.append(
                f"  the processor has {WIDE}, which {kernels} kernels do not use: OPENBLAS_CORETYPE=SkylakeX in the "
                f"environment (now: {os.environ.get('OPENBLAS_CORETYPE', 'not set')}) may be twice as fast"
            )
    return lines or ["BLAS: none found by threadpoolctl"]


def numba_lines() -> list[str]:
    """Why a numba that is installed does not compile the inner loops."""
    from minigan import ops

    why = ops.why_not_compiled()
    return [f"numba: cannot be used, so that training is slower: {why}"] if why else []


def gpu_lines() -> list[str]:
    """The GPU that --device auto would take, or why there is none."""
    from minigan.backend import GPUUnavailable, gpu_name, select_device

    try:
        device = select_device("gpu")
    except GPUUnavailable as err:
        return [f"GPU: none; {str(err).removeprefix('no GPU: ')}", "--device auto takes: cpu"]
    return [
        f"GPU: {gpu_name(device)}, CuPy {device.xp.__version__}",
        cublas_line(device),
        f"--device auto takes: {device.name}",
    ]


def cublas_line(gpu: "Device") -> str:
    """Where the products of the fused kernels are computed, or why they cannot be."""
    from minigan.backend import GPUUnavailable
    from minigan.runs.blas import cublas_library

    try:
        return "cuBLAS: {}, {}".format(*cublas_library(gpu))
    except GPUUnavailable as err:
        return f"cuBLAS: none; {str(err).removeprefix('no cuBLAS ')}; --kernels plain does without"


if __name__ == "__main__":
    sys.exit(cli.run(main))
