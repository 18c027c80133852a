"""Waiting for another thread without falling asleep, in a compiled loop that leaves Python's lock to others.

To wake a thread that sleeps is the system's work, and takes from a few microseconds to a hundred, the most in a virtual
machine whose processors sleep with it. A loop that reads a number until it changes sees the change at once. It takes a
processor from others meanwhile, so it is for short times only.
"""

import platform
import time
from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minigan.kernels.jit import jit

LONGEST_TURN = 2e-7  # seconds; what takes longer was a wait for Python's lock
ON_X86 = platform.machine() in ("x86_64", "AMD64")


@intrinsic
def _now(_typing, counter):  # type: ignore[no-untyped-def]
    """counter[0] as it is in memory: a compiler may read an ordinary number once for all turns of a loop."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, arguments[0])
        first = cgutils.get_item_pointer(context, builder, kind, array, [context.get_constant(types.intp, 0)])
        return builder.load_atomic(first, "acquire", 8)

    return types.int64(counter), generate


@intrinsic
def breathe(_typing):  # type: ignore[no-untyped-def]
    """Takes a moment; with PAUSE, in which the processor's other thread goes first and less power is used."""

    def generate(context, builder, *_):  # type: ignore[no-untyped-def]
        if ON_X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@jit()
def _watch(counter, seen, turns, more):  # type: ignore[no-untyped-def]
    for _ in range(turns):
        if _now(counter) != seen:
            for _ in range(more):
                breathe()
            return True
        breathe()
    return False


def watch(counter: np.ndarray, seen: int, patience: float, after: float) -> bool:
    """Wait until ``counter[0] != seen``, but no longer than `patience`, and `after` that time more; whether it did.

    Parameters: counter (1,) int64; both times in seconds, roughly.
    """
    turn = seconds_a_turn()
    return bool(_watch(counter, seen, int(patience / turn), int(after / turn)))


@cache
def seconds_a_turn() -> float:
    """How long a turn of the loop takes: PAUSE takes from ten cycles to a hundred and more."""
    counter, turns = np.zeros(1, np.int64), 2000

    def measured() -> float:
        start = time.perf_counter()
        _watch(counter, 0, turns, 0)
        return (time.perf_counter() - start) / turns

    _watch(counter, 0, 1, 0)  # compiles it, or loads it
    return min(LONGEST_TURN, *(measured() for _ in range(5)))
