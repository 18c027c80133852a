"""Batch normalisation in two passes over the numbers each way; see `minigan.functional.batchnorm`.

The plain version passes eight times over the array forward, with a temporary for each step. Here the
first pass measures and the second writes; backward computes x_hat anew instead of reading it.
"""

from typing import NamedTuple

import numpy as np

from minigan.functional import batchnorm as plain
from minigan.functional import shared_batchnorm as shared
from minigan.kernels.blocks import merge_moments
from minigan.kernels.loops import loops
from minigan.kernels.workers import share

SMALL = 1 << 14  # numbers below which a second worker gains nothing


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


Measured = tuple[int, np.ndarray, np.ndarray]  # count, mean, sum of squared distances


def batchnorm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float) -> tuple[np.ndarray, BatchNormCache]:
    """See `minigan.functional.batchnorm.batchnorm`."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])  # (R, C)
    if len(rows) < 2:
        plain.batchnorm(x, gamma, beta, eps)  # raises
    y, cache = _normalise(rows, gamma, beta, eps, _measure(rows))
    return y.reshape(x.shape), cache


def shared_batchnorm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float, gather: shared.Gather
) -> tuple[np.ndarray, BatchNormCache]:
    """See `minigan.functional.shared_batchnorm.shared_batchnorm`."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])  # (n, C)
    y, cache = _normalise(rows, gamma, beta, eps, shared.merge_moments(_measure(rows), gather))
    return y.reshape(x.shape), cache


def batchnorm_backward(
    dy: np.ndarray, gamma: np.ndarray, cache: BatchNormCache | plain.BatchNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `minigan.functional.batchnorm.batchnorm_backward`."""
    if not isinstance(cache, BatchNormCache):
        return plain.batchnorm_backward(dy, gamma, cache)
    drows = np.ascontiguousarray(dy).reshape(-1, dy.shape[-1])  # (R, C)
    dgamma, dbeta = _parameter_gradients(drows, cache)
    dx = _input_gradient(drows, gamma, cache, dgamma, dbeta)
    return dx.reshape(dy.shape), dgamma.astype(dy.dtype), dbeta.astype(dy.dtype)


def shared_batchnorm_backward(
    dy: np.ndarray, gamma: np.ndarray, cache: BatchNormCache | plain.BatchNormCache, gather: shared.Gather
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `minigan.functional.shared_batchnorm.shared_batchnorm_backward`."""
    if not isinstance(cache, BatchNormCache):
        return shared.shared_batchnorm_backward(dy, gamma, cache, gather)
    drows = np.ascontiguousarray(dy).reshape(-1, dy.shape[-1])  # (n, C)
    dgamma, dbeta = _parameter_gradients(drows, cache)
    dx = _input_gradient(drows, gamma, cache, *gather(np.stack([dgamma, dbeta])).sum(axis=0))
    return dx.reshape(dy.shape), dgamma.astype(dy.dtype), dbeta.astype(dy.dtype)


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
    rows: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float, measured: Measured
) -> tuple[np.ndarray, BatchNormCache]:
    count, mean64, spread = measured
    mean, var = mean64.astype(rows.dtype), (spread / count).astype(rows.dtype)
    inv_std = (1 / np.sqrt(spread / count + eps)).astype(rows.dtype)
    gain, y = gamma * inv_std, np.empty_like(rows)
    share(lambda a, b: loops.scale_shift(rows[a:b], mean, gain, beta, y[a:b]), len(rows), _smallest(rows))
    return y, BatchNormCache(rows, inv_std, mean, var, count)


def _parameter_gradients(drows: np.ndarray, cache: BatchNormCache) -> tuple[np.ndarray, np.ndarray]:
    """dgamma, dbeta (C,), in float64."""
    parts = share(lambda a, b: loops.product_sums(drows[a:b], cache.x[a:b], cache.mean), len(drows), _smallest(drows))
    dbeta = np.sum([total for total, _ in parts], axis=0)
    return np.sum([product for _, product in parts], axis=0) * cache.inv_std, dbeta


def _input_gradient(
    drows: np.ndarray, gamma: np.ndarray, cache: BatchNormCache, dgamma: np.ndarray, dbeta: np.ndarray
) -> np.ndarray:
    gain = gamma * cache.inv_std
    slope = (gain * cache.inv_std * dgamma / cache.samples).astype(drows.dtype)
    shift = (gain * dbeta / cache.samples).astype(drows.dtype)
    dx = np.empty_like(drows)
    share(
        lambda a, b: loops.combine(drows[a:b], cache.x[a:b], cache.mean, gain, slope, shift, dx[a:b]),
        len(drows),
        _smallest(drows),
    )
    return dx
