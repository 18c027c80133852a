"""Maxout without a search for each group, in one pass; see `minigan.functional.maxout`."""

import numpy as np

from minigan.functional import maxout as plain
from minigan.functional.maxout import MaxoutCache
from minigan.kernels.loops import loops
from minigan.kernels.workers import share


def maxout(x: np.ndarray, pieces: int) -> tuple[np.ndarray, MaxoutCache]:
    """See `minigan.functional.maxout.maxout`."""
    if x.shape[-1] % pieces:
        return plain.maxout(x, pieces)  # raises
    groups = np.ascontiguousarray(x).reshape(len(x), -1, pieces)  # (N, U, P)
    largest, winner = np.empty(groups.shape[:2], x.dtype), np.empty(groups.shape, np.bool_)
    share(lambda a, b: loops.maxout(groups[a:b], largest[a:b], winner[a:b]), len(x), smallest=16)
    return largest, MaxoutCache(winner)


def maxout_backward(dy: np.ndarray, cache: MaxoutCache) -> np.ndarray:
    """See `minigan.functional.maxout.maxout_backward`."""
    dx = np.empty(cache.winner.shape, dy.dtype)  # (N, U, P)
    share(lambda a, b: loops.maxout_backward(dy[a:b], cache.winner[a:b], dx[a:b]), len(dy), smallest=16)
    return dx.reshape(len(dy), -1)
