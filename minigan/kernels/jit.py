"""numba's compiler, with a cache on disk that may be damaged: by a power cut, for instance."""

import contextlib
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit


def jit(**options: Any) -> Callable[[Callable], Any]:
    """Compile a function without Python's lock, and keep what is compiled; see `numba.njit` for the options."""

    def compiled(function: Callable) -> Any:
        loop = njit(nogil=True, cache=True, **options)(function)
        if kept := getattr(loop, "_cache", None):  # none with NUMBA_DISABLE_JIT
            _forgive(kept)
            _stamp(kept)
        return loop

    return compiled


def _forgive(kept: Any) -> None:
    """Let the cache forget what it cannot load, so that it is compiled again; damaged bytes raise any kind of error."""
    load = kept.load_overload

    def load_or_forget(*signature: Any) -> Any:
        try:
            return load(*signature)
        except Exception:
            with contextlib.suppress(OSError):  # where it may not be written, it is compiled each time
                kept.flush()
            return None

    kept.load_overload = load_or_forget


def _stamp(kept: Any) -> None:
    """Let the cache forget also what was compiled with another version of any file here: numba looks at a function's
    own file only, and not at those of the functions that it calls.
    """
    if (files := getattr(kept, "_cache_file", None)) is not None:
        files._source_stamp = (files._source_stamp, _sources())


@cache
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
