"""The inner loops: compiled ones where numba is installed (the extra ``[fast]``), else those in NumPy."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

COMPILED = find_spec("numba") is not None

loops: ModuleType = import_module("minigan.kernels." + ("compiled" if COMPILED else "blocks"))
