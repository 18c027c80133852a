"""Batch normalisation in two passes over the numbers each way; see `minigan.functional.batchnorm`.

The plain version passes eight times over the array forward, with a temporary for each step. Here the
first pass measures and the second writes; backward computes x_hat anew instead of reading it.
"""

from typing import NamedTuple

import numpy as np

from minigan.functional import batchnorm as plain
from minigan.kernels.blocks import merge_moments
from minigan.kernels.loops import loops
from minigan.kernels.workers import share

SMALL = 1 << 14  # numbers below which a second worker gains nothing


class BatchNormCache(NamedTuple):
    x: np.ndarray  # (R, C)      input
    inv_std: np.ndarray  # (C,)  1 / sqrt(var + eps)
    mean: np.ndarray  # (C,)     batch mean
    var: np.ndarray  # (C,)      biased batch variance

    @property
    def samples(self) -> int:
        """R."""
        return len(self.x)

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
    smallest = max(1, SMALL // rows.shape[1])

    def measure(start: int, stop: int) -> Measured:
        mean, spread = loops.moments(rows[start:stop])
        return stop - start, mean, spread

    first, *others = share(measure, len(rows), smallest)
    count, mean64, spread = first
    for other in others:
        mean64, spread = merge_moments((count, mean64, spread), other)
        count += other[0]
    mean, var = mean64.astype(x.dtype), (spread / count).astype(x.dtype)
    inv_std = (1 / np.sqrt(spread / count + eps)).astype(x.dtype)
    gain, y = gamma * inv_std, np.empty_like(rows)
    share(lambda a, b: loops.scale_shift(rows[a:b], mean, gain, beta, y[a:b]), len(rows), smallest)
    return y.reshape(x.shape), BatchNormCache(rows, inv_std, mean, var)


def batchnorm_backward(
    dy: np.ndarray, gamma: np.ndarray, cache: BatchNormCache | plain.BatchNormCache
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `minigan.functional.batchnorm.batchnorm_backward`."""
    if not isinstance(cache, BatchNormCache):
        return plain.batchnorm_backward(dy, gamma, cache)
    drows = np.ascontiguousarray(dy).reshape(-1, dy.shape[-1])  # (R, C)
    smallest = max(1, SMALL // drows.shape[1])
    parts = share(lambda a, b: loops.product_sums(drows[a:b], cache.x[a:b], cache.mean), len(drows), smallest)
    dbeta = np.sum([total for total, _ in parts], axis=0)
    dgamma = np.sum([product for _, product in parts], axis=0) * cache.inv_std
    gain = gamma * cache.inv_std
    slope = (gain * cache.inv_std * dgamma / len(drows)).astype(dy.dtype)
    shift = (gain * dbeta / len(drows)).astype(dy.dtype)
    dx = np.empty_like(drows)
    share(
        lambda a, b: loops.combine(drows[a:b], cache.x[a:b], cache.mean, gain, slope, shift, dx[a:b]),
        len(drows),
        smallest,
    )
    return dx.reshape(dy.shape), dgamma.astype(dy.dtype), dbeta.astype(dy.dtype)
