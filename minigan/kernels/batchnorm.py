"""Batch normalisation in two passes over the numbers each way; see `minigan.functional.batchnorm`.

The plain version passes eight times over the array forward, with a temporary for each step. Here the
first pass measures and the second writes; backward computes x_hat anew instead of reading it. A leaky rectifier
after it costs nothing: it is computed where the number is at hand, backward from a = gamma x_hat + beta, again anew.
"""

from typing import NamedTuple

import numpy as np

from minigan.backend import expect_shape
from minigan.functional import batchnorm as plain
from minigan.functional import batchnorm_leaky as plain_leaky
from minigan.functional import sync_batchnorm as plain_sync
from minigan.kernels.blocks import Norm, merge_moments
from minigan.kernels.loops import loops
from minigan.kernels.workers import share

SMALL = 1 << 14  # numbers below which a second worker gains nothing
LINEAR = 1.0  # the slope of no activation


class BatchNormCache(NamedTuple):
    x: np.ndarray  # (R, C)      input
    inv_std: np.ndarray  # (C,)  1 / sqrt(var + eps)
    mean: np.ndarray  # (C,)     batch mean
    var: np.ndarray  # (C,)      biased batch variance
    samples: int  # R

    @property
    def x_hat(self) -> np.ndarray:
        """Normalised input (R, C), which the plain version keeps."""
        return (self.x - self.mean) * self.inv_std


class BatchNormLeakyCache(NamedTuple):
    norm: BatchNormCache
    beta: np.ndarray  # (C,)  those of forward, which are there until the next update


Measured = tuple[int, np.ndarray, np.ndarray]  # count, mean, sum of squared distances


def batchnorm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float) -> tuple[np.ndarray, BatchNormCache]:
    """See `minigan.functional.batchnorm.batchnorm`."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])  # (R, C)
    if len(rows) < 2:
        plain.batchnorm(x, gamma, beta, eps)  # raises
    y, cache = _normalise(rows, gamma, beta, eps, _measure(rows))
    return y.reshape(x.shape), cache


def batchnorm_leaky(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float, slope: float
) -> tuple[np.ndarray, BatchNormLeakyCache]:
    """See `minigan.functional.batchnorm_leaky.batchnorm_leaky`."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])  # (R, C)
    if len(rows) < 2:
        plain.batchnorm(x, gamma, beta, eps)  # raises
    y, cache = _normalise(rows, gamma, beta, eps, _measure(rows), slope)
    return y.reshape(x.shape), BatchNormLeakyCache(cache, beta)


def sync_batchnorm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float, gather: plain_sync.Gather
) -> tuple[np.ndarray, BatchNormCache]:
    """See `minigan.functional.sync_batchnorm.sync_batchnorm`."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])  # (n, C)
    y, cache = _normalise(rows, gamma, beta, eps, plain_sync.merge_moments(_measure(rows), gather))
    return y.reshape(x.shape), cache


def batchnorm_backward(
    dy: np.ndarray, gamma: np.ndarray, cache: BatchNormCache | plain.BatchNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `minigan.functional.batchnorm.batchnorm_backward`."""
    if not isinstance(cache, BatchNormCache):
        return plain.batchnorm_backward(dy, gamma, cache)
    return _backward(dy, gamma, cache, np.zeros_like(gamma), LINEAR)


def batchnorm_leaky_backward(
    dy: np.ndarray, gamma: np.ndarray, cache: BatchNormLeakyCache | plain_leaky.BatchNormLeakyCache, slope: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `minigan.functional.batchnorm_leaky.batchnorm_leaky_backward`."""
    if not isinstance(cache, BatchNormLeakyCache):
        return plain_leaky.batchnorm_leaky_backward(dy, gamma, cache, slope)
    return _backward(dy, gamma, cache.norm, cache.beta, slope)


def sync_batchnorm_backward(
    dy: np.ndarray, gamma: np.ndarray, cache: BatchNormCache | plain.BatchNormCache, gather: plain_sync.Gather
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `minigan.functional.sync_batchnorm.sync_batchnorm_backward`."""
    if not isinstance(cache, BatchNormCache):
        return plain_sync.sync_batchnorm_backward(dy, gamma, cache, gather)
    return _backward(dy, gamma, cache, np.zeros_like(gamma), LINEAR, gather)


def _smallest(rows: np.ndarray) -> int:
    return max(1, SMALL // rows.shape[1])


def _measure(rows: np.ndarray) -> Measured:
    """Of each column, in float64."""

    def measure(start: int, stop: int) -> Measured:
        mean, spread = loops.moments(rows[start:stop])
        return stop - start, mean, spread

    first, *others = share(measure, len(rows), _smallest(rows))
    count, mean, spread = first
    for other in others:
        mean, spread = merge_moments((count, mean, spread), other)
        count += other[0]
    return count, mean, spread


def _normalise(
    rows: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float, measured: Measured, slope: float = LINEAR
) -> tuple[np.ndarray, BatchNormCache]:
    count, mean64, spread = measured
    for name, array in ("gamma", gamma), ("beta", beta):
        expect_shape(name, array, rows.shape[1:])
    mean, var = mean64.astype(rows.dtype), (spread / count).astype(rows.dtype)
    inv_std = (1 / np.sqrt(spread / count + eps)).astype(rows.dtype)
    norm, y = Norm(mean, gamma * inv_std, beta), np.empty_like(rows)
    share(lambda a, b: loops.scale_shift(rows[a:b], norm, slope, y[a:b]), len(rows), _smallest(rows))
    return y, BatchNormCache(rows, inv_std, mean, var, count)


def _backward(
    dy: np.ndarray, gamma: np.ndarray, cache: BatchNormCache, beta: np.ndarray, slope: float,
    gather: plain_sync.Gather | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """dx, dgamma, dbeta; dx takes the sums over the rows of all processes, where these share them."""
    drows = np.ascontiguousarray(dy).reshape(-1, dy.shape[-1])  # (R, C)
    expect_shape("dy, as rows,", drows, cache.x.shape)
    expect_shape("gamma", gamma, drows.shape[1:])
    norm, dx = Norm(cache.mean, gamma * cache.inv_std, beta), np.empty_like(drows)

    def sums(a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        return loops.product_sums(drows[a:b], cache.x[a:b], norm, slope)

    parts = share(sums, len(drows), _smallest(drows))
    dbeta = np.sum([total for total, _ in parts], axis=0)
    dgamma = np.sum([product for _, product in parts], axis=0) * cache.inv_std
    all_dgamma, all_dbeta = gather(np.stack([dgamma, dbeta])).sum(axis=0) if gather else (dgamma, dbeta)
    tilt = (norm.gain * cache.inv_std * all_dgamma / cache.samples).astype(dy.dtype)
    shift = (norm.gain * all_dbeta / cache.samples).astype(dy.dtype)

    def combine(a: int, b: int) -> None:
        loops.combine(drows[a:b], cache.x[a:b], norm, slope, tilt, shift, dx[a:b])

    share(combine, len(drows), _smallest(drows))
    return dx.reshape(dy.shape), dgamma.astype(dy.dtype), dbeta.astype(dy.dtype)
