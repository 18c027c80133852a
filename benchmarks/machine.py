"""What a measurement was made on, and whether the machine was quiet."""

import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

from minigan import __version__
from minigan.backend import Device, GPUUnavailable, select_device
from minigan.errors import UsageError
from minigan.info import installed

QUIET = 0.5  # load average below which nothing else was running


def machine() -> dict[str, Any]:
    """Processor, system, versions, linear algebra and load average, for the JSON file."""
    from minigan.runs.blas import blas_libraries

    return {
        "processor": processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "minigan": __version__,
        "libraries": dict(installed()) | torch_version(),
        "blas": [
            {key: info.get(key, "unknown") for key in ("internal_api", "version", "architecture")}
            for info in blas_libraries()
        ],
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "not set"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def processor() -> str:
    """The processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wanted_gpu(name: str = "gpu") -> Device:
    """The device of this name, for commands that measure a GPU; without one UsageError, which is exit code 2."""
    try:
        return select_device("gpu" if name == "auto" else name)  # which would take the CPU instead
    except GPUUnavailable as err:
        raise UsageError(str(err)) from err


def torch_version() -> dict[str, str]:
    """PyTorch's version where it is installed."""
    try:
        return {"torch": importlib.metadata.version("torch")}
    except importlib.metadata.PackageNotFoundError:
        return {}


def described(facts: dict[str, Any]) -> str:
    """The facts in one line under a table."""
    blas = ", ".join(f"{info['internal_api']} {info['version']} {info['architecture']}" for info in facts["blas"])
    versions = ", ".join(
        f"{name} {facts['libraries'][name]}" for name in ("numpy", "numba", "torch") if name in facts["libraries"]
    )
    return (
        f"{facts['processor']}, {facts['cores']} cores; Python {facts['python']}, {versions}; {blas}; "
        f"load average at the start {facts['load_average']:.2f}"
    )


def warning(facts: dict[str, Any]) -> str:
    """Why these times should not be believed; empty if nothing is known against them."""
    if facts["load_average"] < QUIET:
        return ""
    return (
        f"Warning: the machine was not quiet (load average {facts['load_average']:.2f} at the start): other programs "
        "took part of it, and the times are void. Wait until it is below "
        f"{QUIET} and repeat."
    )


def largest() -> int:
    """Bytes of this process at its largest so far.

    Linux: VmHWM, which starts anew with a program; `ru_maxrss` starts with that of the process it was started from.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _largest_of(resource.RUSAGE_SELF)


def largest_started() -> int:
    """Bytes of the largest process that this one has started and seen to its end; of a smaller one its own."""
    return _largest_of(resource.RUSAGE_CHILDREN)


def _largest_of(whom: int) -> int:
    return resource.getrusage(whom).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
