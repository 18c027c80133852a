"""The adjoints of backward functions, from the slopes J of each operation written out: dx_i = sum_j J_ij dy_j.

A scalar R that depends on dx has the gradient ddx on it. Then, in explicit sums,

    on dy:  ddy_j = sum_i ddx_i J_ij            on x:  sum_ij ddx_i (dJ_ij / dx_k) dy_j

For element-wise operations J has entries on its diagonal alone; for batch normalisation it is full.
"""

import math

import numpy as np

from reference import Array
from reference.activations import elementwise


def elu_curvature(x: Array, alpha: float) -> Array:
    """alpha e^x for x <= 0, else 0."""
    return elementwise(lambda v: 0.0 if v > 0 else alpha * math.exp(v), x)


def softplus_curvature(x: Array) -> Array:
    """e^x / (1 + e^x)^2."""
    return elementwise(lambda v: math.exp(v) / (1 + math.exp(v)) ** 2, x)


def sigmoid_curvature(x: Array) -> Array:
    """e^-x (e^-x - 1) / (1 + e^-x)^3."""
    return elementwise(lambda v: math.exp(-v) * (math.exp(-v) - 1) / (1 + math.exp(-v)) ** 3, x)


def tanh_curvature(x: Array) -> Array:
    """-2 sinh(x) / cosh(x)^3."""
    return elementwise(lambda v: -2 * math.sinh(v) / math.cosh(v) ** 3, x)


def scaled_tanh_curvature(x: Array) -> Array:
    """1.7159 (2/3)^2 times that of tanh at 2x/3."""
    return elementwise(lambda v: -2 * 1.7159 * (2 / 3) ** 2 * math.sinh(2 * v / 3) / math.cosh(2 * v / 3) ** 3, x)


def batchnorm(ddx: Array, dy: Array, x: Array, gamma: Array, eps: float) -> tuple[Array, Array, Array]:
    """(ddy, the gradient on x, dgamma) of arrays (R, C), by the Jacobian of one channel after the other.

    J_ij = gamma s ([i = j] - 1/R - n_i n_j / R) with the normalised values n and s = 1 / sqrt(var + eps), and
    ds/dx_k = -s^2 n_k / R,    dn_i/dx_k = s ([i = k] - 1/R - n_i n_k / R).
    """
    ddy, on_x, dgamma = np.zeros(x.shape), np.zeros(x.shape), np.zeros(gamma.shape)
    count = len(x)
    for c in range(x.shape[1]):
        mean = sum(x[:, c]) / count
        s = 1 / math.sqrt(sum((value - mean) ** 2 for value in x[:, c]) / count + eps)
        n = [(value - mean) * s for value in x[:, c]]
        slope = [[s * ((i == j) - 1 / count - n[i] * n[j] / count) for j in range(count)] for i in range(count)]
        for i in range(count):
            for j in range(count):
                ddy[j, c] += ddx[i, c] * gamma[c] * slope[i][j]
                dgamma[c] += ddx[i, c] * slope[i][j] * dy[j, c]
                for k in range(count):
                    ds = -s * s * n[k] / count
                    dn = -s * (slope[i][k] / s * n[j] + n[i] * slope[j][k] / s) / count
                    on_x[k, c] += ddx[i, c] * gamma[c] * (ds * slope[i][j] / s + dn * s) * dy[j, c]
    return ddy, on_x, dgamma


def gradient_penalty(dx: Array, centre: float) -> tuple[float, Array]:
    """The mean over n of (|dx_n| - centre)^2, and its gradient on each entry, for dx (N, K)."""
    total, ddx = 0.0, np.zeros(dx.shape)
    for n, row in enumerate(dx):
        length = math.sqrt(sum(value * value for value in row))
        total += (length - centre) ** 2 / len(dx)
        for k, value in enumerate(row):
            if length > 0:
                ddx[n, k] = 2 * (length - centre) * value / length / len(dx)
    return total, ddx
