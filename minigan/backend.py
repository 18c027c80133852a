"""Which array module an array belongs to, which device to use, and how arrays move.

The layers are written once against ``xp``, which is NumPy or CuPy according to the array.
This is the only file that imports CuPy, and it does so only when a GPU is asked for.
"""

import importlib
import re
import sys
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from minigan.errors import UsageError, UserError
from minigan.typing import Array, Shape

INSTALL_HINT = (
    "install CuPy with CUDA's libraries: pip install 'cupy-cuda12x[ctk]' (driver for CUDA 12) "
    "or pip install 'cupy-cuda13x[ctk]' (CUDA 13)"
)

NCCL_HINT = "install it with: pip install nvidia-nccl-cu12 (CUDA 12) or pip install nvidia-nccl-cu13 (CUDA 13)"


class GPUUnavailable(UserError):
    """No usable GPU. `__cause__` is the error that CuPy or the driver gave, where there was one."""


def array_module(first: Array, *others: Array) -> ModuleType:
    """Return the module (numpy or cupy) that all the arrays belong to.

    Raises TypeError for anything that is no array, and where NumPy and CuPy arrays are mixed:
    both are mistakes that would otherwise show up far away, or as a slow silent copy.
    """
    arrays = (first, *others)
    modules = {_module_of(array) for array in arrays}
    if len(modules) > 1:
        raise TypeError(f"arrays of different devices: {', '.join(sorted(map(_type_name, arrays)))}")
    return modules.pop()


def expect_shape(name: str, array: Array, shape: Shape) -> None:
    """Raises ValueError unless `array`, which people know by that name, has this shape.

    NumPy asks by itself. Compiled loops and a GPU's kernels read and write where they are told.
    """
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {array.shape}")


def _module_of(array: Array) -> ModuleType:
    if isinstance(array, np.ndarray | np.generic):
        return np
    cupy = sys.modules.get("cupy")  # a CuPy array can only exist once somebody has imported CuPy
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    raise TypeError(f"expected a NumPy or CuPy array, got {_type_name(array)}")


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__name__}"


@dataclass(frozen=True)
class Device:
    """Where arrays live and which module computes on them."""

    name: str  # "cpu" or "gpu:<index>"
    xp: Any  # numpy or cupy

    def put(self, array: np.ndarray) -> Array:
        """Move a host array here (on the CPU: the array itself, not a copy)."""
        return self.xp.asarray(array)

    def synchronize(self) -> None:
        """Wait until everything launched so far has finished; nothing to wait for on the CPU."""
        if self.xp is not np:
            self.xp.cuda.get_current_stream().synchronize()


CPU = Device("cpu", np)


def put_like(host: np.ndarray, like: Array) -> Array:
    """Move a host array to where `like` lives (random numbers are drawn on the host)."""
    xp = array_module(like)
    return xp.asarray(host)


def to_host(array: Array) -> np.ndarray:
    """Return a NumPy array; from a GPU this waits for it, so never inside a training step."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    array_module(array)  # a clear TypeError for anything else
    return array.get()


def select_device(name: str = "auto") -> Device:
    """Turn ``auto``, ``cpu``, ``gpu`` or ``gpu:1`` into a Device.

    ``auto`` takes the first GPU if there is a usable one, else the CPU. ``gpu`` never falls back.
    Raises UsageError for another name and GPUUnavailable (with cause and remedy) without a GPU.
    """
    if name == "cpu":
        return CPU
    if name == "auto":
        try:
            return _gpu(0)
        except GPUUnavailable:
            return CPU
    kind, _, index = name.partition(":")
    if kind == "gpu" and (re.fullmatch("[0-9]{1,6}", index) or name == "gpu"):
        return _gpu(int(index or 0))
    raise UsageError(f"unknown device {name!r}: choose auto, cpu, gpu or gpu:N (N = 0, 1, ...)")


def _gpu(index: int) -> Device:
    """A GPU counts as usable when CuPy imports and sees it, and a kernel and a product work there.

    CuPy itself needs no more than a driver: its compiler (NVRTC) and cuBLAS are looked for when they are first used.
    """
    try:
        cupy = importlib.import_module("cupy")
    except Exception as err:  # ImportError, or ValueError where CuPy was built for another NumPy
        raise GPUUnavailable(f"no GPU: CuPy is not usable ({_first_line(err)}); {INSTALL_HINT}") from err
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as err:  # CuPy raises its own CUDARuntimeError, or OSError for a missing library
        raise GPUUnavailable(
            f"no GPU: CuPy {cupy.__version__} is installed but the driver gave: {_first_line(err)}; "
            "check that nvidia-smi lists a GPU and that its driver fits this CuPy"
        ) from err
    if index >= count:
        raise GPUUnavailable(f"no GPU number {index}: this machine has {count}")
    try:
        cupy.cuda.Device(index).use()
        ones = cupy.ones((2, 2), dtype=np.float32)  # of 1 x 1, CuPy would make a product without cuBLAS
        (ones @ ones).get()  # errors of the GPU show when somebody waits
    except Exception as err:  # of CUDA, or of the search for its libraries
        why = _first_line(err)
        hint = f"; {INSTALL_HINT}" if ".so" in why or ".dll" in why else ""
        raise GPUUnavailable(f"no GPU: computing on gpu:{index} failed: {why}{hint}") from err
    return Device(f"gpu:{index}", cupy)


def gpu_name(gpu: Device) -> str:
    """What kind of GPU it is, as its driver tells."""
    runtime = gpu.xp.cuda.runtime
    name: bytes = runtime.getDeviceProperties(runtime.getDevice())["name"]
    return name.decode()


def gpu_in_use() -> bool:
    """Whether somebody has selected a GPU: only then can there be arrays on one."""
    return "cupy" in sys.modules


def nccl(size: int, rank: int) -> Any:
    """CuPy's communicator of `size` processes, for the selected GPU of this one; all processes call this at once.

    They find each other through mpi4py. Raises GPUUnavailable if CuPy finds no NCCL.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy's own words about a missing library
        distributed = importlib.import_module("cupyx.distributed")
    if not importlib.import_module("cupy.cuda").nccl.available:
        raise GPUUnavailable(f"CuPy finds no NCCL, through which GPUs of several processes meet; {NCCL_HINT}")
    return distributed.NCCLBackend(size, rank, use_mpi=True)


def _first_line(err: BaseException) -> str:
    lines = [line.strip() for line in str(err).splitlines() if line.strip(" =")]
    return lines[0] if lines else type(err).__name__
