"""Maxout without a search for each group, in one pass; see `minigan.functional.maxout`."""

import numpy as np

from minigan.backend import expect_shape
from minigan.functional import maxout as plain
from minigan.functional.maxout import MaxoutCache
from minigan.kernels.loops import loops
from minigan.kernels.workers import share


def maxout(x: np.ndarray, pieces: int) -> tuple[np.ndarray, MaxoutCache]:
    """See `minigan.functional.maxout.maxout`."""
    if x.shape[-1] % pieces:
        return plain.maxout(x, pieces)  # raises
    groups = np.ascontiguousarray(x).reshape(len(x), x.shape[-1] // pieces, pieces)  # (N, U, P)
    largest, winner = np.empty(groups.shape[:2], x.dtype), np.empty(groups.shape, np.bool_)
    share(lambda a, b: loops.maxout(groups[a:b], largest[a:b], winner[a:b]), len(x), smallest=16)
    return largest, MaxoutCache(winner)


def maxout_backward(dy: np.ndarray, cache: MaxoutCache) -> np.ndarray:
    """See `minigan.functional.maxout.maxout_backward`."""
    n, units, pieces = cache.winner.shape
    expect_shape("dy", dy, (n, units))
    dx = np.empty((n, units, pieces), dy.dtype)
    share(lambda a, b: loops.maxout_backward(dy[a:b], cache.winner[a:b], dx[a:b]), n, smallest=16)
    return dx.reshape(n, units * pieces)
