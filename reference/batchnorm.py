"""Batch normalisation over the last axis (Ioffe & Szegedy 2015), one channel after the other.

For a channel with the R values x_1 ... x_R (R = N, or N H W for images):

    mu = 1/R sum_r x_r       var = 1/R sum_r (x_r - mu)^2       y_r = gamma (x_r - mu) / sqrt(var + eps) + beta
"""

import math
import statistics
from collections.abc import Iterator

import numpy as np

from reference import Array


def channels(x: Array) -> Iterator[list[float]]:
    """The R values of each channel in turn."""
    for c in range(x.shape[-1]):
        yield [float(x[(*position, c)]) for position in np.ndindex(x.shape[:-1])]


def from_channels(columns: list[list[float]], shape: tuple[int, ...]) -> Array:
    """The inverse of `channels`: put the R values of each channel back in their places."""
    x = np.zeros(shape)
    for c, column in enumerate(columns):
        for position, value in zip(np.ndindex(shape[:-1]), column, strict=True):
            x[(*position, c)] = value
    return x


def mean_and_variance(values: list[float]) -> tuple[float, float]:
    """The mean and the biased variance (divided by R).

    The sums are exactly rounded: for an almost constant channel, 1 / sqrt(var + eps) magnifies every
    rounding error of the mean, and the reference should not be the one that makes it.
    """
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return mean, variance


def batchnorm(x: Array, gamma: Array, beta: Array, eps: float) -> Array:
    """x (..., C), gamma and beta (C,): returns y (..., C)."""
    columns = []
    for c, values in enumerate(channels(x)):
        mean, variance = mean_and_variance(values)
        columns.append([gamma[c] * (value - mean) / math.sqrt(variance + eps) + beta[c] for value in values])
    return from_channels(columns, x.shape)


def batchnorm_backward(dy: Array, x: Array, gamma: Array, eps: float) -> tuple[Array, Array, Array]:
    """The chain rule with the whole Jacobian: dx_r = sum_s dy_s d y_s / d x_r.

    Returns dx (..., C), dgamma (C,), dbeta (C,).
    """
    columns: list[list[float]] = []
    dgamma, dbeta = np.zeros(gamma.shape), np.zeros(gamma.shape)
    for c, (values, upstream) in enumerate(zip(channels(x), channels(dy), strict=True)):
        jacobian = normalisation_jacobian(values, eps)
        columns.append([0.0] * len(values))
        mean, variance = mean_and_variance(values)
        for s, value in enumerate(values):
            dbeta[c] += upstream[s]
            dgamma[c] += upstream[s] * (value - mean) / math.sqrt(variance + eps)
            for r in range(len(values)):
                columns[c][r] += upstream[s] * gamma[c] * jacobian[s][r]
    return from_channels(columns, x.shape), dgamma, dbeta


def normalisation_jacobian(values: list[float], eps: float) -> list[list[float]]:
    """Entry [s][r] is the derivative of (x_s - mu) / sqrt(var + eps) with respect to x_r.

    By the quotient rule, with d mu / d x_r = 1/R and d var / d x_r = 2 (x_r - mu) / R:

        ([s = r] - 1/R) / sqrt(var + eps) - (x_s - mu) (x_r - mu) / R / (var + eps)^(3/2)
    """
    mean, variance = mean_and_variance(values)
    std = math.sqrt(variance + eps)
    count = len(values)
    jacobian = []
    for s in range(count):
        row = []
        for r in range(count):
            through_numerator = ((1.0 if s == r else 0.0) - 1.0 / count) / std
            through_variance = -(values[s] - mean) * (values[r] - mean) / count / std**3
            row.append(through_numerator + through_variance)
        jacobian.append(row)
    return jacobian


def batchnorm_inference(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float) -> Array:
    """The same formula with given constants for mu and var, all (C,)."""
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        c = index[-1]
        y[index] = gamma[c] * (x[index] - mean[c]) / math.sqrt(var[c] + eps) + beta[c]
    return y


def batchnorm_inference_backward(
    dy: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """With constant statistics the layer is affine, entry by entry. Returns dx (..., C), dgamma (C,), dbeta (C,)."""
    dx, dgamma, dbeta = np.zeros(x.shape), np.zeros(gamma.shape), np.zeros(gamma.shape)
    for index in np.ndindex(x.shape):
        c = index[-1]
        std = math.sqrt(var[c] + eps)
        dx[index] = dy[index] * gamma[c] / std
        dgamma[c] += dy[index] * (x[index] - mean[c]) / std
        dbeta[c] += dy[index]
    return dx, dgamma, dbeta


def running_statistics(mean: Array, var: Array, x: Array, momentum: float) -> tuple[Array, Array]:
    """Exponential averages of the batch mean and of the unbiased batch variance (divided by R - 1).

    new = (1 - momentum) old + momentum batch. Returns new arrays (C,), (C,).
    """
    new_mean, new_var = np.zeros(mean.shape), np.zeros(var.shape)
    for c, values in enumerate(channels(x)):
        new_mean[c] = (1 - momentum) * mean[c] + momentum * statistics.mean(values)
        new_var[c] = (1 - momentum) * var[c] + momentum * statistics.variance(values)
    return new_mean, new_var
