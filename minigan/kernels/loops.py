"""The inner loops: compiled ones where numba is installed (the extra ``[fast]``), else those in NumPy."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def choose() -> tuple[ModuleType, str]:
    """(`compiled`, ""), or `blocks` where there is no numba; with the reason where there is one that cannot be used.

    It has none for each NumPy, wants a folder for what it compiles, and does not take any setting in the environment.
    """
    refused = ""
    if find_spec("numba") is not None:
        try:
            return import_module("minigan.kernels.compiled"), refused
        except Exception as err:
            refused = " ".join(str(err).split()) or type(err).__name__
    return import_module("minigan.kernels.blocks"), refused


loops, REFUSED = choose()
COMPILED = loops.__name__.endswith("compiled")
