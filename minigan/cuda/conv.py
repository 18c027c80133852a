r"""Convolution by products that are shifted against each other and added up; see `minigan.functional.conv`.

Cut the padded image into blocks of s rows, s the stride. A window at place p begins at the top of block p, so its row
j s + i is row i of block p + j, at every place. With the *bands* (a block's rows, and their windows from left to right)

.. math:: u_{h\,n\,q,\; i\,b\,c} = x_{n,\; h s + i - p_t,\; q t + b - p_l,\; c}
          \qquad\text{it is}\qquad y_p = \sum_j u_{p + j}\; w_{j s \dots j s + s - 1}

The blocks are the first axis of the bands, so that u_{p + j} of all p is one matrix, which begins j blocks further down
in the same memory: ceil(k / s) products, with sums over s k C numbers each, and no number of the image is copied more
than k / t times (all windows together have k k / (s t) copies). The other two primitives are the same sum read
backwards. Where an image has so few channels that its windows are less than what the second product reads and writes of
y, the windows are bands of their own: one product. docs/gpu.md derives it; bands.cu cuts the bands and adds them up.

In TF32 most convolutions go another way, see implicit_gemm.py.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minigan.backend import array_module
from minigan.cuda import implicit_gemm
from minigan.cuda.aside import aside
from minigan.cuda.batchnorm import column_sums
from minigan.cuda.cublas import product
from minigan.cuda.launch import launch_lines
from minigan.cuda.layout import contiguous, flat, rows_first, side_by_side
from minigan.functional import conv as plain
from minigan.functional.patches import Geometry
from minigan.typing import Array, Shape

MOST = 2**30  # pixels, and lines of bands, that bands.cu counts without overflow


class Seen(NamedTuple):
    """An image with its bands."""

    x: Array  # (N, H, W, I)
    u: Array  # (G, H' N Q, phases kw I/G)

    @property
    def shape(self) -> Shape:
        return self.x.shape


def conv2d(x: Array, w: Array, geometry: Geometry) -> Array:
    """See `minigan.functional.conv.conv2d`."""
    return conv2d_and_seen(x, w, geometry)[0]


def conv2d_and_seen(x: Array, w: Array, geometry: Geometry) -> tuple[Array, Array | Seen]:
    """See `minigan.ops.conv2d_and_seen`: the bands, where there are any, need to be cut only once."""
    if min(geometry.out_size(x.shape[1:3], w.shape[:2])) < 1:
        plain.conv2d(x, w, geometry)  # raises
    if x.shape[3] != w.shape[2] * geometry.groups:
        raise ValueError(f"x has {x.shape[3]} channels, w takes {w.shape[2]} in each of {geometry.groups} groups")
    bands = Bands.of(x.shape, w.shape[:2], geometry, w.shape[3])
    y = array_module(x).empty((bands.places, w.shape[3]), dtype=x.dtype)  # (P N Q, O)
    if implicit_gemm.takes(x.shape, w.shape, bands.to_images(y).shape, geometry, x, weights=w):
        return implicit_gemm.conv2d(x, w, geometry, bands.to_images(y)), x
    out, seen = _by_group(y, geometry.groups), Seen(x, bands.cut(x))
    for number, (u, taps) in enumerate(bands.runs(seen.u, _weights(w, geometry.groups))):
        product(u, taps, out, add=number > 0)
    return bands.to_images(y), seen


def conv2d_input_grad(dy: Array, w: Array, size: tuple[int, int], geometry: Geometry) -> Array:
    """See `minigan.functional.conv.conv2d_input_grad`."""
    if dy.shape[1:3] != geometry.out_size(size, w.shape[:2]) or min(dy.shape[1:3]) < 1:
        return plain.conv2d_input_grad(dy, w, size, geometry)
    bands = Bands.of((len(dy), *size, w.shape[2] * geometry.groups), w.shape[:2], geometry, w.shape[3])
    if implicit_gemm.takes((len(dy), *size, w.shape[2]), w.shape, dy.shape, geometry, dy, weights=w):
        dx = bands.empty_images(w.shape[2], dy)
        return implicit_gemm.conv2d_input_grad(dy, w, geometry, dx)
    du = array_module(dy).empty(bands.shape(w.shape[2]), dtype=dy.dtype)
    rows = _by_group(bands.from_images(dy), geometry.groups)
    written = bands.first_product()
    du[:, written:] = 0
    for number, (part, taps) in enumerate(bands.runs(du, _weights(w, geometry.groups))):
        product(rows, taps.swapaxes(1, 2), part, add=number > 0 or written == 0)
    return bands.add_up(du)


def conv2d_weight_grad(
    x: Array | Seen, dy: Array, kernel: tuple[int, int], geometry: Geometry, total: Array | None = None
) -> Array:
    """See `minigan.functional.conv.conv2d_weight_grad`; products add to the total, which has no gaps, maybe aside."""
    if dy.shape[1:3] != geometry.out_size(x.shape[1:3], kernel) or min(dy.shape[1:3]) < 1:
        return plain.conv2d_weight_grad(x.x if isinstance(x, Seen) else x, dy, kernel, geometry, total)
    if len(dy) != x.shape[0]:
        raise ValueError(f"x has {x.shape[0]} images, dy has {len(dy)}")
    if x.shape[3] % geometry.groups:
        raise ValueError(f"x has {x.shape[3]} channels, which do not fall into {geometry.groups} groups")
    shape = *kernel, x.shape[3] // geometry.groups, dy.shape[3]
    if total is not None and not (total.shape == shape and total.flags.c_contiguous):
        raise ValueError(f"total must lie in one piece, of shape {shape}; its shape is {total.shape}")
    bands = Bands.of(x.shape, kernel, geometry, dy.shape[3])
    if total is None:
        return _weight_products(bands, x, dy, array_module(dy).empty(shape, dy.dtype), geometry, add=False)
    with aside(*(x if isinstance(x, Seen) else (x,)), dy):
        return _weight_products(bands, x, dy, total, geometry, add=True)


def _weight_products(bands: "Bands", x: Array | Seen, dy: Array, dw: Array, geometry: Geometry, add: bool) -> Array:
    if not isinstance(x, Seen) and implicit_gemm.takes(x.shape, dw.shape, dy.shape, geometry, x, dy, dw):
        return implicit_gemm.conv2d_weight_grad(x, dy, geometry, dw, add)
    cut, rows = x.u if isinstance(x, Seen) else bands.cut(x), _by_group(bands.from_images(dy), bands.groups)
    for u, taps in bands.runs(cut, _weights(dw, bands.groups)):
        product(u.swapaxes(1, 2), rows, taps, add=add)
    return dw


def conv2d_bias_grad(dy: Array, total: Array | None = None) -> Array:
    """See `minigan.functional.conv.conv2d_bias_grad`."""
    return column_sums(dy, total)


def _weights(w: Array, groups: int) -> Array:
    """A view of w (kh, kw, I/G, O): (G, kh kw I/G, O/G)."""
    return _by_group(contiguous(w).reshape(-1, w.shape[3]), groups)


def _by_group(rows: Array, groups: int) -> Array:
    """A view of rows (R, O): (G, R, O/G)."""
    return rows.reshape(len(rows), groups, rows.shape[1] // groups).swapaxes(0, 1)


class Run(NamedTuple):
    """Neighbouring taps of the kernel, from top to bottom, that lie in the same block at every place."""

    taps: slice
    block: int  # how many blocks after the one in which the window begins
    phases: slice  # where in that block


class Axis(NamedTuple):
    """How windows move along the height or the width of the image."""

    size: int  # of the image
    before: int  # padding
    kernel: int
    stride: int  # from one block to the next
    dilation: int
    places: int

    @property
    def overlap(self) -> bool:
        """Whether neighbouring windows see a pixel, or one between those that they see, in common."""
        return self.dilation * (self.kernel - 1) >= self.stride

    @property
    def one_each(self) -> bool:
        """Whether the windows lie side by side and cover the image, no more and no less."""
        return self.before == 0 and self.kernel == self.stride and self.places * self.stride == self.size


def _axis(number: int, size: Shape, kernel: Shape, geometry: Geometry) -> Axis:
    stride, dilation = geometry.stride[number], geometry.dilation[number]
    places = geometry.out_size(size, kernel)[number]
    if places == 1:  # the window does not move: one block holds it
        stride = dilation * (kernel[number] - 1) + 1
    return Axis(size[number], geometry.padding[2 * number], kernel[number], stride, dilation, places)


def _runs(rows: Axis) -> tuple[Run, ...]:
    """Taps of a dilated kernel are no neighbours: each is a run of its own."""
    together, found = rows.stride if rows.dilation == 1 else 1, []
    for tap in range(0, rows.kernel, together):
        number = min(together, rows.kernel - tap)
        block, phase = divmod(tap * rows.dilation, rows.stride)
        found.append(Run(slice(tap, tap + number), block, slice(phase, phase + number)))
    return tuple(found)


def _exchanged(shape: Shape) -> Shape:
    return shape[1], shape[0], *shape[2:]


@dataclass(frozen=True)
class Bands:
    """The matrix of which every product takes a part, (G, H' N Q, phases kw I/G), and how images become it.

    Where windows do not overlap from top to bottom, nothing is shifted, and the images can stay the first axis:
    (G, N P Q, ...).
    """

    rows: Axis
    columns: Axis
    images: int
    groups: int
    taken: tuple[Run, ...]  # the rows of the kernel, one product each

    @classmethod
    def of(cls, shape: Shape, kernel: Shape, geometry: Geometry, outputs: int) -> "Bands":
        """Those of images (N, H, W, I) for so many channels of the output: bands, or windows if these are no more than
        the output and less to do.
        """
        rows, columns = (_axis(number, shape[1:3], kernel, geometry) for number in (0, 1))
        bands = cls(rows, columns, shape[0], geometry.groups, _runs(rows))
        windows = replace(bands, taken=(Run(slice(0, rows.kernel), 0, slice(0, rows.kernel)),))
        channels = shape[3] // geometry.groups
        y, size = bands.places * outputs, math.prod(windows.shape(channels))  # numbers
        more = size - math.prod(bands.shape(channels))  # to be written
        less = 2 * (len(bands.taken) - 1) * y  # to be read and written again
        return windows if rows.dilation == 1 and size <= y and more < less else bands

    @property
    def blocks(self) -> int:
        """H', from top to bottom."""
        return self.rows.places + self.taken[-1].block

    @property
    def phases(self) -> int:
        """How many rows belong to a block: more than from it to the next one, if it is a whole window."""
        return max(run.phases.stop for run in self.taken)

    @property
    def places(self) -> int:
        """P N Q."""
        return self.rows.places * self.images * self.columns.places

    def shape(self, channels: int) -> Shape:
        """Of the bands, of so many channels a group."""
        return self.groups, self._lines, self.phases * self.columns.kernel * channels

    def first_product(self) -> int:
        """How many lines of the bands the first product sees, if it sees them whole; else 0."""
        return self.places if self.taken[0].phases == slice(0, self.phases) else 0

    def runs(self, bands: Array, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Of each product the part of the bands, (G, P N Q, taps kw I/G), and of the weights, (G, taps kw I/G, O/G)."""
        block, tap = self.images * self.columns.places, bands.shape[2] // self.phases
        for run in self.taken:
            lines = slice(run.block * block, run.block * block + self.places)
            part = bands[:, lines, run.phases.start * tap : run.phases.stop * tap]
            yield part, weights[:, run.taps.start * tap : run.taps.stop * tap]

    def cut(self, x: Array) -> Array:
        """The bands of x (N, H, W, I)."""
        channels = x.shape[3] // self.groups
        if self._as_they_lie:
            return contiguous(x).reshape(self.shape(channels))
        x, bands = side_by_side(x), array_module(x).empty(self.shape(channels), dtype=x.dtype)
        lengths = {"lines": self._lines, "width": self.columns.kernel * channels}
        sizes = self._sizes(channels, rows_first(x))
        launch_lines("bands", "cut", flat(x), bands, *sizes, groups=self.groups, **lengths)
        return bands

    def add_up(self, bands: Array) -> Array:
        """The adjoint of `cut`: every number of the bands is added to the pixel that it is of.

        The images lie as those of `to_images`.
        """
        channels = bands.shape[2] // (self.phases * self.columns.kernel)
        shape = self.images, self.rows.size, self.columns.size, self.groups * channels
        if self._as_they_lie:
            return bands.reshape(shape)
        dx = self.empty_images(channels * self.groups, bands)
        lengths = {"lines": self.images * self.rows.size * self.columns.size, "width": channels}
        sizes = self._sizes(channels, self._shifted)
        launch_lines("bands", "add_up", bands, flat(dx), *sizes, groups=self.groups, **lengths)
        return dx

    def empty_images(self, channels: int, like: Array) -> Array:
        """Memory for the images (N, H, W, channels), whose rows lie first where those of the places do."""
        shape = self.images, self.rows.size, self.columns.size, channels
        dx = array_module(like).empty(_exchanged(shape) if self._shifted else shape, dtype=like.dtype)
        return dx.swapaxes(0, 1) if self._shifted else dx

    def from_images(self, dy: Array) -> Array:
        """The places in the order of the bands, (P N Q, O): of dy (N, P, Q, O), copied if it does not lie so."""
        return contiguous(dy.swapaxes(0, 1) if self._shifted else dy).reshape(self.places, dy.shape[3])

    def to_images(self, y: Array) -> Array:
        """The adjoint and inverse of `from_images`: (N, P, Q, O), whose rows stay first where they lie first."""
        shape = self.images, self.rows.places, self.columns.places, y.shape[1]
        return y.reshape(_exchanged(shape)).swapaxes(0, 1) if self._shifted else y.reshape(shape)

    @property
    def _lines(self) -> int:
        return self.blocks * self.images * self.columns.places

    @property
    def _shifted(self) -> bool:
        return self.rows.overlap

    @property
    def _as_they_lie(self) -> bool:
        """Whether the bands are the images themselves: pixel by pixel, or one window that sees all of the image."""
        in_order = self.groups == 1 and (self.rows.stride == 1 or self.columns.places == 1)
        return in_order and self.rows.one_each and self.columns.one_each

    def _sizes(self, channels: int, by_rows: bool) -> tuple[np.generic, ...]:
        """BANDS of bands.cu; `by_rows`: whether the images lie with their rows first."""
        rows, columns = self.rows, self.columns
        if max(self._lines, self.images * rows.size * columns.size) > MOST:
            raise ValueError(f"{self.images} images of {rows.size} x {columns.size} pixels are too many at once")
        sizes = (self.images, rows.size, columns.size, channels, self.blocks, columns.places, self.phases)
        steps = (columns.kernel, rows.stride, columns.stride, columns.dilation, rows.before, columns.before)
        return *map(np.int32, sizes + steps), np.bool_(self._shifted), np.bool_(by_rows)
