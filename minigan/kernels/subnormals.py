"""Makes zero of numbers that are nearly zero, where the processor takes many times as long for them.

A *subnormal* number has a magnitude below the smallest normal one, 2^-126 = 1.2e-38 in float32, and fewer digits the
smaller it is (IEEE 754). The moments of a weight that gets no gradient end there: m <- beta m, for a beta above 1/2,
shrinks until rounding stops it, at a multiple of 1.4e-45 that never becomes zero. On some processors such an operation
takes many times as long (docs/performance.md has a measurement). Two bits in a thread's control register make zeros of
them instead: FTZ of results, DAZ of operands (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
section 10.2.3). In float32, code that CuPy compiles does so on a GPU.

Only on Linux with an x86-64 processor; elsewhere numbers stay as they are.
"""

import ctypes
import platform
import sys
from functools import cache

FLUSH_TO_ZERO, DENORMALS_ARE_ZERO = 1 << 15, 1 << 6
BITS = FLUSH_TO_ZERO | DENORMALS_ARE_ZERO
WORDS, CONTROL = 8, 7  # of the C library's fenv_t, 32 bits each; the last one is the register MXCSR


def flush_subnormals(flush: bool) -> bool:
    """Make zeros of subnormal numbers in this thread and those that it starts, or leave them; returns what was done.

    A thread has the settings of the one that started it (pthread_create(3)). Threads that are there already keep
    theirs: those of BLAS, which have nothing to do while fast kernels are in use.
    """
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        return False
    library = _c_library()
    environment = (ctypes.c_uint32 * WORDS)()
    library.fegetenv(environment)
    before = environment[CONTROL] & BITS == BITS
    if flush:
        environment[CONTROL] |= BITS
    else:
        environment[CONTROL] &= ~BITS
    library.fesetenv(environment)
    return before


@cache  # to make what calls it takes longer than to call it
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
