"""PixelShuffle (Shi et al. 2016, eq. 4, in PyTorch's order of the channels), one pixel after another: (N, H, W, C)."""

import numpy as np

from reference import Array


def source(row: int, column: int, c: int, factor: int) -> tuple[int, int, int]:
    """Where pixel (row, column) of channel c of the large image comes from in the small one."""
    within = (row % factor) * factor + column % factor
    return row // factor, column // factor, c * factor**2 + within


def pixel_shuffle(x: Array, factor: int) -> Array:
    """x (N, H, W, C r^2): returns y (N, r H, r W, C)."""
    n_samples, height, width, channels = x.shape
    y = np.zeros((n_samples, factor * height, factor * width, channels // factor**2))
    for n, row, column, c in np.ndindex(y.shape):
        y[n, row, column, c] = x[(n, *source(row, column, c, factor))]
    return y


def pixel_unshuffle(y: Array, factor: int) -> Array:
    """Every pixel goes back to where it came from. y (N, r H, r W, C): returns x (N, H, W, C r^2)."""
    n_samples, height, width, channels = y.shape
    x = np.zeros((n_samples, height // factor, width // factor, channels * factor**2))
    for n, row, column, c in np.ndindex(y.shape):
        x[(n, *source(row, column, c, factor))] = y[n, row, column, c]
    return x
