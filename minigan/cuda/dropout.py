"""Dropout on a GPU, one launch each way (pointwise.cu), with the mask and an activation before it, too (dropout.cu)."""

import math
from typing import Any, NamedTuple

import numpy as np

from minigan.backend import array_module, expect_shape, put_like
from minigan.cuda.launch import launch_each
from minigan.cuda.layout import contiguous, empty_like, flat, laid_like, rows_first, side_by_side
from minigan.cuda.maxout import to_winners
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
        xp = array_module(x)
        y, keep = xp.empty(x.shape, x.dtype), xp.empty(x.shape, np.bool_)
        rng.draw("dropped", keep, np.float32(rate), x, x.dtype.type(scale), y, real=x.dtype.name)
        return y, DropoutCache(keep, scale)
    return dropout(x, put_like(draw_keep(rng, shape, rate), x), scale)


class DroppedLeakyReLU(NamedTuple):
    y: Array  # (N, C)
    keep: Array  # (N, C)
    slope: float
    scale: float


class DroppedMaxout(NamedTuple):
    winner: Array  # (N, U, P)  the piece that was largest, if it was kept
    scale: float


def activated_dropout(
    a: Array, b: Array, rng: Any, rate: float, scale: float, activation: str, *numbers: float
) -> tuple[Array, DroppedLeakyReLU | DroppedMaxout]:
    """See `minigan.ops.activated_dropout`; one launch where the device draws, for rectifiers and maxout of (N, C)."""
    if not isinstance(rng, DeviceGenerator) or a.ndim != 2 or activation not in ("relu", "leaky_relu", "maxout"):
        return NotImplemented
    if b.shape != a.shape[1:] or (activation == "maxout" and a.shape[1] % int(*numbers)):
        return NotImplemented  # which raises
    xp, number, keep_from = array_module(a), a.dtype.type, np.float32(rate)
    given = contiguous(a), contiguous(b), np.int32(len(b))
    if activation == "maxout":
        (pieces,) = map(int, numbers)
        y = xp.empty((len(a), a.shape[1] // pieces), a.dtype)
        winner = xp.empty((*y.shape, pieces), np.bool_)
        sizes = np.int32(pieces), number(scale)
        rng.draw("dropped_maxout", y, keep_from, *given, *sizes, winner, real=a.dtype.name)
        return y, DroppedMaxout(winner, scale)
    (slope,) = numbers or (0.0,)
    y, keep = xp.empty(a.shape, a.dtype), xp.empty(a.shape, np.bool_)
    rng.draw("dropped_leaky_relu", keep, keep_from, *given, number(slope), number(scale), y, real=a.dtype.name)
    return y, DroppedLeakyReLU(y, keep, slope, scale)


def activated_dropout_backward(dy: Array, cache: Any) -> Array:
    """See `minigan.ops.activated_dropout_backward`."""
    if isinstance(cache, DroppedMaxout):
        return to_winners(dy, cache.winner, cache.scale)
    if not isinstance(cache, DroppedLeakyReLU):
        return NotImplemented
    expect_shape("dy", dy, cache.y.shape)
    dx, numbers = empty_like(cache.y), map(dy.dtype.type, (cache.slope, cache.scale))
    launch_each("dropout", "dropped_leaky_relu_backward", contiguous(dy), cache.y, cache.keep, *numbers, dx, n=dx.size)
    return dx


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
