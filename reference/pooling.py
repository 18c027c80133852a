"""Pooling of images (N, H, W, C), one window and channel after the other.

A window is a list of (row, column), from left to right and from top to bottom, without the pixels
outside the image. Settings are written as in ``conv.py``.
"""

import math
from collections.abc import Iterator

import numpy as np

from reference import Array
from reference.conv import Pair, Sides, count_places

Window = list[tuple[int, int]]


def out_size(x_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Sides) -> Pair:
    """(P, Q): how many windows there are."""
    top, bottom, left, right = padding
    return (
        count_places(x_shape[1], kernel[0], stride[0], top, bottom, 1),
        count_places(x_shape[2], kernel[1], stride[1], left, right, 1),
    )


def windows(
    x_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Sides
) -> Iterator[tuple[tuple[int, int, int, int], Window]]:
    """Every place (n, p, q, c) of the output with the pixels of its window."""
    n_samples, height, width, channels = x_shape
    for n, p, q, c in np.ndindex(n_samples, *out_size(x_shape, kernel, stride, padding), channels):
        window = []
        for a in range(kernel[0]):
            for b in range(kernel[1]):
                row, column = p * stride[0] + a - padding[0], q * stride[1] + b - padding[2]
                if 0 <= row < height and 0 <= column < width:
                    window.append((row, column))
        yield (n, p, q, c), window


def average_pool(x: Array, kernel: Pair, stride: Pair, padding: Sides) -> Array:
    """The sum of the pixels in the window over kh kw: pixels outside the image count as zeros."""
    y = np.zeros((x.shape[0], *out_size(x.shape, kernel, stride, padding), x.shape[3]))
    for (n, p, q, c), window in windows(x.shape, kernel, stride, padding):
        y[n, p, q, c] = math.fsum(x[n, row, column, c] for row, column in window) / (kernel[0] * kernel[1])
    return y


def average_pool_backward(dy: Array, x: Array, kernel: Pair, stride: Pair, padding: Sides) -> Array:
    """d y / d x is 1 / (kh kw) for every pixel of the window. x (N, H, W, C): returns dx."""
    dx = np.zeros(x.shape)
    for (n, p, q, c), window in windows(x.shape, kernel, stride, padding):
        for row, column in window:
            dx[n, row, column, c] += dy[n, p, q, c] / (kernel[0] * kernel[1])
    return dx


def max_pool(x: Array, kernel: Pair, stride: Pair, padding: Sides) -> Array:
    """The largest pixel of the window that lies in the image."""
    y = np.zeros((x.shape[0], *out_size(x.shape, kernel, stride, padding), x.shape[3]))
    for (n, p, q, c), window in windows(x.shape, kernel, stride, padding):
        y[n, p, q, c] = max(x[n, row, column, c] for row, column in window)
    return y


def max_pool_backward(dy: Array, x: Array, kernel: Pair, stride: Pair, padding: Sides) -> Array:
    """A pixel gets the gradient if it beats every earlier one of the window and no later one beats it."""
    dx = np.zeros(x.shape)
    for (n, p, q, c), window in windows(x.shape, kernel, stride, padding):
        values = [x[n, row, column, c] for row, column in window]
        for k, (row, column) in enumerate(window):
            beats_earlier = all(values[k] > value for value in values[:k])
            holds_against_later = all(values[k] >= value for value in values[k + 1 :])
            if beats_earlier and holds_against_later:
                dx[n, row, column, c] += dy[n, p, q, c]
    return dx


def global_average(x: Array) -> Array:
    """The mean of each channel of each sample: returns y (N, C)."""
    n_samples, height, width, channels = x.shape
    y = np.zeros((n_samples, channels))
    for n in range(n_samples):
        for c in range(channels):
            total = math.fsum(x[n, row, column, c] for row in range(height) for column in range(width))
            y[n, c] = total / (height * width)
    return y


def global_average_backward(dy: Array, x: Array) -> Array:
    """d y / d x is 1 / (H W) for every pixel. dy (N, C), x (N, H, W, C): returns dx."""
    dx = np.zeros(x.shape)
    for n, row, column, c in np.ndindex(x.shape):
        dx[n, row, column, c] = dy[n, c] / (x.shape[1] * x.shape[2])
    return dx
