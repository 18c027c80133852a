"""Reshape each sample, by counting: entry k of the input is entry k of the output."""

import numpy as np

from reference import Array


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """x (N, ...): returns y (N, *shape), read and written with the last axis running fastest."""
    y = np.zeros((x.shape[0], *shape))
    for source, target in zip(np.ndindex(x.shape), np.ndindex(y.shape), strict=True):
        y[target] = x[source]
    return y


def reshape_backward(dy: Array, x: Array) -> Array:
    """Entry k of dy is the gradient of entry k of x."""
    dx = np.zeros(x.shape)
    for source, target in zip(np.ndindex(dy.shape), np.ndindex(x.shape), strict=True):
        dx[target] = dy[source]
    return dx
