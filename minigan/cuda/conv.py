r"""Convolution by products that are shifted against each other and added up; see `minigan.functional.conv`.

Cut the padded image into blocks of s rows, s the stride. A window at place p begins at the top of block p, so its row
j s + i is row i of block p + j, at every place. With the *bands* (a block's rows, and their windows from left to right)

.. math:: u_{h\,n\,q,\; i\,b\,c} = x_{n,\; h s + i - p_t,\; q t + b - p_l,\; c}
          \qquad\text{it is}\qquad y_p = \sum_j u_{p + j}\; w_{j s \dots j s + s - 1}

The blocks are the first axis of the bands, so that u_{p + j} of all p is one matrix, which begins j blocks further down
in the same memory: ceil(k / s) products, with sums over s k C numbers each, and no number of the image is copied more
than k / t times (all windows together have k k / (s t) copies). The other two primitives are the same sum read
backwards. docs/gpu.md derives it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from minigan.backend import array_module
from minigan.cuda.cublas import product
from minigan.functional import conv as plain
from minigan.functional.patches import Geometry
from minigan.typing import Array, Shape


def conv2d(x: Array, w: Array, geometry: Geometry) -> Array:
    """See `minigan.functional.conv.conv2d`."""
    if min(geometry.out_size(x.shape[1:3], w.shape[:2])) < 1:
        return plain.conv2d(x, w, geometry)  # which says why not
    if x.shape[3] != w.shape[2] * geometry.groups:
        raise ValueError(f"x has {x.shape[3]} channels, w takes {w.shape[2]} in each of {geometry.groups} groups")
    bands = Bands.of(len(x), x.shape[1:3], w.shape[:2], geometry)
    y = array_module(x).empty((bands.places, w.shape[3]), dtype=x.dtype)  # (P N Q, O)
    out = _by_group(y, geometry.groups)
    for number, (u, taps) in enumerate(bands.runs(bands.cut(x), _weights(w, geometry.groups))):
        product(u, taps, out, add=number > 0)
    return bands.to_images(y)


def conv2d_input_grad(dy: Array, w: Array, size: tuple[int, int], geometry: Geometry) -> Array:
    """See `minigan.functional.conv.conv2d_input_grad`."""
    if dy.shape[1:3] != geometry.out_size(size, w.shape[:2]) or min(dy.shape[1:3]) < 1:
        return plain.conv2d_input_grad(dy, w, size, geometry)
    bands = Bands.of(len(dy), size, w.shape[:2], geometry)
    du = array_module(dy).empty(bands.shape(w.shape[2]), dtype=dy.dtype)
    rows = _by_group(bands.from_images(dy), geometry.groups)
    written = bands.first_product()
    du[:, written:] = 0
    for number, (part, taps) in enumerate(bands.runs(du, _weights(w, geometry.groups))):
        product(rows, taps.swapaxes(1, 2), part, add=number > 0 or written == 0)
    return bands.add_up(du)


def conv2d_weight_grad(x: Array, dy: Array, kernel: tuple[int, int], geometry: Geometry) -> Array:
    """See `minigan.functional.conv.conv2d_weight_grad`."""
    if dy.shape[1:3] != geometry.out_size(x.shape[1:3], kernel) or min(dy.shape[1:3]) < 1:
        return plain.conv2d_weight_grad(x, dy, kernel, geometry)
    bands = Bands.of(len(x), x.shape[1:3], kernel, geometry)
    dw = array_module(x).empty((*kernel, x.shape[3] // geometry.groups, dy.shape[3]), dtype=x.dtype)
    rows = _by_group(bands.from_images(dy), geometry.groups)
    for u, taps in bands.runs(bands.cut(x), _weights(dw, geometry.groups)):
        product(u.swapaxes(1, 2), rows, taps)
    return dw


def conv2d_bias_grad(dy: Array) -> Array:
    """See `minigan.functional.conv.conv2d_bias_grad`.

    First over the images: CuPy has a block of threads for each sum, and so few channels would keep the GPU idle.
    """
    return dy.sum(axis=0).sum(axis=(0, 1))


def _weights(w: Array, groups: int) -> Array:
    """A view of w (kh, kw, I/G, O): (G, kh kw I/G, O/G)."""
    return _by_group(array_module(w).ascontiguousarray(w).reshape(-1, w.shape[3]), groups)


def _by_group(rows: Array, groups: int) -> Array:
    """A view of rows (R, O): (G, R, O/G)."""
    return rows.reshape(len(rows), groups, rows.shape[1] // groups).swapaxes(0, 1)


class Run(NamedTuple):
    """Neighbouring taps of the kernel, along one axis, that lie in the same block of the image at every place."""

    taps: slice
    block: int  # how many blocks after the one in which the window begins
    phases: slice  # where in that block


@dataclass(frozen=True)
class Axis:
    """How windows move along the height or the width of the image."""

    size: int  # of the image
    before: int  # padding
    kernel: int
    stride: int  # the length of a block
    dilation: int
    places: int

    @property
    def runs(self) -> list[Run]:
        together = self.stride if self.dilation == 1 else 1
        found = []
        for tap in range(0, self.kernel, together):
            number = min(together, self.kernel - tap)
            block, phase = divmod(tap * self.dilation, self.stride)
            found.append(Run(slice(tap, tap + number), block, slice(phase, phase + number)))
        return found

    @property
    def blocks(self) -> int:
        """How many blocks the windows see."""
        return self.places + self.runs[-1].block

    @property
    def phases(self) -> int:
        """How much of each block the windows see."""
        return min(self.stride, self.dilation * (self.kernel - 1) + 1)

    @property
    def length(self) -> int:
        """Of all blocks; what lies behind them is seen by no window."""
        return self.blocks * self.stride

    @property
    def seen(self) -> int:
        """How much of the image lies in the blocks."""
        return max(0, min(self.size, self.length - self.before))


@dataclass(frozen=True)
class Bands:
    """The matrix of which every product takes a part, (G, H' N Q, phases kw I/G), and how images become it.

    H' is the number of blocks from top to bottom. Where there is one product only, nothing is shifted, and the images
    can stay the first axis: (G, N P Q, ...).
    """

    rows: Axis
    columns: Axis
    images: int
    groups: int

    @classmethod
    def of(cls, images: int, size: Shape, kernel: Shape, geometry: Geometry) -> "Bands":
        places, axes = geometry.out_size(size, kernel), []
        for axis in (0, 1):
            stride, dilation = geometry.stride[axis], geometry.dilation[axis]
            if places[axis] == 1:  # the window does not move: one block holds it
                stride = dilation * (kernel[axis] - 1) + 1
            axes.append(Axis(size[axis], geometry.padding[2 * axis], kernel[axis], stride, dilation, places[axis]))
        return cls(axes[0], axes[1], images, geometry.groups)

    @property
    def places(self) -> int:
        """P N Q."""
        return self.rows.places * self.images * self.columns.places

    def shape(self, channels: int) -> Shape:
        """Of the bands, of so many channels a group."""
        lines = self.rows.blocks * self.images * self.columns.places
        return self.groups, lines, self.rows.phases * self.columns.kernel * channels

    def first_product(self) -> int:
        """How many lines of the bands the first product sees, if it sees them whole; else 0."""
        return self.places if self.rows.runs[0].phases == slice(0, self.rows.phases) else 0

    def runs(self, bands: Array, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Of each product the part of the bands, (G, P N Q, taps kw I/G), and of the weights, (G, taps kw I/G, O/G)."""
        block, tap = self.images * self.columns.places, bands.shape[2] // self.rows.phases
        for run in self.rows.runs:
            lines = slice(run.block * block, run.block * block + self.places)
            part = bands[:, lines, run.phases.start * tap : run.phases.stop * tap]
            yield part, weights[:, run.taps.start * tap : run.taps.stop * tap]

    def cut(self, x: Array) -> Array:
        """The bands of x (N, H, W, I)."""
        blocks, columns = self._blocks(self._padded(x)), self.columns
        channels = blocks.shape[-1]
        if columns.kernel == columns.stride and columns.blocks == columns.places:  # no two windows share a column
            return array_module(x).ascontiguousarray(blocks).reshape(self.shape(channels))
        bands = array_module(x).empty(self.shape(channels), dtype=x.dtype)
        windows = self._windows(bands, blocks)
        for run in columns.runs:
            windows[..., run.taps, :] = self._seen(blocks, run)
        return bands

    def add_up(self, bands: Array) -> Array:
        """The adjoint of `cut`: every number of the bands is added to the pixel that it is of."""
        xp, rows, columns = array_module(bands), self.rows, self.columns
        channels = bands.shape[2] // (rows.phases * columns.kernel)
        padded = xp.zeros((self.images, rows.length, columns.length, self.groups * channels), dtype=bands.dtype)
        blocks = self._blocks(padded)
        windows = self._windows(bands, blocks)
        for run in columns.runs:
            target = self._seen(blocks, run)
            target += windows[..., run.taps, :]
        inner = self._inner(padded)
        if inner.shape[1:3] == (rows.size, columns.size):
            return xp.ascontiguousarray(inner)
        dx = xp.zeros((self.images, rows.size, columns.size, padded.shape[3]), dtype=bands.dtype)
        dx[:, : rows.seen, : columns.seen] = inner
        return dx

    def from_images(self, dy: Array) -> Array:
        """The places in the order of the bands, (P N Q, O): of dy (N, P, Q, O)."""
        ordered = dy.swapaxes(0, 1) if self._shifted else dy
        return array_module(dy).ascontiguousarray(ordered).reshape(self.places, dy.shape[3])

    def to_images(self, y: Array) -> Array:
        """The adjoint and inverse of `from_images`: (N, P, Q, O)."""
        if not self._shifted:
            return y.reshape(self.images, self.rows.places, self.columns.places, y.shape[1])
        ordered = y.reshape(self.rows.places, self.images, self.columns.places, y.shape[1])
        return array_module(y).ascontiguousarray(ordered.swapaxes(0, 1))

    @property
    def _shifted(self) -> bool:
        return self.rows.runs[-1].block > 0

    def _padded(self, x: Array) -> Array:
        """The blocks' part of the image with zeros around it, (N, H' s, W' t, I)."""
        rows, columns = self.rows, self.columns
        if rows.before == columns.before == 0 and rows.length <= rows.size and columns.length <= columns.size:
            return x[:, : rows.length, : columns.length]
        padded = array_module(x).zeros((self.images, rows.length, columns.length, x.shape[3]), dtype=x.dtype)
        self._inner(padded)[...] = x[:, : rows.seen, : columns.seen]
        return padded

    def _inner(self, padded: Array) -> Array:
        """Where the image lies in it."""
        (top, height), (left, width) = ((axis.before, axis.seen) for axis in (self.rows, self.columns))
        return padded[:, top : top + height, left : left + width]

    def _blocks(self, padded: Array) -> Array:
        """A view, (G, H', N, W', phases, t, I/G), or with N before H' if nothing is shifted."""
        rows, columns, groups = self.rows, self.columns, self.groups
        shape = (self.images, rows.blocks, rows.stride, columns.blocks, columns.stride)
        split = padded.reshape(*shape, groups, padded.shape[3] // groups)
        order = (5, 1, 0, 3, 2, 4, 6) if self._shifted else (5, 0, 1, 3, 2, 4, 6)
        return split.transpose(order)[:, :, :, :, : rows.phases]

    def _windows(self, bands: Array, blocks: Array) -> Array:
        """A view of the bands: (G, H', N, Q, phases, kw, I/G), or with N before H'."""
        columns = self.columns
        return bands.reshape(*blocks.shape[:3], columns.places, self.rows.phases, columns.kernel, blocks.shape[6])

    def _seen(self, blocks: Array, run: Run) -> Array:
        """A view of what some taps see at every place: (G, H', N, Q, phases, taps, I/G)."""
        return blocks[:, :, :, run.block : run.block + self.columns.places, :, run.phases]
