r"""Convolution with fewer products: tiles of the image and of the output, by the matrices of Toom and Cook.

A window that moves by s pixels sees, in each of the s x s phases of the image, a window that moves by one. So a
convolution of stride 2 and kernel 4 is one of stride 1 and kernel 2 over an image of half the size and four
times the channels (space to depth), and F(m, r) of `minigan.kernels.toom_cook` applies with r = ceil(k / s):

.. math:: Y = A^\top \Big[ \sum_c (G g_c G^\top) \odot (B^\top D_c B) \Big] A

All three primitives are this bilinear form read three ways, as in `minigan.functional.conv`; with
:math:`V = B^\top D B`, :math:`U = G g G^\top`, :math:`E = A\, dY A^\top`, at each of the n x n places

* output: :math:`Y = A^\top (V U) A`,
* input gradient: :math:`dD = B\, (E U^\top)\, B^\top`, added where tiles overlap,
* weight gradient: :math:`dg = G^\top (V^\top E)\, G`.

The products over channels are matrix products of BLAS. Per output, n^2 s^2 / (m^2 k^2) of the definition's
are left: 0.39 for kernel 4 and stride 2, 0.36 for 5 and 2, 0.25 for 3 and 1.
"""

from dataclasses import dataclass

import numpy as np

from minigan.functional.patches import Geometry
from minigan.kernels.blas import add_product
from minigan.kernels.blocks import Grid, pieces, surround
from minigan.kernels.kept import made_of
from minigan.kernels.loops import loops
from minigan.kernels.toom_cook import ToomCook, toom_cook
from minigan.kernels.workers import scratch, share
from minigan.typing import Shape

TILES = 128  # tiles a worker takes at a time: enough rows for a matrix product, few enough for its cache
WEIGHT_TILES = 1024  # the same for the weight gradient, which adds a whole set of products for each time
TURNED = 3000  # tiles of an input gradient above which BLAS multiplies turned weights sooner if they are copied first
OVERHEAD = 100  # rows of a matrix product whose time goes into making and reading its weights
MOVE = 30  # multiply-adds in the time that a number of a window takes from and to memory,
TRANSFORM = 30  # and one of a tile, which is transformed on the way,
LANES = 16  # so many channels at once, if they are fewer too


@dataclass(frozen=True)
class Plan:
    """How a convolution falls into tiles: F(m, r) on each axis."""

    form: ToomCook
    stride: int  # s
    kernel: int  # k
    top: int  # padding
    left: int
    size: tuple[int, int]  # (H, W) of the image
    places: tuple[int, int]  # (P, Q) of the output

    @property
    def tiling(self) -> tuple[int, int]:
        """Tiles from top to bottom and from left to right; the last ones may reach over the edge."""
        m = self.form.m
        return -(-self.places[0] // m), -(-self.places[1] // m)

    @property
    def inputs(self) -> Grid:
        """The tiles of the padded image."""
        return Grid(*self.tiling, self.stride * self.form.m, self.stride)

    @property
    def outputs(self) -> Grid:
        """The tiles of the output."""
        return Grid(*self.tiling, self.form.m, 1)

    def input_tiles(self, x: np.ndarray, v: np.ndarray | None = None, first: int = 0) -> np.ndarray:
        """V = B^T D B of every tile, (n n, tiles, s s I), here or in v from `first` on: x (N, H, W, I)."""
        padded = scratch("padded", (len(x), *self._padded_size(), x.shape[3]), x.dtype)
        surround(x, self.top, self.left, padded)
        if v is None:
            v = scratch("input tiles", self._tiles_shape(len(x), self.stride**2 * x.shape[3]), x.dtype)
        return loops.gather(padded, self.form.bt.astype(x.dtype), self.inputs, v, first)

    def add_inputs(self, dv: np.ndarray, dx: np.ndarray) -> None:
        """The adjoint of `input_tiles`: B dV B^T of every tile, into dx (N, H, W, I)."""
        padded = scratch("padded", (len(dx), *self._padded_size(), dx.shape[3]), dx.dtype)
        padded.fill(0)
        loops.scatter(dv, self.form.bt.astype(dx.dtype), self.inputs, padded)
        surround(self._inner(padded), 0, 0, dx)

    def output_tiles(self, dy: np.ndarray, e: np.ndarray | None = None, first: int = 0) -> np.ndarray:
        """E = A dY A^T of every tile, (n n, tiles, O), here or in e from `first` on: dy (N, P, Q, O)."""
        whole = self._whole_tiles(dy.shape)
        if whole != dy.shape:
            dy = surround(dy, 0, 0, scratch("whole tiles", whole, dy.dtype))
        if e is None:
            e = scratch("output tiles", self._tiles_shape(len(dy), dy.shape[3]), dy.dtype)
        return loops.gather(dy, self.form.at.T.astype(dy.dtype), self.outputs, e, first)

    def add_outputs(self, product: np.ndarray, y: np.ndarray) -> None:
        """The adjoint of `output_tiles`: Y = A^T (V U) A of every tile, into y (N, P, Q, O)."""
        whole = self._whole_tiles(y.shape)
        target = y if whole == y.shape else scratch("whole tiles", whole, y.dtype)
        target.fill(0)
        loops.scatter(product, self.form.at.T.astype(y.dtype), self.outputs, target)
        if target is not y:
            y[...] = target[:, : y.shape[1], : y.shape[2]]

    def weights(self, w: np.ndarray) -> np.ndarray:
        """U = G g G^T for each pair of channels, (n n, s s I, O): w (k, k, I, O)."""
        g, s, r = self.form.g.astype(w.dtype), self.stride, self.form.r
        inputs, outputs = w.shape[2:]
        taps = w
        if self.kernel < r * s:
            taps = np.zeros((r * s, r * s, inputs, outputs), w.dtype)
            taps[: self.kernel, : self.kernel] = w
        phases = taps.reshape(r, s, r, s, inputs, outputs).transpose(0, 2, 1, 3, 4, 5).reshape(r * r, -1)
        matrix = np.kron(g, g)  # (n n, r r)
        u = np.empty((len(matrix), phases.shape[1]), w.dtype)
        share(lambda a, b: np.matmul(matrix, phases[:, a:b], out=u[:, a:b]), phases.shape[1], smallest=1 << 15)
        return u.reshape(-1, s * s * inputs, outputs)

    def weight_gradient(self, du: np.ndarray) -> np.ndarray:
        """The adjoint of `weights`: G^T dU G, (k, k, I, O)."""
        g, s, r = self.form.g.astype(du.dtype), self.stride, self.form.r
        outputs = du.shape[2]
        matrix, places = np.kron(g, g).T, du.reshape(len(du), -1)  # (r r, n n)
        phases = np.empty((r * r, places.shape[1]), du.dtype)
        share(lambda a, b: np.matmul(matrix, places[:, a:b], out=phases[:, a:b]), places.shape[1], smallest=1 << 15)
        taps = phases.reshape(r, r, s, s, -1, outputs).transpose(0, 2, 1, 3, 4, 5).reshape(r * s, r * s, -1, outputs)
        return taps[: self.kernel, : self.kernel]

    def images(self, number: int) -> int:
        """How many images have about so many tiles."""
        return max(1, number // (self.tiling[0] * self.tiling[1]))

    def _tiles_shape(self, images: int, channels: int) -> tuple[int, int, int]:
        return len(self.form.bt) ** 2, images * self.tiling[0] * self.tiling[1], channels

    def _padded_size(self) -> tuple[int, int]:
        reach = self.form.r - 1  # how far the last window reaches over its tile
        rows, columns = self.tiling
        return self.stride * (rows * self.form.m + reach), self.stride * (columns * self.form.m + reach)

    def _inner(self, padded: np.ndarray) -> np.ndarray:
        """Where the image lies in its padded form; what no window sees is cut off."""
        return padded[:, self.top : self.top + self.size[0], self.left : self.left + self.size[1]]

    def _whole_tiles(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        m = self.form.m
        return shape[0], self.tiling[0] * m, self.tiling[1] * m, shape[3]


def plans(size: Shape, kernel: Shape, geometry: Geometry) -> list[Plan]:
    """The ways to compute a convolution by tiles, none for most geometries."""
    k, s = kernel[0], geometry.stride[0]
    r = -(-k // s)
    if kernel != (k, k) or geometry.stride != (s, s) or s > 2 or r not in (2, 3):
        return []
    if geometry.dilation != (1, 1) or geometry.groups != 1:
        return []
    places, top, left = geometry.out_size(size, kernel), geometry.padding[0], geometry.padding[2]
    return [Plan(toom_cook(m, r), s, k, top, left, (size[0], size[1]), places) for m in (2, 4)]


def plan(batch: int, size: Shape, kernel: Shape, geometry: Geometry, inputs: int, outputs: int) -> Plan | None:
    """The best way for so many images; None if from the definition, with windows, is the best.

    Compared are multiply-adds; each number of a window or a tile that is written and read counts for `MOVE` or
    `TRANSFORM` of them, and each set of weights for `OVERHEAD` rows.
    """
    places, window = geometry.out_size(size, kernel), kernel[0] * kernel[1] * inputs
    rows = batch * places[0] * places[1]
    best, least = None, window * (outputs * (rows + OVERHEAD) + MOVE * rows)
    for found in plans(size, kernel, geometry):
        tiles, phases = batch * found.tiling[0] * found.tiling[1], found.stride**2
        moved = (phases * max(inputs, LANES) + max(outputs, LANES)) * tiles
        work = phases * inputs * outputs * (tiles + OVERHEAD) + TRANSFORM * moved
        if len(found.form.bt) ** 2 * work < least:
            best, least = found, len(found.form.bt) ** 2 * work
    return best


def conv2d(x: np.ndarray, w: np.ndarray, plan: Plan) -> np.ndarray:
    """See `minigan.functional.conv.conv2d`."""
    u = made_of(w, plan.weights, (plan.form, plan.stride))  # (n n, s s I, O)
    y = np.empty((len(x), *plan.places, w.shape[3]), x.dtype)

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, plan.images(TILES)):
            plan.add_outputs(_products(plan.input_tiles(x[some]), u), y[some])

    share(part, len(x))
    return y


def conv2d_input_grad(dy: np.ndarray, w: np.ndarray, plan: Plan) -> np.ndarray:
    """See `minigan.functional.conv.conv2d_input_grad`."""
    u = made_of(w, plan.weights, (plan.form, plan.stride)).swapaxes(1, 2)  # (n n, O, s s I)
    if len(dy) * plan.tiling[0] * plan.tiling[1] > TURNED:
        u = np.ascontiguousarray(u)
    dx = np.empty((len(dy), *plan.size, w.shape[2]), dy.dtype)

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, plan.images(TILES)):
            plan.add_inputs(_products(plan.output_tiles(dy[some]), u), dx[some])

    share(part, len(dy))
    return dx


def conv2d_weight_grad(x: np.ndarray, dy: np.ndarray, plan: Plan) -> np.ndarray:
    """See `minigan.functional.conv.conv2d_weight_grad`."""
    du = np.zeros((len(plan.form.bt) ** 2, plan.stride**2 * x.shape[3], dy.shape[3]), x.dtype)  # (n n, s s I, O)
    for some in pieces(0, len(x), plan.images(WEIGHT_TILES)):
        _add_weight_products(x[some], dy[some], plan, du, first=some.start == 0)
    return plan.weight_gradient(du)


def _add_weight_products(x: np.ndarray, dy: np.ndarray, plan: Plan, du: np.ndarray, first: bool) -> None:
    """dU += V^T E, or = for the first images: tiles are shared out by images, products by the n n places."""
    tiles = plan.tiling[0] * plan.tiling[1]
    v = scratch("all input tiles", (len(du), len(x) * tiles, du.shape[1]), x.dtype)
    e = scratch("all output tiles", (len(du), len(x) * tiles, du.shape[2]), x.dtype)

    def transform(start: int, stop: int) -> None:
        for some in pieces(start, stop, plan.images(TILES)):
            plan.input_tiles(x[some], v, some.start * tiles)
            plan.output_tiles(dy[some], e, some.start * tiles)

    def multiply(start: int, stop: int) -> None:
        for place in range(start, stop):
            if first:
                np.matmul(v[place].T, e[place], out=du[place])
            else:
                add_product(v[place].T, e[place], du[place])

    share(transform, len(x))
    share(multiply, len(du))


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The matrix product at each of the n n places, in scratch memory."""
    return np.matmul(a, b, out=scratch("products", (len(a), a.shape[1], b.shape[2]), a.dtype))
