"""Dropout on a GPU, one launch each way (pointwise.cu); masks are drawn on the host, as everywhere."""

import math

import numpy as np

from minigan.cuda.launch import contiguous, empty_like, launch_each
from minigan.functional import dropout as plain
from minigan.functional.dropout import DropoutCache
from minigan.typing import Array


def dropout(x: Array, keep: Array, scale: float) -> tuple[Array, DropoutCache]:
    """See `minigan.functional.dropout.dropout`."""
    return _masked(x, keep, scale), DropoutCache(keep, scale)


def dropout_backward(dy: Array, cache: DropoutCache) -> Array:
    """See `minigan.functional.dropout.dropout_backward`."""
    return _masked(dy, cache.keep, cache.scale)


def _masked(x: Array, keep: Array, scale: float) -> Array:
    """The mask is of x's shape, or (N, 1, ..., 1, C): the same for all pixels of a sample."""
    pixels = 1 if keep.shape == x.shape else math.prod(x.shape[1:-1])
    if keep.shape not in (x.shape, (x.shape[0], *(1 for _ in x.shape[1:-1]), x.shape[-1])):
        return plain.dropout(x, keep, scale)[0]
    x, y = contiguous(x), empty_like(x)
    sizes = np.int32(pixels), np.int32(x.shape[-1])
    launch_each("pointwise", "dropout", x, contiguous(keep), x.dtype.type(scale), y, *sizes, n=x.size)
    return y
