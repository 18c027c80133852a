"""Activations on the workers, a piece at a time; the formulas are those of the plain versions."""

from collections.abc import Callable

import numpy as np

from minigan.backend import expect_shape
from minigan.functional.activations import ActivationCache
from minigan.kernels.blocks import PIECE, pieces
from minigan.kernels.loops import loops
from minigan.kernels.workers import share

SMALL = 1 << 17  # numbers below which a second worker gains nothing: waking it takes as long


def relu(x: np.ndarray) -> tuple[np.ndarray, ActivationCache]:
    """See `minigan.functional.activations.relu`; here -inf gives nan, as it does in backward."""
    return leaky_relu(x, 0.0)


def relu_backward(dy: np.ndarray, cache: ActivationCache) -> np.ndarray:
    """See `minigan.functional.activations.relu_backward`."""
    return leaky_relu_backward(dy, cache, 0.0)


def leaky_relu(x: np.ndarray, slope: float) -> tuple[np.ndarray, ActivationCache]:
    """See `minigan.functional.activations.leaky_relu`."""
    y = np.empty_like(x, order="C")
    source, target = np.ascontiguousarray(x).reshape(-1), y.reshape(-1)
    share(lambda a, b: loops.leaky(source[a:b], slope, target[a:b]), x.size, SMALL)
    return y, ActivationCache(y)


def leaky_relu_backward(dy: np.ndarray, cache: ActivationCache, slope: float) -> np.ndarray:
    """See `minigan.functional.activations.leaky_relu_backward`."""
    expect_shape("dy", dy, cache.y.shape)
    dx = np.empty_like(dy, order="C")
    upstream, y, target = np.ascontiguousarray(dy).reshape(-1), cache.y.reshape(-1), dx.reshape(-1)
    share(lambda a, b: loops.leaky_backward(upstream[a:b], y[a:b], slope, target[a:b]), dy.size, SMALL)
    return dx


def tanh(x: np.ndarray) -> tuple[np.ndarray, ActivationCache]:
    """See `minigan.functional.activations.tanh`."""
    y = by_pieces(np.tanh, x)
    return y, ActivationCache(y)


def tanh_backward(dy: np.ndarray, cache: ActivationCache) -> np.ndarray:
    """See `minigan.functional.activations.tanh_backward`."""
    expect_shape("dy", dy, cache.y.shape)
    return by_pieces(_tanh_backward, dy, cache.y)


def _tanh_backward(dy: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """dy (1 - y^2)."""
    np.multiply(y, y, out=out)
    np.subtract(1, out, out=out)
    out *= dy


def sigmoid(x: np.ndarray) -> tuple[np.ndarray, ActivationCache]:
    """See `minigan.functional.activations.sigmoid`."""
    y = by_pieces(_sigmoid, x)
    return y, ActivationCache(y)


def _sigmoid(x: np.ndarray, out: np.ndarray) -> None:
    """1 / (1 + exp(-x)): as accurate as the plain form, if exp may overflow, which gives 0 in its turn."""
    np.negative(x, out=out)
    with np.errstate(over="ignore"):
        np.exp(out, out=out)
    out += 1
    np.reciprocal(out, out=out)


def by_pieces(function: Callable[..., object], *arrays: np.ndarray) -> np.ndarray:
    """What an element-wise function of arrays of one shape writes into `out`, piece by piece."""
    flat = [np.ascontiguousarray(array).reshape(-1) for array in arrays]
    result = np.empty(flat[0].shape, flat[0].dtype)

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, PIECE):
            function(*(array[some] for array in flat), out=result[some])

    share(part, len(result), SMALL)
    return result.reshape(arrays[0].shape)
