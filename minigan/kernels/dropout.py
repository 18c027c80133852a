"""Dropout with masks drawn as whole numbers, and both directions in one pass; see `minigan.functional.dropout`."""

import math
import sys

import numpy as np

from minigan.functional import dropout as plain
from minigan.functional.dropout import DropoutCache
from minigan.kernels.loops import loops
from minigan.kernels.workers import share
from minigan.typing import Shape

SMALL = 1 << 17  # numbers below which a second worker gains nothing: waking it takes as long


def draw_keep(rng: np.random.Generator, shape: Shape, rate: float) -> np.ndarray:
    """See `minigan.functional.dropout.draw_keep`; the same numbers, before they are divided.

    `Generator.random` makes a float32 of the upper 24 bits of half a word, the lower half first: k / 2^24. It is at
    least the rate where k is at least 2^24 times the rate, in float32. An upper half that was left over comes before
    all words.
    """
    bits, count = rng.bit_generator, math.prod(shape)
    first = math.ceil(float(np.float32(rate)) * 2**24)  # k that is kept
    if not isinstance(bits, np.random.PCG64) or sys.byteorder != "little" or first == 2**24 or not count:
        return plain.draw_keep(rng, shape, rate)
    limit = np.uint32(first << 8)
    before = bits.state
    left = before["has_uint32"]
    halves = bits.random_raw((count - left + 1) // 2).view(np.uint32)
    keep = np.empty(count, np.bool_)
    keep[:left] = before["uinteger"] >= limit
    np.greater_equal(halves[: count - left], limit, out=keep[left:])
    odd = (count - left) % 2
    if left or odd:  # words alone do not change what is left over
        after = bits.state
        after["has_uint32"], after["uinteger"] = odd, int(halves[-1]) if odd else 0
        bits.state = after
    return keep.reshape(shape)


def dropout(x: np.ndarray, keep: np.ndarray, scale: float) -> tuple[np.ndarray, DropoutCache]:
    """See `minigan.functional.dropout.dropout`."""
    return _masked(x, keep, scale), DropoutCache(keep, scale)


def dropout_backward(dy: np.ndarray, cache: DropoutCache) -> np.ndarray:
    """See `minigan.functional.dropout.dropout_backward`."""
    return _masked(dy, cache.keep, cache.scale)


def _masked(x: np.ndarray, keep: np.ndarray, scale: float) -> np.ndarray:
    if keep.shape != x.shape:  # one for each channel
        return plain.dropout(x, keep, scale)[0]
    y = np.empty_like(x, order="C")
    source, mask = np.ascontiguousarray(x).reshape(-1), np.ascontiguousarray(keep).reshape(-1)
    target = y.reshape(-1)
    share(lambda a, b: loops.masked(source[a:b], mask[a:b], scale, target[a:b]), x.size, SMALL)
    return y
