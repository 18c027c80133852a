"""The inner loops: compiled ones where numba is installed (the extra ``[fast]``), else those in NumPy."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def choose() -> ModuleType:
    """`compiled`, or `blocks` where there is no numba, or none for this NumPy, or no folder for what it compiles."""
    if find_spec("numba") is not None:
        try:
            return import_module("minigan.kernels.compiled")
        except (ImportError, RuntimeError, OSError):
            pass
    return import_module("minigan.kernels.blocks")


loops = choose()
COMPILED = loops.__name__.endswith("compiled")
