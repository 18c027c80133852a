"""Maxout on a GPU, one launch each way (maxout.cu)."""

import numpy as np

from minigan.backend import array_module, expect_shape
from minigan.cuda.launch import launch_each
from minigan.cuda.layout import contiguous
from minigan.functional import maxout as plain
from minigan.functional.maxout import MaxoutCache
from minigan.typing import Array


def maxout(x: Array, pieces: int) -> tuple[Array, MaxoutCache]:
    """See `minigan.functional.maxout.maxout`."""
    return biased_maxout(x, None, pieces)


def biased_maxout(x: Array, b: Array | None, pieces: int) -> tuple[Array, MaxoutCache]:
    """Of x + b, where there is a bias (U*P,)."""
    if x.shape[-1] % pieces:
        return plain.maxout(x, pieces)  # raises
    xp, x, units = array_module(x), contiguous(x), x.shape[-1] // pieces
    y, winner = xp.empty((len(x), units), x.dtype), xp.empty((len(x), units, pieces), np.bool_)
    bias = (x, np.int32(0)) if b is None else (contiguous(b), np.int32(len(b)))  # none: any array, never read
    launch_each("maxout", "maxout", x, *bias, y, winner, np.int32(pieces), n=y.size)
    return y, MaxoutCache(winner)


def maxout_backward(dy: Array, cache: MaxoutCache) -> Array:
    """See `minigan.functional.maxout.maxout_backward`."""
    return to_winners(dy, cache.winner, 1.0)


def to_winners(dy: Array, winner: Array, scale: float) -> Array:
    """scale dy (N, U) where a piece has won (N, U, P), else 0: (N, U*P)."""
    n, units, pieces = winner.shape
    expect_shape("dy", dy, (n, units))
    dx = array_module(dy).empty((n, units * pieces), dy.dtype)
    number = dy.dtype.type(scale)
    launch_each("maxout", "maxout_backward", contiguous(dy), winner, number, dx, np.int32(pieces), n=dx.size)
    return dx
