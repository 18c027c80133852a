"""Enlarging by copies on the workers: some of the images each; see `minigan.functional.upsample`."""

import numpy as np

from minigan.functional import upsample as plain
from minigan.kernels.blocks import pieces
from minigan.kernels.workers import share

IMAGES = 4  # that a worker takes at a time


def upsample_nearest(x: np.ndarray, factor: int) -> np.ndarray:
    """See `minigan.functional.upsample.upsample_nearest`."""
    n, height, width, channels = x.shape
    y = np.empty((n, height, factor, width, factor, channels), x.dtype)

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, IMAGES):
            y[some] = x[some, :, None, :, None]

    share(part, n)
    return y.reshape(n, height * factor, width * factor, channels)


def upsample_nearest_backward(dy: np.ndarray, factor: int) -> np.ndarray:
    """See `minigan.functional.upsample.upsample_nearest_backward`."""
    n, height, width, channels = dy.shape
    dx = np.empty((n, height // factor, width // factor, channels), dy.dtype)

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, IMAGES):
            dx[some] = plain.upsample_nearest_backward(dy[some], factor)

    share(part, n)
    return dx
