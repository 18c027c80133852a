"""Batch normalisation on a GPU, also of several batches in one array, and together with the rectifier behind it: three
launches each way (batchnorm.cu).

The plain version takes nine launches forward and nine backward, most of which read and write the whole array.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minigan.backend import array_module, expect_shape
from minigan.cuda.aside import aside
from minigan.cuda.launch import launch, launch_each
from minigan.cuda.layout import contiguous, empty_like, flat, laid_like, rows_first, side_by_side
from minigan.functional import batchnorm as plain
from minigan.functional import batchnorm_leaky as plain_leaky
from minigan.functional import ghost_batchnorm as plain_ghost
from minigan.typing import Array, Shape

WIDTH = 32  # channels of a block, as in batchnorm.cu
LANES = 8  # rows that a block does at a time
LANES_OF_SUMS = 32  # chunks that it does at a time, where their sums are added
FEW = 1024  # rows that are left to one block, which saves a launch: chosen, not measured
BLOCKS = 512  # at most, if there are enough rows: several for each processor of a GPU
LINEAR = 1.0  # the slope of no rectifier


class BatchNormCache(NamedTuple):
    x: Array  # (..., C)      input
    inv_std: Array  # (C,)  1 / sqrt(var + eps)
    mean: Array  # (C,)     batch mean
    var: Array  # (C,)      biased batch variance
    samples: int  # R

    @property
    def x_hat(self) -> Array:
        """Normalised input (R, C), which the plain version keeps."""
        return (self.x.reshape(self.samples, -1) - self.mean) * self.inv_std


class BatchNormLeakyCache(NamedTuple):
    norm: BatchNormCache
    beta: Array  # (C,)  those of forward, which are there until the next update


class GhostBatchNormCache(NamedTuple):
    leaky: BatchNormLeakyCache  # whose norm has inv_std, mean and var of each part, (parts, C), and samples of one
    parts: int


class Split(NamedTuple):
    """How R rows of C channels are shared among blocks: pieces of 32 channels and of some rows, which are a chunk.

    The parts of the array, each with sums of its own, take turns in memory, in runs of so many rows.
    """

    rows: int
    channels: int
    height: int  # rows of a chunk, at most
    run: int
    parts: int

    @property
    def chunks(self) -> int:
        return self.rows // self.run * -(-self.run // self.height)

    @property
    def grid(self) -> Shape:
        return -(-self.channels // WIDTH), self.chunks

    @property
    def sizes(self) -> tuple[np.int32, ...]:
        """As the kernels take them."""
        return tuple(map(np.int32, self))


def split(shape: Shape, run: int | None = None, parts: int = 1) -> Split:
    """For an array (..., C), all rows of which are one run if none is given. On this alone the roundings depend."""
    *samples, channels = shape
    rows, columns = math.prod(samples), -(-channels // WIDTH)
    run = run or rows
    chunks = min(-(-rows // (4 * LANES)), max(1, BLOCKS // columns))
    each = max(1, chunks * run // rows)  # chunks of a run
    return Split(rows, channels, -(-run // each), run, parts)


def split_of_parts(x: Array, parts: int) -> Split:
    """For an array (N, ..., C) as it lies in memory: with its images first, the parts do; with its rows first, each of
    the rows has all parts."""
    run = math.prod(x.shape[2:-1] if rows_first(x) else x.shape[1:-1]) * (len(x) // parts)
    return split(x.shape, run, parts)


def batchnorm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, BatchNormCache]:
    """See `minigan.functional.batchnorm.batchnorm`."""
    y, cache = batchnorm_leaky(x, gamma, beta, eps, LINEAR)
    return y, cache.norm


def batchnorm_leaky(x: Array, gamma: Array, beta: Array, eps: float, slope: float) -> tuple[Array, BatchNormLeakyCache]:
    """See `minigan.functional.batchnorm_leaky.batchnorm_leaky`."""
    if x.size < 2 * x.shape[-1]:
        plain.batchnorm(x, gamma, beta, eps)  # raises
    return _forward(side_by_side(x), gamma, beta, eps, slope, split(x.shape))


def ghost_batchnorm(
    x: Array, gamma: Array, beta: Array, eps: float, slope: float, parts: int
) -> tuple[Array, GhostBatchNormCache]:
    """See `minigan.functional.ghost_batchnorm.ghost_batchnorm`."""
    if len(x) % parts or x.size < 2 * parts * x.shape[-1]:
        plain_ghost.ghost_batchnorm(x, gamma, beta, eps, slope, parts)  # raises
    x = side_by_side(x)
    y, cache = _forward(x, gamma, beta, eps, slope, split_of_parts(x, parts))
    return y, GhostBatchNormCache(cache, parts)


def _forward(
    x: Array, gamma: Array, beta: Array, eps: float, slope: float, blocks: Split
) -> tuple[Array, BatchNormLeakyCache]:
    """The numbers of x lie side by side, and are shared among blocks in the order in which they do."""
    for name, array in ("gamma", gamma), ("beta", beta):
        expect_shape(name, array, x.shape[-1:])
    xp, gamma, beta = array_module(x), contiguous(gamma), contiguous(beta)
    means, spreads = xp.empty((2, blocks.chunks, blocks.channels), x.dtype)
    mean, var, inv_std = xp.empty((3, blocks.parts * blocks.channels), x.dtype)
    _launch("moments", blocks, flat(x), means, spreads)
    _launch_sums("statistics", blocks, blocks.parts, means, spreads, np.float64(eps), mean, var, inv_std)
    y = empty_like(x)
    _launch("normalise", blocks, flat(x), gamma, beta, mean, inv_std, x.dtype.type(slope), flat(y))
    return y, BatchNormLeakyCache(BatchNormCache(x, inv_std, mean, var, blocks.rows // blocks.parts), beta)


def batchnorm_backward(
    dy: Array, gamma: Array, cache: BatchNormCache | plain.BatchNormCache
) -> tuple[Array, Array, Array]:
    """See `minigan.functional.batchnorm.batchnorm_backward`."""
    if not isinstance(cache, BatchNormCache):
        return plain.batchnorm_backward(dy, gamma, cache)
    # Without a rectifier, beta moves no gradient: anything of its shape will do.
    return batchnorm_leaky_backward(dy, gamma, BatchNormLeakyCache(cache, beta=cache.mean), LINEAR)


def batchnorm_leaky_backward(
    dy: Array, gamma: Array, cache: BatchNormLeakyCache | plain_leaky.BatchNormLeakyCache, slope: float
) -> tuple[Array, Array, Array]:
    """See `minigan.functional.batchnorm_leaky.batchnorm_leaky_backward`."""
    if not isinstance(cache, BatchNormLeakyCache):
        return plain_leaky.batchnorm_leaky_backward(dy, gamma, cache, slope)
    return _backward(dy, gamma, cache, slope, split(dy.shape))


def ghost_batchnorm_backward(
    dy: Array, gamma: Array, cache: GhostBatchNormCache | plain_ghost.GhostBatchNormCache, slope: float
) -> tuple[Array, Array, Array]:
    """See `minigan.functional.ghost_batchnorm.ghost_batchnorm_backward`."""
    if not isinstance(cache, GhostBatchNormCache):
        return plain_ghost.ghost_batchnorm_backward(dy, gamma, cache, slope)
    return _backward(dy, gamma, cache.leaky, slope, split_of_parts(cache.leaky.norm.x, cache.parts))


def _backward(
    dy: Array, gamma: Array, cache: BatchNormLeakyCache, slope: float, blocks: Split
) -> tuple[Array, Array, Array]:
    xp, norm = array_module(dy), cache.norm
    expect_shape("dy", dy, norm.x.shape)
    expect_shape("gamma", gamma, dy.shape[-1:])
    dy, gamma = laid_like(dy, norm.x), contiguous(gamma)
    inputs = (flat(dy), flat(norm.x), gamma, cache.beta, norm.mean, norm.inv_std, dy.dtype.type(slope))
    sums, products = xp.empty((2, blocks.chunks, blocks.channels), dy.dtype)
    own = xp.empty((2, blocks.parts * blocks.channels), dy.dtype)  # dgamma and dbeta of each part
    dgamma, dbeta = xp.empty((2, blocks.channels), dy.dtype)
    _launch("gradient_sums", blocks, *inputs, sums, products)
    _launch_sums("parameter_gradients", blocks, 1, sums, products, norm.inv_std, *own, dgamma, dbeta)
    dx = empty_like(dy)
    _launch("input_gradient", blocks, *inputs, *own, flat(dx))
    return dx, dgamma, dbeta


def update_running_statistics(mean: Array, var: Array, cache: Any, momentum: float) -> None:
    """See `minigan.functional.batchnorm.update_running_statistics`."""
    _move_statistics(mean, var, cache, momentum, 1)


def update_ghost_statistics(
    mean: Array, var: Array, cache: GhostBatchNormCache | plain_ghost.GhostBatchNormCache, momentum: float
) -> None:
    """See `minigan.functional.ghost_batchnorm.update_ghost_statistics`."""
    if not isinstance(cache, GhostBatchNormCache):
        return plain_ghost.update_ghost_statistics(mean, var, cache, momentum)
    return _move_statistics(mean, var, cache.leaky.norm, momentum, cache.parts)


def _move_statistics(mean: Array, var: Array, cache: Any, momentum: float, parts: int) -> None:
    real = mean.dtype.type
    numbers = real(momentum), real(cache.samples / (cache.samples - 1))
    new = cache.mean, cache.var
    with aside(*new):  # training does not look at them
        launch_each("batchnorm", "move_statistics", *new, *numbers, mean, var, np.int32(parts), n=mean.size)


def add_gradients(dgamma: Array, dbeta: Array, gamma_total: Array, beta_total: Array) -> None:
    """See `minigan.functional.batchnorm.add_gradients`; maybe aside."""
    for name, array in ("dbeta", dbeta), ("gamma_total", gamma_total), ("beta_total", beta_total):
        expect_shape(name, array, dgamma.shape)
    with aside(dgamma, dbeta):
        launch_each(
            "batchnorm", "add_gradients", contiguous(dgamma), contiguous(dbeta), gamma_total, beta_total, n=dgamma.size
        )


def column_sums(x: Array, total: Array | None = None) -> Array:
    """The sums (C,) of an array (..., C), over all axes but the last; added to `total` (C,), which lies in one piece.

    The gradient of a bias, which is dbeta without the rest: one launch for few rows, else a second one for the sums.
    Where there is a total, maybe aside.
    """
    if total is None:
        return _column_sums(x, None)
    expect_shape("total", total, x.shape[-1:])
    with aside(x):
        return _column_sums(x, total)


def _column_sums(x: Array, total: Array | None) -> Array:
    rows, channels, xp = math.prod(x.shape[:-1]), x.shape[-1], array_module(x)
    if not rows:
        return xp.zeros(channels, x.dtype) if total is None else total
    summands = flat(side_by_side(x))
    if rows > FEW:
        blocks = split(x.shape)
        parts = xp.empty((blocks.chunks, channels), x.dtype)
        _launch("column_sums", blocks, summands, parts, np.bool_(False))
        summands, rows = parts, blocks.chunks
    sums = xp.empty(channels, x.dtype) if total is None else total
    whole, add = Split(rows, channels, height=rows, run=rows, parts=1), np.bool_(total is not None)
    lanes = min(LANES_OF_SUMS, rows)
    launch("batchnorm", "column_sums", whole.grid[:1], (WIDTH, lanes), summands, sums, add, *whole.sizes)
    return sums


def _launch(kernel: str, blocks: Split, *arguments: Any) -> None:
    launch("batchnorm", kernel, blocks.grid, (WIDTH, LANES), *arguments, *blocks.sizes)


def _launch_sums(kernel: str, blocks: Split, down: int, *arguments: Any) -> None:
    """One block, or `down` of them, for each 32 channels."""
    lanes = min(LANES_OF_SUMS, blocks.chunks // blocks.parts)
    launch("batchnorm", kernel, (blocks.grid[0], down), (WIDTH, lanes), *arguments, *blocks.sizes)
