r"""The inner loops of the fast kernels, in NumPy: each on a piece that fits into a processor's cache.

`minigan.kernels.compiled` has the same functions as compiled loops, which do several passes in one.

A **tile** is k x k pixels that lie `stride` apart; the next tile begins `step` pixels further. `gather`
takes the tile D of every place and every phase (a, b) of the stride, and computes :math:`L D L^\top` for each
channel; `scatter` computes :math:`L^\top F L` and adds it to the pixels of the tile. For all D and F

.. math:: \langle L D L^\top, F \rangle = \langle D, L^\top F L \rangle

Here each is two matrix products, one from either side.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minigan.kernels.workers import scratch

PIECE = 1 << 16  # numbers that a pass works on at a time: 256 KiB of float32
ROWS = 1 << 13  # of which a column is summed in the precision of the numbers, before the sum is added in float64
FEW = 8  # channels, below which each is added in a loop of its own


class Grid(NamedTuple):
    """Where the tiles lie in an image."""

    rows: int  # tiles from top to bottom
    columns: int  # tiles from left to right
    step: int  # pixels from one tile to the next, as many as the stride at least
    stride: int  # pixels between two neighbours in a tile


def pieces(start: int, stop: int, size: int) -> Iterator[slice]:
    """The range in pieces of at most `size`, in order."""
    for at in range(start, stop, size):
        yield slice(at, min(at + size, stop))


def surround(image: np.ndarray, top: int, left: int, out: np.ndarray) -> np.ndarray:
    """Write the images into `out` at (top, left), without what reaches over it, and zeros around them; returns out."""
    inner = out[:, top : top + image.shape[1], left : left + image.shape[2]]
    bottom, right = top + inner.shape[1], left + inner.shape[2]
    inner[...] = image[:, : bottom - top, : right - left]
    for border in (out[:, :top], out[:, bottom:], out[:, top:bottom, :left], out[:, top:bottom, right:]):
        border.fill(0)
    return out


def gather(image: np.ndarray, matrix: np.ndarray, grid: Grid, out: np.ndarray, first: int = 0) -> np.ndarray:
    """Every tile D as L D L^T.

    Parameters: image (N, H, W, C); matrix L (n, k); out (n n, tiles, stride^2 C), in which these N rows columns
    begin with the tile `first`. Returns out. It lies in memory without gaps: for a part of an array, compiled code
    would have to move its numbers one by one.
    """
    k = matrix.shape[1]
    pixels = _pixels(image, k, grid)
    tiles = scratch("tiles", pixels.shape, image.dtype)
    tiles[...] = pixels
    part = out[:, first : first + tiles.size // (k * k * out.shape[2])]
    _both_sides(matrix, tiles.reshape(k, k, -1), part.reshape(len(matrix), len(matrix), -1))
    return out


def _both_sides(left: np.ndarray, tiles: np.ndarray, out: np.ndarray) -> None:
    """left D left^T of many D at once: left (n, k), D in tiles (k, k, M), out (n, n, M)."""
    (n, k), size = left.shape, max(1, PIECE // left.size)
    half = scratch("half", (k, n, min(size, tiles.shape[2])), tiles.dtype)  # left times column j of every D
    for some in pieces(0, tiles.shape[2], size):
        m = some.stop - some.start
        np.matmul(left, tiles[:, :, some].swapaxes(0, 1), out=half[:, :, :m])
        np.matmul(left, half[:, :, :m].swapaxes(0, 1), out=out[:, :, some])


def scatter(tiles: np.ndarray, matrix: np.ndarray, grid: Grid, image: np.ndarray) -> None:
    """Add every L^T F L to the pixels of its tile.

    Parameters: tiles F (n n, N rows columns, stride^2 C); matrix L (n, k); image (N, H, W, C), changed.
    """
    k = matrix.shape[1]
    pixels = _pixels(image, k, grid)
    shares = scratch("tiles", pixels.shape, image.dtype)
    _both_sides(matrix.T, tiles.reshape(len(matrix), len(matrix), -1), shares.reshape(k, k, -1))
    for i, j in np.ndindex(k, k):  # neighbours meet in some pixels, but not in the same (i, j)
        pixels[i, j] += shares[i, j]


def _pixels(image: np.ndarray, k: int, grid: Grid) -> np.ndarray:
    """A view of the tiles' pixels: (k, k, N, rows, columns, stride, stride, C), phases behind tiles."""
    side, s = k * grid.stride, grid.stride
    squares = _windows(image, (side, side), (grid.step, grid.step), (grid.rows, grid.columns))
    return squares.reshape(*squares.shape[:3], k, s, k, s, image.shape[3]).transpose(3, 5, 0, 1, 2, 4, 6, 7)


def _windows(image: np.ndarray, size: tuple[int, int], step: tuple[int, int], places: tuple[int, int]) -> np.ndarray:
    """A view of all windows: image (N, H, W, C); (N, P, Q, kh, kw, C)."""
    every = sliding_window_view(image, size, axis=(1, 2), writeable=True)  # (N, ..., ..., C, kh, kw)
    return every[:, :: step[0], :: step[1]][:, : places[0], : places[1]].transpose(0, 1, 2, 4, 5, 3)


def cut_windows(image: np.ndarray, stride: tuple[int, int], out: np.ndarray) -> None:
    """Every window of a padded image: image (N, H, W, I); out (N, P, Q, kh, kw, I)."""
    out[...] = _windows(image, out.shape[3:5], stride, out.shape[1:3])


def add_windows(windows: np.ndarray, stride: tuple[int, int], image: np.ndarray) -> None:
    """The adjoint of `cut_windows`: add every window to the pixels it came from."""
    p, q, kh, kw, channels = windows.shape[1:]
    # NumPy's innermost loop is one over channels: of few it is left too soon, and they are taken one by one.
    some = range(channels) if channels < FEW else [slice(None)]
    for a, b in np.ndindex(kh, kw):
        for c in some:
            image[_window(a, b, p, q, stride)][..., c] += windows[:, :, :, a, b, c]


def depthwise(image: np.ndarray, w: np.ndarray, stride: tuple[int, int], out: np.ndarray) -> None:
    """Each channel convolved with its own kernel: padded image (N, H, W, C); w (kh, kw, C); out (N, P, Q, C)."""
    p, q = out.shape[1:3]
    out.fill(0)
    product = scratch("products", out.shape, out.dtype)
    for a, b in np.ndindex(*w.shape[:2]):
        out += np.multiply(image[_window(a, b, p, q, stride)], w[a, b], out=product)


def _window(a: int, b: int, p: int, q: int, stride: tuple[int, int]) -> tuple[slice, slice, slice]:
    """Pixel (a, b) of all windows at once: (N, P, Q, I)."""
    s, t = stride
    return slice(None), slice(a, a + s * (p - 1) + 1, s), slice(b, b + t * (q - 1) + 1, t)


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Mean and sum of squared distances from it, of each column: rows (R, C), both (C,) float64.

    Pieces are measured one by one and put together (Chan, Golub & LeVeque 1979): with :math:`\delta = \mu_b - \mu_a`

    .. math:: \mu = \mu_a + \delta\, \tfrac{n_b}{n}, \qquad M = M_a + M_b + \delta^2\, \tfrac{n_a n_b}{n}
    """
    mean, spread = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for part in _blocks_of(rows):
        piece, before = rows[part], part.start
        local = column_sums(piece) / len(piece)
        centred = piece - local.astype(rows.dtype)
        mean, spread = merge_moments(
            (before, mean, spread), (len(piece), local, column_sums(np.multiply(centred, centred, out=centred)))
        )
    return mean, spread


def merge_moments(a: tuple, b: tuple) -> tuple[np.ndarray, np.ndarray]:
    """(mean, M) of two sets together, each given as (count, mean, M)."""
    (n, mean_a, spread_a), (m, mean_b, spread_b) = a, b
    delta = mean_b - mean_a
    return mean_a + delta * (m / (n + m)), spread_a + spread_b + delta * delta * (n * m / (n + m))


def column_sums(rows: np.ndarray) -> np.ndarray:
    """The sum of each column, (C,) float64: rows (R, C), by pieces."""
    total = np.zeros(rows.shape[1])
    for part in _blocks_of(rows):
        total += np.ones(part.stop - part.start, rows.dtype) @ rows[part]
    return total


def _blocks_of(rows: np.ndarray) -> Iterator[slice]:
    """Pieces of the rows (R, C), of so few rows that a sum of a column keeps its digits."""
    return pieces(0, len(rows), max(1, min(ROWS, PIECE // max(1, rows.shape[1]))))


class Norm(NamedTuple):
    """Normalisation of columns, a = (x - mean) gain + beta: all (C,)."""

    mean: np.ndarray
    gain: np.ndarray  # gamma / sqrt(var + eps)
    beta: np.ndarray


def scale_shift(rows: np.ndarray, norm: Norm, slope: float, out: np.ndarray) -> None:
    """f(a), with a = (x - mean) gain + beta, and f(a) = a where a is positive, else slope a: rows and out (R, C).

    A slope of 1 is no activation.
    """
    for part in _blocks_of(rows):
        piece = np.subtract(rows[part], norm.mean, out=out[part])
        piece *= norm.gain
        piece += norm.beta
        if slope != 1:
            _larger(slope)(piece, slope * piece, out=piece)


def product_sums(dy: np.ndarray, rows: np.ndarray, norm: Norm, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Sums of da and of da (x - mean) over the rows, with da = f'(a) dy; both (C,) float64: dy and rows (R, C)."""
    total, product = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for part in _blocks_of(rows):
        distance = rows[part] - norm.mean
        da = _through(dy[part], distance, norm, slope)
        ones = np.ones(len(distance), rows.dtype)
        total += ones @ da
        product += ones @ np.multiply(distance, da, out=distance)
    return total, product


def combine(
    dy: np.ndarray, rows: np.ndarray, norm: Norm, slope: float, tilt: np.ndarray, shift: np.ndarray, out: np.ndarray
) -> None:
    """da gain - (x - mean) tilt - shift, with da = f'(a) dy: dy, rows and out (R, C), tilt and shift (C,)."""
    for part in _blocks_of(rows):
        distance = rows[part] - norm.mean
        piece = np.multiply(_through(dy[part], distance, norm, slope), norm.gain, out=out[part])
        distance *= tilt
        piece -= distance
        piece -= shift


def _through(dy: np.ndarray, distance: np.ndarray, norm: Norm, slope: float) -> np.ndarray:
    """f'(a) dy, with a = distance gain + beta."""
    if slope == 1:
        return dy
    a = distance * norm.gain
    a += norm.beta
    da = np.empty_like(a)
    leaky_backward(dy.reshape(-1), a.reshape(-1), slope, da.reshape(-1))
    return da


def leaky(x: np.ndarray, slope: float, out: np.ndarray) -> None:
    """x where it is positive, else slope x: flat arrays."""
    for part in pieces(0, len(x), PIECE):
        _larger(slope)(x[part], np.multiply(x[part], x.dtype.type(slope), out=out[part]), out=out[part])


def _larger(slope: float) -> np.ufunc:
    """Which of x and slope x is the leaky rectifier; selecting by a mask is slower."""
    return np.maximum if slope <= 1 else np.minimum


def leaky_backward(dy: np.ndarray, y: np.ndarray, slope: float, out: np.ndarray) -> None:
    """dy where y is positive, else slope dy: flat arrays."""
    for part in pieces(0, len(dy), PIECE):
        factor = np.greater(y[part], 0).astype(dy.dtype)  # 1 or 0, then 1 or slope
        if slope:
            factor *= dy.dtype.type(1 - slope)
            factor += dy.dtype.type(slope)
        np.multiply(dy[part], factor, out=out[part])


def masked(x: np.ndarray, keep: np.ndarray, scale: float, out: np.ndarray) -> None:
    """scale x where keep is true, else 0 (what is not finite stays so): flat arrays."""
    for part in pieces(0, len(x), PIECE):
        np.multiply(x[part], keep[part], out=out[part])
        out[part] *= x.dtype.type(scale)


def maxout(groups: np.ndarray, largest: np.ndarray, winner: np.ndarray) -> None:
    """The largest of each group, and where it is, the first one if several are equal.

    Parameters: groups (N, U, P); written: largest (N, U), winner (N, U, P) of booleans.
    """
    np.copyto(largest, groups[:, :, 0])
    for p in range(1, groups.shape[2]):
        np.maximum(largest, groups[:, :, p], out=largest)
    found = np.isnan(largest)  # nobody equals it
    for p in range(groups.shape[2]):
        np.equal(groups[:, :, p], largest, out=winner[:, :, p])
        winner[:, :, p] &= ~found
        found |= winner[:, :, p]


def maxout_backward(dy: np.ndarray, winner: np.ndarray, out: np.ndarray) -> None:
    """dy at the winner of each group, else 0: dy (N, U); winner and out (N, U, P)."""
    np.multiply(winner, dy[..., None], out=out)
