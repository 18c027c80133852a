"""numba's compiler, with a cache on disk that may be damaged: by a power cut, for instance."""

import contextlib
from collections.abc import Callable
from typing import Any

from numba import njit


def jit(**options: Any) -> Callable[[Callable], Any]:
    """Compile a function without Python's lock, and keep what is compiled; see `numba.njit` for the options."""

    def compiled(function: Callable) -> Any:
        loop = njit(nogil=True, cache=True, **options)(function)
        if cache := getattr(loop, "_cache", None):  # none with NUMBA_DISABLE_JIT
            _forgive(cache)
        return loop

    return compiled


def _forgive(cache: Any) -> None:
    """Let the cache forget what it cannot load, so that it is compiled again; damaged bytes raise any kind of error."""
    load = cache.load_overload

    def load_or_forget(*signature: Any) -> Any:
        try:
            return load(*signature)
        except Exception:
            with contextlib.suppress(OSError):  # where it may not be written, it is compiled each time
                cache.flush()
            return None

    cache.load_overload = load_or_forget
