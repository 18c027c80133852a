"""A condition behind the channels of x, one number after another: h = [x, y] at every place."""

import numpy as np

from reference import Array


def with_condition(x: Array, y: Array) -> Array:
    """x (N, ..., C), y (N, K): returns h (N, ..., C + K)."""
    channels = x.shape[-1]
    h = np.zeros((*x.shape[:-1], channels + y.shape[1]))
    for n, *place, c in np.ndindex(h.shape):
        h[(n, *place, c)] = x[(n, *place, c)] if c < channels else y[n, c - channels]
    return h


def with_condition_backward(dh: Array, size: int) -> tuple[Array, Array]:
    """Every number of h goes back to where it came from. dh (N, ..., C + K): returns dx (N, ..., C), dy (N, K)."""
    channels = dh.shape[-1] - size
    dx, dy = np.zeros((*dh.shape[:-1], channels)), np.zeros((len(dh), size))
    for n, *place, c in np.ndindex(dh.shape):
        if c < channels:
            dx[(n, *place, c)] = dh[(n, *place, c)]
        else:
            dy[n, c - channels] += dh[(n, *place, c)]
    return dx, dy
