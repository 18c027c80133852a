r"""Convolution in TF32 as a matrix product whose large matrix is nowhere; see `minigan.functional.conv`.

With a row for each place and a column for each channel of each tap, the windows of an image are a matrix V, and

.. math:: y = V w \qquad dw = V^\top dy

V holds each number of the image k k / (s s) times, so it is not made. A product on tensor cores has to bring pieces of
its factors into shared memory anyway, and where a number of V lies in the image follows from its row and column: two
quotients and a comparison, beside four products for each number ("implicit GEMM": Chetlur et al. 2014, section 3.1).

The gradient of the image is a product of the same kind for every *phase*. With padding p, the pixels h with h + p = i
modulo s are seen by taps i, i + s, i + 2 s, ...: by the first of them from place (h + p - i) / s, by each next one from
the place before. So there are s s products, with V made of dy, and none of their numbers is wasted.

A product with too few blocks to fill a GPU is cut along its sums; the parts are added in a fixed order.

implicit_gemm.cu says where the numbers are, tiles.cu multiplies them, tensor_cores.cu has the instructions.
"""

import math
from functools import cache
from types import ModuleType

import numpy as np

from minigan.backend import array_module
from minigan.cuda.cublas import in_tf32
from minigan.cuda.launch import launch, launch_each
from minigan.cuda.layout import contiguous, flat, side_by_side
from minigan.errors import UserError
from minigan.functional import conv as plain
from minigan.functional.patches import Geometry
from minigan.typing import Array, Shape

ROWS, STEP, THREADS = 256, 16, 256  # of a block, as in tiles.cu
WIDE, NARROW = 128, 64  # columns of a block; narrow where more would be in vain
SHARED = 4 * 3 * (ROWS + WIDE) * (STEP + 4)  # bytes: three stages of two tiles
BLOCKS = 132  # that fill a GPU: one on each multiprocessor of an H100
STEPS, PARTS = 8, 32  # of a part at least; parts at most
CHANNELS = 16  # of which there must be a multiple: a step of a sum stays within a tap
LARGEST = 2**31 - 1
MOST_PHASES = 65535  # blocks of a grid along its third axis
ALIGNED, WRITTEN = 16, 8  # bytes that are fetched, and written, at once
AMPERE = 80  # the compute capability from which on there are the instructions


def takes(x: Shape, w: Shape, y: Shape, geometry: Geometry, *arrays: Array, weights: Array | None = None) -> bool:
    """Whether these kernels are for it: TF32, float32, no groups or dilation, channels that suit them.

    Parameters: shapes of x (N, H, W, I), w (kh, kw, I, O) and y (N, P, Q, O), which may not go together; the arrays;
    the weights, if they are one of the factors.
    """
    factors = arrays if weights is None else (*arrays, weights)
    if not in_tf32() or any(array.dtype != np.float32 for array in factors):
        return False
    if geometry.groups != 1 or geometry.dilation != (1, 1) or math.prod(geometry.stride) > MOST_PHASES:
        return False
    if (x[0], x[3], y[3]) != (y[0], *w[2:]) or w[2] % CHANNELS or w[3] % CHANNELS or 0 in (*x, *w, *y):
        return False
    if weights is not None and _address(weights) % ALIGNED:
        return False
    largest = max(map(math.prod, (x, w, y))) + ROWS * max(w[2:])
    return largest <= LARGEST and _works(array_module(arrays[0]))


def _address(array: Array) -> int:
    return int(array.data.ptr)


@cache
def _works(xp: ModuleType) -> bool:
    """Whether the GPU has the instructions. Raises UserError if what they compute is wrong: nobody would notice."""
    if int(xp.cuda.Device().compute_capability) < AMPERE:
        return False
    # Small whole numbers, which TF32 holds and float32 adds up without rounding: so all digits must agree.
    rng, geometry = np.random.default_rng(0), Geometry((2, 2), (1, 1, 1, 1))
    shapes = (3, 8, 8, 32), (4, 4, 32, 80), (3, 4, 4, 80)
    x, w, dy = (rng.integers(-9, 10, shape).astype(np.float32) for shape in shapes)
    x_there, w_there, dy_there = map(xp.asarray, (x, w, dy))
    found = (
        conv2d(x_there, w_there, geometry, xp.empty(dy.shape, dy.dtype)),
        conv2d_input_grad(dy_there, w_there, geometry, xp.empty(x.shape, x.dtype)),
        conv2d_weight_grad(x_there, dy_there, geometry, xp.empty(w.shape, w.dtype), add=False),
    )
    right = (
        plain.conv2d(x, w, geometry),
        plain.conv2d_input_grad(dy, w, x.shape[1:3], geometry),
        plain.conv2d_weight_grad(x, dy, w.shape[:2], geometry),
    )
    if not all(np.array_equal(ours.get(), theirs) for ours, theirs in zip(found, right, strict=True)):
        raise UserError("this GPU's tensor cores multiply wrongly; leave --tf32 out, or set CUPY_TF32=0")
    return True


def conv2d(x: Array, w: Array, geometry: Geometry, y: Array) -> Array:
    """The windows times w, into y (N, P, Q, O); see `minigan.functional.conv.conv2d`."""
    x, m, depth = _fetchable(x), math.prod(y.shape[:3]), math.prod(w.shape[:3])
    return _launch("forward", (x, contiguous(w)), y, _sizes(x, w.shape, geometry, y), m, y.shape[3], depth)


def conv2d_input_grad(dy: Array, w: Array, geometry: Geometry, dx: Array) -> Array:
    """See `minigan.functional.conv.conv2d_input_grad`; into dx (N, H, W, I)."""
    dy, (s, t) = _fetchable(dy), geometry.stride
    m = len(dx) * -(-dx.shape[1] // s) * -(-dx.shape[2] // t)
    depth = -(-w.shape[0] // s) * -(-w.shape[1] // t) * w.shape[3]
    sizes = _sizes(dx, w.shape, geometry, dy)
    return _launch("input_grad", (dy, contiguous(w)), dx, sizes, m, dx.shape[3], depth, phases=s * t)


def conv2d_weight_grad(x: Array, dy: Array, geometry: Geometry, dw: Array, add: bool) -> Array:
    """See `minigan.functional.conv.conv2d_weight_grad`; into dw (kh, kw, I, O), or added to it."""
    x, dy, m, depth = _fetchable(x), _fetchable(dy), math.prod(dw.shape[:3]), math.prod(dy.shape[:3])
    return _launch("weight_grad", (x, dy), dw, _sizes(x, dw.shape, geometry, dy), m, dw.shape[3], depth, add=add)


def _fetchable(images: Array) -> Array:
    """The images, or a copy of them, so that the channels of a pixel lie side by side at a multiple of 16 bytes."""
    images = side_by_side(images)
    return images if _address(images) % ALIGNED == 0 else images.copy()


def _sizes(x: Array, kernel: Shape, geometry: Geometry, y: Array) -> tuple[np.int32, ...]:
    """SIZES of implicit_gemm.cu."""
    numbers = *x.shape, *y.shape[1:], *kernel[:2], *geometry.stride, geometry.padding[0], geometry.padding[2]
    steps = (stride // array.itemsize for array in (x, y) for stride in array.strides[:2])
    return tuple(map(np.int32, (*numbers, *steps)))


def _launch(
    kernel: str, factors: tuple[Array, Array], out: Array, sizes: tuple[np.int32, ...],
    rows: int, columns: int, depth: int, *, phases: int = 1, add: bool = False,
) -> Array:  # fmt: skip
    narrow = columns <= NARROW
    across, down = -(-columns // (NARROW if narrow else WIDE)), -(-rows // ROWS)
    parts = _parts(across * down * phases, -(-depth // STEP))
    xp, size = array_module(out), np.int64(out.size)
    at_once = parts == 1 and _address(out) % WRITTEN == 0
    target = flat(out) if at_once else xp.empty(parts * out.size, dtype=out.dtype)
    how = np.bool_(narrow), np.bool_(add and at_once), np.int32(parts), size
    arguments = *map(flat, factors), target, *sizes, *how
    launch("implicit_gemm", kernel, (across * down, 1, parts * phases), (THREADS,), *arguments, shared=SHARED)
    if not at_once:
        launch_each("implicit_gemm", "add_parts", target, flat(out), np.bool_(add), np.int32(parts), n=out.size)
    return out


def _parts(blocks: int, steps: int) -> int:
    """Into how many parts sums of so many steps are cut, so that there are enough blocks with enough to do."""
    return max(1, min(BLOCKS // blocks, steps // STEPS, PARTS))
