"""Convolution on the workers: with fewer products where that pays, else window by window as in the plain version.

Images are independent of each other, so a worker takes a few at a time: their windows stay in its cache until
they are multiplied, in memory that is used again for the next ones.
"""

import math

import numpy as np

from minigan.backend import expect_shape
from minigan.functional import conv as plain
from minigan.functional.patches import Geometry
from minigan.kernels import winograd
from minigan.kernels.blas import add_product
from minigan.kernels.blocks import pieces, surround
from minigan.kernels.loops import loops
from minigan.kernels.workers import scratch, share
from minigan.typing import Shape

WINDOWS = 1 << 18  # numbers in all the windows that are cut out at a time: 1 MiB of float32
ADDED = 1 << 16  # weights whose gradients are left to one worker: chosen, not measured
SMALL = 1 << 10  # rows of dy below which a second worker gains nothing for the bias


def conv2d(x: np.ndarray, w: np.ndarray, geometry: Geometry) -> np.ndarray:
    """See `minigan.functional.conv.conv2d`."""
    places = geometry.out_size(x.shape[1:3], w.shape[:2])
    if _channel_by_channel(x, w, geometry) and min(places) > 0:
        return _depthwise(x, w[:, :, 0], places, geometry)
    if _unusual(geometry, places) or x.shape[3] != w.shape[2]:
        return plain.conv2d(x, w, geometry)
    tiled = winograd.plan(len(x), x.shape[1:3], w.shape[:2], geometry, x.shape[3], w.shape[3])
    if tiled:
        return winograd.conv2d(x, w, tiled)
    if exchanged := _exchanged(geometry, w.shape, x.shape[1:3], places):
        return conv2d_input_grad(x, _turned(w), places, exchanged)
    y = np.empty((len(x), *places, w.shape[3]), x.dtype)
    matrix, rows = w.reshape(-1, w.shape[3]), y.reshape(-1, w.shape[3])  # (kh kw I, O), (N P Q, O)
    if w.size > WINDOWS:
        windows = _all_windows(x, w.shape[:2], places, geometry)
        share(lambda a, b: np.matmul(windows, matrix[:, a:b], out=rows[:, a:b]), w.shape[3], smallest=16)
        return y

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, _images(places, len(matrix))):
            np.matmul(_windows(x[some], w.shape[:2], places, geometry), matrix, out=y[some].reshape(-1, w.shape[3]))

    share(part, len(x))
    return y


def _depthwise(x: np.ndarray, w: np.ndarray, places: Shape, geometry: Geometry) -> np.ndarray:
    """Each channel with a kernel of its own, w (kh, kw, C): nothing for a matrix product to do, so none is made."""
    y, w = np.empty((len(x), *places, w.shape[2]), x.dtype), np.ascontiguousarray(w)

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, 1):
            loops.depthwise(_padded(x[some], geometry), w, geometry.stride, y[some])

    share(part, len(x))
    return y


def conv2d_input_grad(dy: np.ndarray, w: np.ndarray, size: tuple[int, int], geometry: Geometry) -> np.ndarray:
    """See `minigan.functional.conv.conv2d_input_grad`."""
    places, inputs = geometry.out_size(size, w.shape[:2]), w.shape[2]
    if _unusual(geometry, places) or dy.shape[1:] != (*places, w.shape[3]):
        return plain.conv2d_input_grad(dy, w, size, geometry)
    tiled = winograd.plan(len(dy), size, w.shape[:2], geometry, inputs, w.shape[3])
    if tiled:
        return winograd.conv2d_input_grad(dy, w, tiled)
    if exchanged := _exchanged(geometry, w.shape, size, places):
        return conv2d(dy, _turned(w), exchanged)
    dx = np.empty((len(dy), *size, inputs), dy.dtype)
    matrix = w.reshape(-1, w.shape[3]).T  # (O, kh kw I)
    rows = np.ascontiguousarray(dy).reshape(-1, w.shape[3])  # (N P Q, O)
    shape = (len(dy), *places, *w.shape[:3])
    columns = None
    if w.size > WINDOWS:
        columns = scratch("all windows", (len(rows), matrix.shape[1]), dy.dtype)
        share(lambda a, b: np.matmul(rows, matrix[:, a:b], out=columns[:, a:b]), matrix.shape[1], smallest=16)

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, _images(places, matrix.shape[1])):
            if columns is None:
                of = rows.reshape(len(dy), -1, w.shape[3])[some].reshape(-1, w.shape[3])
                windows = np.matmul(of, matrix, out=scratch("windows", (len(of), matrix.shape[1]), dy.dtype))
            else:
                windows = columns.reshape(shape)[some]
            padded = scratch("padded", _padded_shape(dx[some], geometry), dy.dtype)
            padded.fill(0)
            loops.add_windows(windows.reshape(-1, *shape[1:]), geometry.stride, padded)
            dx[some] = _inner(padded, size, geometry)

    share(part, len(dy))
    return dx


def conv2d_weight_grad(
    x: np.ndarray, dy: np.ndarray, kernel: tuple[int, int], geometry: Geometry, total: np.ndarray | None = None
) -> np.ndarray:
    """See `minigan.functional.conv.conv2d_weight_grad`."""
    dw = _weight_grad(x, dy, kernel, geometry)
    if total is None:
        return dw
    expect_shape("total", total, dw.shape)

    def add(i: int, j: int) -> None:
        total[:, :, i:j] += dw[:, :, i:j]

    share(add, dw.shape[2], smallest=1 + ADDED // max(1, len(dw) * dw.shape[1] * dw.shape[3]))
    return total


def _weight_grad(x: np.ndarray, dy: np.ndarray, kernel: tuple[int, int], geometry: Geometry) -> np.ndarray:
    places = geometry.out_size(x.shape[1:3], kernel)
    if _unusual(geometry, places) or dy.shape[:3] != (len(x), *places):
        return plain.conv2d_weight_grad(x, dy, kernel, geometry)
    tiled = winograd.plan(len(x), x.shape[1:3], kernel, geometry, x.shape[3], dy.shape[3])
    if tiled:
        return winograd.conv2d_weight_grad(x, dy, tiled)
    if exchanged := _exchanged(geometry, (*kernel, x.shape[3], dy.shape[3]), x.shape[1:3], places):
        return _turned(_weight_grad(dy, x, kernel, exchanged))
    shape = (kernel[0] * kernel[1] * x.shape[3], dy.shape[3])
    if math.prod(shape) > WINDOWS:
        windows, rows = _all_windows(x, kernel, places, geometry), np.ascontiguousarray(dy).reshape(-1, shape[1])
        dw = np.empty(shape, x.dtype)
        share(lambda a, b: np.matmul(windows[:, a:b].T, rows, out=dw[a:b]), shape[0], smallest=16)
        return dw.reshape(*kernel, x.shape[3], shape[1])

    def part(start: int, stop: int) -> np.ndarray:
        total = np.zeros(shape, x.dtype)
        for some in pieces(start, stop, _images(places, shape[0])):
            rows = np.ascontiguousarray(dy[some]).reshape(-1, shape[1])
            add_product(_windows(x[some], kernel, places, geometry).T, rows, total)
        return total

    return np.sum(share(part, len(x)), axis=0).reshape(*kernel, x.shape[3], shape[1])


def conv2d_bias_grad(dy: np.ndarray, total: np.ndarray | None = None) -> np.ndarray:
    """See `minigan.functional.conv.conv2d_bias_grad`."""
    rows = np.ascontiguousarray(dy).reshape(-1, dy.shape[-1])  # (N P Q, O)
    sums = share(lambda a, b: loops.column_sums(rows[a:b]), len(rows), SMALL)
    db = np.sum(sums, axis=0).astype(dy.dtype)
    return db if total is None else np.add(total, db, out=total)


def _unusual(geometry: Geometry, places: Shape) -> bool:
    """Left to the plain version: dilated and grouped convolutions, as no recipe has one; what it refuses."""
    return geometry.dilation != (1, 1) or geometry.groups != 1 or min(places) < 1


def _channel_by_channel(x: np.ndarray, w: np.ndarray, geometry: Geometry) -> bool:
    """Whether every channel is a group, as in networks for small devices; only their forward pass has a loop."""
    return geometry.dilation == (1, 1) and geometry.groups == x.shape[3] == w.shape[3] > 1 == w.shape[2]


def _exchanged(geometry: Geometry, weights: Shape, size: Shape, places: Shape) -> Geometry | None:
    """The geometry in which image and output change places, if their windows are smaller that way.

    Of stride 1, a convolution is the input gradient of the convolution by the turned kernel from its output to its
    image: y = conv2d(x, w) = conv2d_input_grad(x, turned w). There the windows hold O channels instead of I. But
    there is one for each pixel of the image instead of each place of the output: of a 4 x 4 image that becomes one
    place 16, with 16 times the products, nearly all of them with the zeros around it.
    """
    if math.prod(size) > 1.25 * math.prod(places):
        return None
    kh, kw, inputs, outputs = weights
    top, bottom, left, right = geometry.padding
    padding = (kh - 1 - top, kh - 1 - bottom, kw - 1 - left, kw - 1 - right)
    if (kh, kw) == (1, 1) or geometry.stride != (1, 1) or outputs >= inputs or min(padding) < 0:
        return None
    return Geometry(padding=padding)


def _turned(w: np.ndarray) -> np.ndarray:
    """The kernel turned by 180 degrees, from the outputs to the inputs: (kh, kw, I, O) to (kh, kw, O, I)."""
    return np.ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3))


def _images(places: Shape, window: int) -> int:
    """How many images have windows enough for a matrix product, and few enough for the cache."""
    return max(1, WINDOWS // (places[0] * places[1] * window))


def _windows(x: np.ndarray, kernel: Shape, places: Shape, geometry: Geometry) -> np.ndarray:
    """Every window as a row, (N P Q, kh kw I), in scratch memory."""
    padded = _padded(x, geometry)
    if kernel == geometry.stride == (1, 1):  # every pixel is a window
        return padded.reshape(-1, x.shape[3])
    windows = scratch("windows", (len(x), *places, *kernel, x.shape[3]), x.dtype)
    loops.cut_windows(padded, geometry.stride, windows)
    return windows.reshape(len(x) * places[0] * places[1], -1)


def _padded(x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The images with zeros around them, in scratch memory; themselves where there is nothing to add."""
    if not any(geometry.padding) and x.flags.c_contiguous:
        return x
    top, _, left, _ = geometry.padding
    return surround(x, top, left, scratch("padded", _padded_shape(x, geometry), x.dtype))


def _all_windows(x: np.ndarray, kernel: Shape, places: Shape, geometry: Geometry) -> np.ndarray:
    """The same of all images, cut by the workers; for weights so large that they should be read only once."""
    window = kernel[0] * kernel[1] * x.shape[3]
    windows = scratch("all windows", (len(x), places[0] * places[1], window), x.dtype)

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, _images(places, window)):
            windows[some] = _windows(x[some], kernel, places, geometry).reshape(windows[some].shape)

    share(part, len(x))
    return windows.reshape(-1, window)


def _padded_shape(x: np.ndarray, geometry: Geometry) -> Shape:
    top, bottom, left, right = geometry.padding
    return len(x), x.shape[1] + top + bottom, x.shape[2] + left + right, x.shape[3]


def _inner(padded: np.ndarray, size: Shape, geometry: Geometry) -> np.ndarray:
    """Where the image lies in its padded form."""
    top, _, left, _ = geometry.padding
    return padded[:, top : top + size[0], left : left + size[1]]
