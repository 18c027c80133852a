"""Keeps the memory of freed arrays for the next ones, where the C library is glibc.

By itself it gives much of it back to the system. A round frees what the next one needs again, and the system clears
every page before it hands it out. Arrays above `LARGE` still go back: kept memory has gaps, and such an array seldom
fits into one.
"""

import ctypes
import os
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE = 32 << 20  # the highest M_MMAP_THRESHOLD that all versions take
KEEP = {M_MMAP_THRESHOLD: LARGE, M_TRIM_THRESHOLD: 2**31 - 1}
USUAL = {M_MMAP_THRESHOLD: 1 << 17, M_TRIM_THRESHOLD: 1 << 17}  # glibc's own
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")

_kept = False


def keep_freed(keep: bool) -> bool:
    """Keep freed memory from now on, or give it back, at once and from now on; returns what was done before.

    Does nothing with another C library, or where the environment has settings of the user's.
    """
    global _kept
    before = _kept
    if keep != before and (library := _glibc()) and not any(name in os.environ for name in SETTINGS):
        for parameter, value in (KEEP if keep else USUAL).items():
            library.mallopt(parameter, value)
        if not keep:
            library.malloc_trim(0)
        _kept = keep
    return before


@cache  # to make what calls the library takes longer than to call it
def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it has what is needed."""
    library = ctypes.CDLL(None) if os.name == "posix" else None
    return library if hasattr(library, "malloc_trim") else None
