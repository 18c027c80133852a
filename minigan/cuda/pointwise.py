"""Activations and joining arrays on a GPU, one launch each (pointwise.cu)."""

from typing import Any

import numpy as np

from minigan.backend import array_module, expect_shape
from minigan.cuda.launch import launch_each
from minigan.cuda.layout import contiguous, empty_like, flat, laid_like, side_by_side
from minigan.cuda.maxout import biased_maxout
from minigan.functional.activations import ActivationCache
from minigan.typing import Array


def relu(x: Array) -> tuple[Array, ActivationCache]:
    """See `minigan.functional.activations.relu`; here -inf gives nan, as it does in backward."""
    return leaky_relu(x, 0.0)


def relu_backward(dy: Array, cache: ActivationCache) -> Array:
    """See `minigan.functional.activations.relu_backward`."""
    return leaky_relu_backward(dy, cache, 0.0)


def leaky_relu(x: Array, slope: float) -> tuple[Array, ActivationCache]:
    """See `minigan.functional.activations.leaky_relu`."""
    return _forward("leaky_relu", x, None, x.dtype.type(slope))


def leaky_relu_backward(dy: Array, cache: ActivationCache, slope: float) -> Array:
    """See `minigan.functional.activations.leaky_relu_backward`."""
    return _backward("leaky_relu_backward", dy, cache, dy.dtype.type(slope))


def tanh(x: Array) -> tuple[Array, ActivationCache]:
    """See `minigan.functional.activations.tanh`."""
    return _forward("tanh_forward", x, None)


def tanh_backward(dy: Array, cache: ActivationCache) -> Array:
    """See `minigan.functional.activations.tanh_backward`."""
    return _backward("tanh_backward", dy, cache)


def sigmoid(x: Array) -> tuple[Array, ActivationCache]:
    """See `minigan.functional.activations.sigmoid`."""
    return _forward("sigmoid", x, None)


def sigmoid_backward(dy: Array, cache: ActivationCache) -> Array:
    """See `minigan.functional.activations.sigmoid_backward`."""
    return _backward("sigmoid_backward", dy, cache)


def concatenate(first: Array, second: Array) -> Array:
    """See `minigan.ops.concatenate`; one launch for arrays that lie in the order of their axes, none for neighbours.

    What comes back of the latter is a view of both.
    """
    xp = array_module(first, second)
    if first.shape[1:] != second.shape[1:] or first.dtype != second.dtype:
        return xp.concatenate([first, second])  # which says what does not fit, or converts
    if not (first.flags.c_contiguous and second.flags.c_contiguous):
        return xp.concatenate([first, second])  # two launches, which read them where they lie
    shape = (len(first) + len(second), *first.shape[1:])
    if (whole := _whole(first, second)) is not None:
        return whole.reshape(shape)
    both = xp.empty(shape, first.dtype)
    launch_each("pointwise", "concatenate", first, second, both, np.int64(first.size), n=both.size)
    return both


def _whole(first: Array, second: Array) -> Array | None:
    """The array that these two, which are contiguous, are views of, one of its first part and one of the rest."""
    whole = first.base
    if whole is None or second.base is None or whole.nbytes != first.nbytes + second.nbytes:
        return None
    behind = first.data.ptr + first.nbytes
    lie_there = first.data.ptr == whole.data.ptr == second.base.data.ptr and second.data.ptr == behind
    return whole if lie_there and whole.dtype == first.dtype and whole.flags.c_contiguous else None


def scaled_pixels(pixels: Array, chosen: Array | None, scale: float, shift: float, dtype: np.dtype) -> Array:
    """See `minigan.ops.scaled_pixels`; one launch for bytes that are chosen."""
    if chosen is None or (pixels.dtype, chosen.dtype) != (np.uint8, np.int64):
        return NotImplemented
    if not (pixels.flags.c_contiguous and chosen.flags.c_contiguous):
        return NotImplemented
    y = array_module(pixels).empty((len(chosen), *pixels.shape[1:]), dtype)
    numbers = dtype.type(scale), dtype.type(shift)
    size = np.int64(pixels.size // len(pixels))
    launch_each("pointwise", "scaled_pixels", pixels, chosen, *numbers, y, size, n=y.size, real=dtype.name)
    return y


def activated(a: Array, b: Array, activation: str, *numbers: float) -> tuple[Array, Any]:
    """See `minigan.ops.activated`; `a` is left as it is."""
    expect_shape("b", b, a.shape[-1:])
    if activation == "maxout":
        return biased_maxout(a, b, int(*numbers))
    if activation in ("relu", "leaky_relu"):
        slope = a.dtype.type(*numbers or (0.0,))
        return _forward("leaky_relu", a, b, slope)
    return _forward({"tanh": "tanh_forward", "sigmoid": "sigmoid"}[activation], a, b)


def _forward(kernel: str, x: Array, b: Array | None, *numbers: Any) -> tuple[Array, ActivationCache]:
    x = side_by_side(x)
    y = empty_like(x)
    bias = (flat(x), np.int32(0)) if b is None else (contiguous(b), np.int32(len(b)))  # none: any array, never read
    launch_each("pointwise", kernel, flat(x), *bias, *numbers, flat(y), n=x.size)
    return y, ActivationCache(y)


def _backward(kernel: str, dy: Array, cache: ActivationCache, *numbers: Any) -> Array:
    expect_shape("dy", dy, cache.y.shape)
    y = side_by_side(cache.y)
    dy, dx = laid_like(dy, y), empty_like(y)
    launch_each("pointwise", kernel, flat(dy), flat(y), *numbers, flat(dx), n=y.size)
    return dx
