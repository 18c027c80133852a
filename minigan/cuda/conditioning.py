"""A condition beside each sample on a GPU (conditioning.cu); arrays lie as they came, as convolutions want them."""

from math import prod
from typing import Any

import numpy as np

from minigan.backend import array_module
from minigan.cuda.launch import launch, launch_each
from minigan.cuda.layout import contiguous, empty_like, flat, rows_first, side_by_side
from minigan.typing import Array

THREADS = 128  # that sum over the places of an image


def with_condition(x: Array, y: Array) -> Array:
    """See `minigan.functional.conditioning.with_condition`."""
    if y.ndim != 2 or len(x) != len(y) or x.dtype != y.dtype:
        return NotImplemented
    x = side_by_side(x)
    h = empty_like(x, x.shape[-1] + y.shape[1])
    launch_each("conditioning", "with_condition", flat(x), contiguous(y), flat(h), *_sizes(h, y.shape[1]), n=h.size)
    return h


def with_condition_backward(dh: Array, size: int) -> tuple[Array, Array]:
    """See `minigan.functional.conditioning.with_condition_backward`."""
    channels = dh.shape[-1] - size
    if channels < 0:
        return NotImplemented
    dh = side_by_side(dh)
    dx, dy = empty_like(dh, channels), array_module(dh).empty((len(dh), size), dh.dtype)
    launch_each("conditioning", "without_condition", flat(dh), flat(dx), np.int32(channels), np.int32(size), n=dx.size)
    sizes = *_sizes(dh, size), np.int64(prod(dh.shape[1:-1]))
    launch("conditioning", "condition_gradient", (dy.size,), (THREADS,), flat(dh), dy, *sizes)
    return dx, dy


def condition_of_backward(dy: Array, dh: Array) -> Array:
    """See `minigan.functional.conditioning.condition_of_backward`."""
    if dy.ndim != 2 or len(dy) != len(dh) or dy.shape[1] > dh.shape[-1] or dy.dtype != dh.dtype:
        return NotImplemented
    dh = side_by_side(dh)
    total, sizes = empty_like(dh), _sizes(dh, dy.shape[1])
    launch_each("conditioning", "condition_of_backward", contiguous(dy), flat(dh), flat(total), *sizes, n=dh.size)
    return total


def _sizes(h: Array, size: int) -> tuple[Any, ...]:
    """Channels without the condition, its size, how many pixels of a sample lie side by side, and samples."""
    each = prod(h.shape[2:-1] if rows_first(h) else h.shape[1:-1])
    return np.int32(h.shape[-1] - size), np.int32(size), np.int64(each), np.int64(len(h))
