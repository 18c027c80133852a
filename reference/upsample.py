"""Enlarging images (N, H, W, C) by a whole factor, one output pixel after the other."""

import numpy as np

from reference import Array


def upsample_nearest(x: Array, factor: int) -> Array:
    """Every output pixel copies the input pixel that it lies in."""
    n_samples, height, width, channels = x.shape
    y = np.zeros((n_samples, factor * height, factor * width, channels))
    for n, row, column, c in np.ndindex(y.shape):
        y[n, row, column, c] = x[n, row // factor, column // factor, c]
    return y


def upsample_nearest_backward(dy: Array, x: Array, factor: int) -> Array:
    """Every copy hands its gradient back. x (N, H, W, C): returns dx."""
    dx = np.zeros(x.shape)
    for n, row, column, c in np.ndindex(dy.shape):
        dx[n, row // factor, column // factor, c] += dy[n, row, column, c]
    return dx


def share(target: int, source: int, size: int, factor: int) -> float:
    """How much of input pixel `source` is in output pixel `target`, on a line of `size` input pixels.

    In units of input pixels, with 0 at the centre of the first, the centre of the target is at
    (target + 1/2) / factor - 1/2, or at the outermost centre if it lies beyond. A pixel's share falls
    linearly from 1 at its own centre to 0 at its neighbours'.
    """
    position = (target + 0.5) / factor - 0.5
    position = min(max(position, 0.0), size - 1.0)
    return max(0.0, 1.0 - abs(position - source))


def upsample_bilinear(x: Array, factor: int) -> Array:
    """Every output pixel is the sum of all input pixels by their vertical and horizontal share."""
    n_samples, height, width, channels = x.shape
    y = np.zeros((n_samples, factor * height, factor * width, channels))
    for row, column, h, w in np.ndindex(factor * height, factor * width, height, width):
        weight = share(row, h, height, factor) * share(column, w, width, factor)
        for n in range(n_samples):
            for c in range(channels):
                y[n, row, column, c] += weight * x[n, h, w, c]
    return y


def upsample_bilinear_backward(dy: Array, x: Array, factor: int) -> Array:
    """An input pixel gets from every output pixel as much as it gave. x (N, H, W, C): returns dx."""
    n_samples, height, width, channels = x.shape
    dx = np.zeros(x.shape)
    for row, column, h, w in np.ndindex(factor * height, factor * width, height, width):
        weight = share(row, h, height, factor) * share(column, w, width, factor)
        for n in range(n_samples):
            for c in range(channels):
                dx[n, h, w, c] += weight * dy[n, row, column, c]
    return dx
