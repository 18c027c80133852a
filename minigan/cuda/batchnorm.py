"""Batch normalisation on a GPU, also together with the rectifier behind it: three launches each way (batchnorm.cu).

The plain version takes nine launches forward and nine backward, most of which read and write the whole array.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minigan.backend import array_module
from minigan.cuda.launch import launch, launch_each
from minigan.cuda.layout import contiguous, empty_like, flat, laid_like, side_by_side
from minigan.functional import batchnorm as plain
from minigan.functional import batchnorm_leaky as plain_leaky
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


class Split(NamedTuple):
    """How R rows of C channels are shared among blocks: pieces of 32 channels and of some rows."""

    rows: int
    channels: int
    height: int  # rows of a chunk

    @property
    def chunks(self) -> int:
        return -(-self.rows // self.height)

    @property
    def grid(self) -> Shape:
        return -(-self.channels // WIDTH), self.chunks

    @property
    def sizes(self) -> tuple[np.int32, ...]:
        """As the kernels take them."""
        return np.int32(self.rows), np.int32(self.channels), np.int32(self.height)


def split(shape: Shape) -> Split:
    """For an array (..., C); it depends on nothing else, so neither do the roundings."""
    *samples, channels = shape
    rows, columns = math.prod(samples), -(-channels // WIDTH)
    chunks = min(-(-rows // (4 * LANES)), max(1, BLOCKS // columns))
    return Split(rows, channels, -(-rows // chunks))


def batchnorm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, BatchNormCache]:
    """See `minigan.functional.batchnorm.batchnorm`."""
    y, cache = batchnorm_leaky(x, gamma, beta, eps, LINEAR)
    return y, cache.norm


def batchnorm_leaky(x: Array, gamma: Array, beta: Array, eps: float, slope: float) -> tuple[Array, BatchNormLeakyCache]:
    """See `minigan.functional.batchnorm_leaky.batchnorm_leaky`."""
    if x.size < 2 * x.shape[-1]:
        plain.batchnorm(x, gamma, beta, eps)  # raises
    xp, blocks = array_module(x), split(x.shape)
    x, gamma, beta = side_by_side(x), contiguous(gamma), contiguous(beta)
    means, spreads = xp.empty((2, blocks.chunks, blocks.channels), x.dtype)
    mean, var, inv_std = xp.empty((3, blocks.channels), x.dtype)
    _launch("moments", blocks, flat(x), means, spreads)
    _launch_sums("statistics", blocks, means, spreads, np.float64(eps), mean, var, inv_std)
    y = empty_like(x)
    _launch("normalise", blocks, flat(x), gamma, beta, mean, inv_std, x.dtype.type(slope), flat(y))
    return y, BatchNormLeakyCache(BatchNormCache(x, inv_std, mean, var, blocks.rows), beta)


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
    xp, blocks, norm = array_module(dy), split(dy.shape), cache.norm
    dy, gamma = laid_like(dy, norm.x), contiguous(gamma)
    inputs = (flat(dy), flat(norm.x), gamma, cache.beta, norm.mean, norm.inv_std, dy.dtype.type(slope))
    sums, products = xp.empty((2, blocks.chunks, blocks.channels), dy.dtype)
    dgamma, dbeta = xp.empty((2, blocks.channels), dy.dtype)
    _launch("gradient_sums", blocks, *inputs, sums, products)
    _launch_sums("parameter_gradients", blocks, sums, products, norm.inv_std, dgamma, dbeta)
    dx = empty_like(dy)
    _launch("input_gradient", blocks, *inputs, dgamma, dbeta, flat(dx))
    return dx, dgamma, dbeta


def update_running_statistics(mean: Array, var: Array, cache: Any, momentum: float) -> None:
    """See `minigan.functional.batchnorm.update_running_statistics`."""
    real = mean.dtype.type
    unbiased = real(cache.samples / (cache.samples - 1))
    launch_each("batchnorm", "move_statistics", cache.mean, cache.var, real(momentum), unbiased, mean, var, n=mean.size)


def column_sums(x: Array, total: Array | None = None) -> Array:
    """The sums (C,) of an array (..., C), over all axes but the last; added to `total` (C,), which lies in one piece.

    The gradient of a bias, which is dbeta without the rest: one launch for few rows, else a second one for the sums.
    """
    rows, channels, xp = math.prod(x.shape[:-1]), x.shape[-1], array_module(x)
    summands = flat(side_by_side(x))
    if rows > FEW:
        blocks = split(x.shape)
        parts = xp.empty((blocks.chunks, channels), x.dtype)
        _launch("column_sums", blocks, summands, parts, np.bool_(False))
        summands, rows = parts, blocks.chunks
    sums = xp.empty(channels, x.dtype) if total is None else total
    whole, lanes = Split(rows, channels, max(rows, 1)), max(1, min(LANES_OF_SUMS, rows))
    add = np.bool_(total is not None)
    launch("batchnorm", "column_sums", whole.grid[:1], (WIDTH, lanes), summands, sums, add, *whole.sizes)
    return sums


def _launch(kernel: str, blocks: Split, *arguments: Any) -> None:
    launch("batchnorm", kernel, blocks.grid, (WIDTH, LANES), *arguments, *blocks.sizes)


def _launch_sums(kernel: str, blocks: Split, *arguments: Any) -> None:
    lanes = min(LANES_OF_SUMS, blocks.chunks)
    launch("batchnorm", kernel, blocks.grid[:1], (WIDTH, lanes), *arguments, *blocks.sizes)
