"""Dropout on a GPU: the mask, and one launch each way (pointwise.cu)."""

import math
from typing import Any

import numpy as np

from minigan.backend import put_like
from minigan.cuda.launch import launch_each
from minigan.cuda.layout import contiguous, empty_like, flat, laid_like, rows_first, side_by_side
from minigan.cuda.pcg64 import DeviceGenerator
from minigan.functional import dropout as plain
from minigan.functional.dropout import DropoutCache
from minigan.typing import Array, Shape


def draw_keep(rng: Any, shape: Shape, rate: float) -> Array:
    """See `minigan.functional.dropout.draw_keep`; drawn where the generator is."""
    if isinstance(rng, DeviceGenerator):
        return rng.draw_keep(shape, rate)
    return plain.draw_keep(rng, shape, rate)


def drawn_dropout(x: Array, rng: Any, shape: Shape, rate: float, scale: float) -> tuple[Array, DropoutCache]:
    """See `minigan.ops.drawn_dropout`; one launch where the device draws, and a number for each of x."""
    if isinstance(rng, DeviceGenerator) and shape == x.shape and x.flags.c_contiguous:
        y, keep = rng.dropped(x, rate, scale)
        return y, DropoutCache(keep, scale)
    return dropout(x, put_like(draw_keep(rng, shape, rate), x), scale)


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
    x = side_by_side(x)
    y = empty_like(x)
    if not x.size:
        return y
    if pixels > 1 and rows_first(x):
        pixels = math.prod(x.shape[2:-1])  # of a sample, in one of its rows
    keep = contiguous(keep) if pixels > 1 else flat(laid_like(keep, x))
    sizes = np.int32(keep.size // x.shape[-1]), np.int32(pixels), np.int32(x.shape[-1])
    launch_each("pointwise", "dropout", flat(x), keep, x.dtype.type(scale), flat(y), *sizes, n=x.size)
    return y
