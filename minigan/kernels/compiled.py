"""The inner loops of `minigan.kernels.blocks`, compiled by numba: the same functions, several passes in one.

A loop over channels is innermost, as they lie side by side in memory and one instruction handles sixteen; the
loops over a tile's few rows are unrolled by the compiler, for which the matrices are constants. Results differ
from those of `blocks` by rounding, as the compiler may reorder sums.

Compiled code is kept on disk, beside this file or in the user's cache folder.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from minigan.kernels.blocks import Grid
from minigan.kernels.jit import jit

# Of a row of unknown length, compiled code takes 64 numbers at a time and the rest one by one: of the 15 of a window of
# 5 x 5 colours, all. So short rows have loops of their own, for which the length is a constant.
UNROLLED = 64
LANES = 16  # the same for the channels of a tile, whose loops take so many at a time
ROWS = 128  # summed in the precision of the numbers, before they are added in float64

# Sums may be reordered; values that are not finite stay what they are, and are seen. A division by zero gives what it
# gives in NumPy: to look for one would keep loops from handling sixteen numbers at once.
compiled = jit(fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")
# Besides, a product with a coefficient of zero may be left out.
compiled_linear = jit(fastmath=True, error_model="numpy")


def gather(image: np.ndarray, matrix: np.ndarray, grid: Grid, out: np.ndarray, first: int = 0) -> np.ndarray:
    """See `blocks.gather`."""
    _gather_loop(_constants(matrix, image))(image, out, first, *grid)
    return out


def scatter(tiles: np.ndarray, matrix: np.ndarray, grid: Grid, image: np.ndarray) -> None:
    """See `blocks.scatter`."""
    _scatter_loop(_constants(matrix, image))(tiles, image, *grid)


class Constants(NamedTuple):
    """What the two loops over tiles are compiled for."""

    matrix: bytes  # L (n, k)
    shape: tuple[int, int]
    dtype: str
    few: int  # channels, where they are few, or 0

    def left(self) -> tuple[np.ndarray, int, int]:
        """L, n and k."""
        return np.frombuffer(self.matrix, self.dtype).reshape(self.shape), *self.shape


def _constants(matrix: np.ndarray, image: np.ndarray) -> Constants:
    return Constants(matrix.tobytes(), matrix.shape, matrix.dtype.name, _if_below(LANES, image.shape[3]))


def _if_below(limit: int, length: int) -> int:
    """The length of a row that gets loops of its own, else 0."""
    return length if length < limit else 0


@cache
def _gather_loop(constants: Constants) -> Callable:
    """`gather` by one matrix, first over the columns of a tile and then over its rows.

    A loop over channels computes one number of each: with a whole column of them, six in the largest tiles, the
    compiler would handle channels one by one.
    """
    left, n, k = constants.left()
    few = constants.few

    @compiled_linear
    def loop(image, tiles, before, rows, columns, step, stride):  # type: ignore[no-untyped-def]
        channels = few or image.shape[3]
        half = np.empty((n, k, channels), image.dtype)
        for t in range(image.shape[0] * rows * columns):
            place, b = divmod(t, columns)
            sample, a = divmod(place, rows)
            for phase in range(stride * stride):
                top, first = step * a + phase // stride, step * b + phase % stride
                for j in range(k):
                    for i in range(n):
                        for c in range(channels):
                            value = left[i, 0] * image[sample, top, first + stride * j, c]
                            for m in range(1, k):
                                value += left[i, m] * image[sample, top + stride * m, first + stride * j, c]
                            half[i, j, c] = value
                for i in range(n):
                    for j in range(n):
                        for c in range(channels):
                            value = left[j, 0] * half[i, 0, c]
                            for m in range(1, k):
                                value += left[j, m] * half[i, m, c]
                            tiles[i * n + j, before + t, phase * channels + c] = value

    return loop


@cache
def _scatter_loop(constants: Constants) -> Callable:
    """`scatter` by one matrix, likewise."""
    left, n, k = constants.left()
    few = constants.few

    @compiled_linear
    def loop(tiles, image, rows, columns, step, stride):  # type: ignore[no-untyped-def]
        channels = few or image.shape[3]
        half = np.empty((k, n, channels), image.dtype)
        for t in range(image.shape[0] * rows * columns):
            place, b = divmod(t, columns)
            sample, a = divmod(place, rows)
            for phase in range(stride * stride):
                top, first = step * a + phase // stride, step * b + phase % stride
                for j in range(n):
                    for m in range(k):
                        for c in range(channels):
                            value = left[0, m] * tiles[j, t, phase * channels + c]
                            for i in range(1, n):
                                value += left[i, m] * tiles[i * n + j, t, phase * channels + c]
                            half[m, j, c] = value
                for i in range(k):
                    for j in range(k):
                        for c in range(channels):
                            value = left[0, j] * half[i, 0, c]
                            for m in range(1, n):
                                value += left[m, j] * half[i, m, c]
                            image[sample, top + stride * i, first + stride * j, c] += value

    return loop


def cut_windows(image: np.ndarray, stride: tuple[int, int], out: np.ndarray) -> None:
    """See `blocks.cut_windows`."""
    n, height = image.shape[:2]
    flat = out.reshape(*out.shape[:4], -1)
    cut, _ = _window_loops(_if_below(UNROLLED, flat.shape[4]))
    cut(image.reshape(n, height, -1), stride[0], stride[1] * image.shape[3], flat)


def add_windows(windows: np.ndarray, stride: tuple[int, int], image: np.ndarray) -> None:
    """See `blocks.add_windows`."""
    n, height = image.shape[:2]
    flat = windows.reshape(*windows.shape[:4], -1)
    _, add = _window_loops(_if_below(UNROLLED, flat.shape[4]))
    add(flat, stride[0], stride[1] * image.shape[3], image.reshape(n, height, -1))


@cache
def _window_loops(few: int) -> tuple[Callable, Callable]:
    """The two loops for windows whose rows are so many numbers side by side in the image; 0: many."""

    @compiled
    def cut_loop(image, stride, step, windows):  # type: ignore[no-untyped-def]
        n, p, q, kh = windows.shape[:4]
        run = few or windows.shape[4]
        for sample in range(n):
            for i in range(p):
                for j in range(q):
                    for a in range(kh):
                        for c in range(run):
                            windows[sample, i, j, a, c] = image[sample, stride * i + a, step * j + c]

    @compiled
    def add_loop(windows, stride, step, image):  # type: ignore[no-untyped-def]
        n, p, q, kh = windows.shape[:4]
        run = few or windows.shape[4]
        for sample in range(n):
            for i in range(p):
                for j in range(q):
                    for a in range(kh):
                        for c in range(run):
                            image[sample, stride * i + a, step * j + c] += windows[sample, i, j, a, c]

    return cut_loop, add_loop


def depthwise(image: np.ndarray, w: np.ndarray, stride: tuple[int, int], out: np.ndarray) -> None:
    """See `blocks.depthwise`."""
    _depthwise_loop(image, w, stride[0], stride[1], out)


@compiled
def _depthwise_loop(image, w, s, t, out):  # type: ignore[no-untyped-def]
    n, p, q, channels = out.shape
    out[...] = 0
    for sample in range(n):
        for i in range(p):
            for a in range(w.shape[0]):
                for j in range(q):
                    for b in range(w.shape[1]):
                        for c in range(channels):
                            out[sample, i, j, c] += image[sample, s * i + a, t * j + b, c] * w[a, b, c]


@compiled
def moments(rows):  # type: ignore[no-untyped-def]
    """See `blocks.moments`."""
    count, channels = rows.shape
    mean, spread = np.zeros(channels), np.zeros(channels)
    for start in range(0, count, ROWS):
        stop = min(start + ROWS, count)
        size = stop - start
        local, squares = np.zeros(channels, rows.dtype), np.zeros(channels, rows.dtype)
        for r in range(start, stop):
            for c in range(channels):
                local[c] += rows[r, c]
        for c in range(channels):
            local[c] /= size
        for r in range(start, stop):
            for c in range(channels):
                distance = rows[r, c] - local[c]
                squares[c] += distance * distance
        for c in range(channels):
            delta = local[c] - mean[c]
            mean[c] += delta * size / stop
            spread[c] += squares[c] + delta * delta * start * size / stop
    return mean, spread


@compiled
def column_sums(rows):  # type: ignore[no-untyped-def]
    """See `blocks.column_sums`."""
    count, channels = rows.shape
    total = np.zeros(channels)
    for start in range(0, count, ROWS):
        local = np.zeros(channels, rows.dtype)
        for r in range(start, min(start + ROWS, count)):
            for c in range(channels):
                local[c] += rows[r, c]
        for c in range(channels):
            total[c] += local[c]
    return total


@compiled
def scale_shift(rows, norm, slope, out):  # type: ignore[no-untyped-def]
    """See `blocks.scale_shift`."""
    mean, gain, beta = norm
    factor = rows.dtype.type(slope)
    for r in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            a = (rows[r, c] - mean[c]) * gain[c] + beta[c]
            out[r, c] = a if a > 0 else factor * a


@compiled
def product_sums(dy, rows, norm, slope):  # type: ignore[no-untyped-def]
    """See `blocks.product_sums`."""
    mean, gain, beta = norm
    factor = rows.dtype.type(slope)
    count, channels = rows.shape
    total, product = np.zeros(channels), np.zeros(channels)
    for start in range(0, count, ROWS):
        local, local_product = np.zeros(channels, rows.dtype), np.zeros(channels, rows.dtype)
        for r in range(start, min(start + ROWS, count)):
            for c in range(channels):
                distance = rows[r, c] - mean[c]
                da = dy[r, c] if distance * gain[c] + beta[c] > 0 else factor * dy[r, c]
                local[c] += da
                local_product[c] += da * distance
        for c in range(channels):
            total[c] += local[c]
            product[c] += local_product[c]
    return total, product


@compiled
def combine(dy, rows, norm, slope, tilt, shift, out):  # type: ignore[no-untyped-def]
    """See `blocks.combine`."""
    mean, gain, beta = norm
    factor = rows.dtype.type(slope)
    for r in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            distance = rows[r, c] - mean[c]
            da = dy[r, c] if distance * gain[c] + beta[c] > 0 else factor * dy[r, c]
            out[r, c] = da * gain[c] - distance * tilt[c] - shift[c]


@compiled
def leaky(x, slope, out):  # type: ignore[no-untyped-def]
    """See `blocks.leaky`."""
    factor = x.dtype.type(slope)
    for i in range(x.size):
        out[i] = x[i] if x[i] > 0 else factor * x[i]


@compiled
def leaky_backward(dy, y, slope, out):  # type: ignore[no-untyped-def]
    """See `blocks.leaky_backward`."""
    factor = dy.dtype.type(slope)
    for i in range(dy.size):
        out[i] = dy[i] if y[i] > 0 else factor * dy[i]


@compiled
def masked(x, keep, scale, out):  # type: ignore[no-untyped-def]
    """See `blocks.masked`."""
    factor = x.dtype.type(scale)
    for i in range(x.size):
        out[i] = x[i] * x.dtype.type(keep[i]) * factor


def maxout(groups: np.ndarray, largest: np.ndarray, winner: np.ndarray) -> None:
    """See `blocks.maxout`."""
    _maxout_loop(groups.shape[2])(groups, largest, winner)


@cache
def _maxout_loop(pieces: int) -> Callable:
    """The loop for groups of so many: of a length that is a constant, every comparison is written out."""

    @compiled
    def loop(groups, largest, winner):  # type: ignore[no-untyped-def]
        for n in range(groups.shape[0]):
            for u in range(groups.shape[1]):
                best = groups[n, u, 0]
                for p in range(1, pieces):
                    value = groups[n, u, p]
                    best = value if (value > best) | (value != value) else best  # what is no number stays
                free = True  # no jumps: the processor could not foresee them
                for p in range(pieces):
                    won = free & (groups[n, u, p] == best)
                    winner[n, u, p] = won
                    free &= not won
                largest[n, u] = best

    return loop


@compiled
def maxout_backward(dy, winner, out):  # type: ignore[no-untyped-def]
    """See `blocks.maxout_backward`."""
    for n in range(winner.shape[0]):
        for u in range(winner.shape[1]):
            for p in range(winner.shape[2]):
                out[n, u, p] = dy[n, u] * winner[n, u, p]


@compiled
def sgd(theta, g, lr):  # type: ignore[no-untyped-def]
    """theta <- theta - lr g, g <- 0; as the others below, with the numbers in the precision of the vectors."""
    for i in range(theta.size):
        theta[i] -= lr * g[i]
        g[i] = 0


@compiled
def momentum(theta, g, velocity, lr, momentum):  # type: ignore[no-untyped-def]
    """v <- momentum v - lr g, theta <- theta + v.

    All is read before anything is written: of what has just been written, a processor may have to wait until it can be
    read again, where vectors do not begin at multiples of 32 bytes.
    """
    for i in range(theta.size):
        v = momentum * velocity[i] - lr * g[i]
        moved = theta[i] + v
        velocity[i], theta[i] = v, moved
        g[i] = 0


@compiled
def adam(theta, g, m, v, step, correction, beta1, rest1, beta2, rest2, eps):  # type: ignore[no-untyped-def]
    """See `minigan.optim.adam`; step = lr / (1 - beta1^t), correction = 1 / sqrt(1 - beta2^t), rest = 1 - beta.

    Likewise, all is read before anything is written.
    """
    for i in range(theta.size):
        m_i = beta1 * m[i] + rest1 * g[i]
        v_i = beta2 * v[i] + rest2 * g[i] * g[i]
        moved = theta[i] - step * m_i / (correction * np.sqrt(v_i) + eps)
        m[i], v[i], theta[i] = m_i, v_i, moved
        g[i] = 0
