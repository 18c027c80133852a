"""Compiling and launching the kernels of the ``.cu`` files beside this one.

CuPy compiles a file when one of its kernels is first asked for, and keeps the result in the user's cache folder.
Kernels take arrays whose numbers lie side by side; whatever changes from step to step is an array too, never a
number in the launch, so that a recorded launch can be repeated.
"""

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minigan.backend import array_module
from minigan.typing import Shape

FOLDER = Path(__file__).parent
REALS = {"float32": "float", "float64": "double"}  # what the kernels compute in, as NumPy and C call it
THREADS = 256  # in a block that goes over numbers
BLOCKS = 1024  # at most: enough to fill a GPU, each thread then does several numbers
UNASKED = 48 << 10  # bytes of shared memory that a kernel may have without asking for more
# What a file needs before it, besides what all have.
BEFORE = {
    "conditioning": ("over_block",),
    "dense": ("over_block",),
    "dropout": ("pcg64", "maxout"),
    "implicit_gemm": ("tensor_cores", "tiles"),
    "losses": ("over_block",),
}


def source(file: str) -> str:
    """The text of a file of kernels, as the compiler gets it."""
    names = ("common", *BEFORE.get(file, ()), file)
    return "\n".join((FOLDER / f"{name}.cu").read_text(encoding="utf-8") for name in names)


def options(real: str) -> tuple[str, ...]:
    """What the compiler is told besides; `real` as in C."""
    return "-std=c++17", f"-DREAL={real}"


@cache
def _kernel(xp: ModuleType, file: str, name: str, dtype: str, shared: int) -> Any:
    function = _module(xp, file, dtype).get_function(name)
    if shared > UNASKED:
        function.max_dynamic_shared_size_bytes = shared
    return function


@cache
def _module(xp: ModuleType, file: str, dtype: str) -> Any:
    if dtype not in REALS:
        raise TypeError(f"fast kernels compute in {' and '.join(REALS)}, not in {dtype}; --kernels plain takes others")
    return xp.RawModule(code=source(file), options=options(REALS[dtype]))


def launch(file: str, kernel: str, grid: Shape, block: Shape, *arguments: Any, real: str = "", shared: int = 0) -> None:
    """Launch the kernel of that file, in the precision `real`, or that of the first argument, an array.

    shared: bytes of shared memory besides what the kernel declares.
    """
    first = arguments[0]
    function = _kernel(array_module(first), file, kernel, real or first.dtype.name, shared)
    function(grid, block, arguments, shared_mem=shared)


def launch_each(file: str, kernel: str, *arguments: Any, n: int, real: str = "") -> None:
    """Launch a kernel that does the numbers 0 ... n - 1 in any order; n is its last argument. `real`: see `launch`."""
    if n:
        launch(file, kernel, (min(-(-n // THREADS), BLOCKS),), (THREADS,), *arguments, np.int64(n), real=real)


def launch_lines(file: str, kernel: str, *arguments: Any, lines: int, width: int, groups: int) -> None:
    """Launch a kernel that does lines of so many numbers in any order: a row of threads each, as wide as is useful."""
    if lines * width:
        across = min(THREADS, 1 << (width - 1).bit_length())
        down = THREADS // across
        launch(file, kernel, (min(-(-lines // down), BLOCKS), 1, groups), (across, down), *arguments)
