"""Keeps the memory of freed arrays for the next ones, where the C library is glibc.

By itself it asks the system for each large array and gives it back when the array is freed. A round frees what the next
one needs again, and the system clears every page before it hands it out: up to a twentieth of a round.
"""

import ctypes
import os

# malloc.h: how many free bytes there may be before they are given back; how many arrays may have pages of their own
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEEP = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1}
USUAL = {M_MMAP_MAX: 1 << 16, M_TRIM_THRESHOLD: 1 << 17}  # glibc's own
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


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it has what is needed."""
    library = ctypes.CDLL(None) if os.name == "posix" else None
    return library if hasattr(library, "malloc_trim") else None
