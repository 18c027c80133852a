"""Update rules, one coordinate at a time, over a given list of gradients g_1 ... g_T.

Each function returns theta after the last gradient and changes none of its arguments.
"""

import math
from collections.abc import Sequence

import numpy as np

from reference import Array


def sgd(theta: Array, grads: Sequence[Array] | Array, lr: float, momentum: float = 0.0) -> Array:
    """Gradient descent with classical momentum: v = momentum v - lr g, theta = theta + v."""
    result = np.zeros(theta.shape)
    for i in range(len(theta)):
        position, velocity = float(theta[i]), 0.0
        for g in grads:
            velocity = momentum * velocity - lr * g[i]
            position = position + velocity
        result[i] = position
    return result


def adam(theta: Array, grads: Sequence[Array] | Array, lr: float, beta1: float, beta2: float, eps: float) -> Array:
    """Kingma & Ba 2015, Algorithm 1: both averages are divided by 1 - beta^t; eps is added to the root."""
    result = np.zeros(theta.shape)
    for i in range(len(theta)):
        position, m, v = float(theta[i]), 0.0, 0.0
        for t, g in enumerate(grads, start=1):
            m = beta1 * m + (1 - beta1) * g[i]
            v = beta2 * v + (1 - beta2) * g[i] ** 2
            m_hat = m / (1 - beta1**t)
            v_hat = v / (1 - beta2**t)
            position = position - lr * m_hat / (math.sqrt(v_hat) + eps)
        result[i] = position
    return result


def rmsprop(theta: Array, grads: Sequence[Array] | Array, lr: float, rho: float, eps: float) -> Array:
    """Tieleman & Hinton 2012, lecture 6.5: v = rho v + (1 - rho) g^2, theta = theta - lr g / (sqrt(v) + eps)."""
    result = np.zeros(theta.shape)
    for i in range(len(theta)):
        position, v = float(theta[i]), 0.0
        for g in grads:
            v = rho * v + (1 - rho) * g[i] ** 2
            position = position - lr * g[i] / (math.sqrt(v) + eps)
        result[i] = position
    return result
