"""Element-wise activations, one number at a time.

Derivatives are written in terms of the input x (minigan writes them in terms of the output y), for
moderate x: `math.exp` and `math.cosh` overflow at about 700. At a kink it is the derivative on the left.
"""

import math
from collections.abc import Callable

import numpy as np

from reference import Array


def elementwise(f: Callable[[float], float], x: Array) -> Array:
    """f of each entry of x."""
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        y[index] = f(float(x[index]))
    return y


def times_derivative(dy: Array, df: Callable[[float], float], x: Array) -> Array:
    """dx = f'(x) dy, entry by entry."""
    dx = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        dx[index] = df(float(x[index])) * dy[index]
    return dx


def relu(x: Array) -> Array:
    """x if x > 0, else 0."""
    return elementwise(lambda v: v if v > 0 else 0.0, x)


def relu_backward(dy: Array, x: Array) -> Array:
    """1 if x > 0, else 0."""
    return times_derivative(dy, lambda v: 1.0 if v > 0 else 0.0, x)


def leaky_relu(x: Array, slope: float) -> Array:
    """x if x > 0, else slope x."""
    return elementwise(lambda v: v if v > 0 else slope * v, x)


def leaky_relu_backward(dy: Array, x: Array, slope: float) -> Array:
    """1 if x > 0, else slope."""
    return times_derivative(dy, lambda v: 1.0 if v > 0 else slope, x)


def elu(x: Array, alpha: float) -> Array:
    """x if x > 0, else alpha (e^x - 1)."""
    return elementwise(lambda v: v if v > 0 else alpha * (math.exp(v) - 1), x)


def elu_backward(dy: Array, x: Array, alpha: float) -> Array:
    """1 if x > 0, else alpha e^x."""
    return times_derivative(dy, lambda v: 1.0 if v > 0 else alpha * math.exp(v), x)


def softplus(x: Array) -> Array:
    """log(1 + e^x)."""
    return elementwise(lambda v: math.log(1 + math.exp(v)), x)


def softplus_backward(dy: Array, x: Array) -> Array:
    """e^x / (1 + e^x)."""
    return times_derivative(dy, lambda v: math.exp(v) / (1 + math.exp(v)), x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)."""
    return elementwise(lambda v: 1 / (1 + math.exp(-v)), x)


def sigmoid_backward(dy: Array, x: Array) -> Array:
    """e^-x / (1 + e^-x)^2."""
    return times_derivative(dy, lambda v: math.exp(-v) / (1 + math.exp(-v)) ** 2, x)


def tanh(x: Array) -> Array:
    """(e^x - e^-x) / (e^x + e^-x)."""
    return elementwise(lambda v: (math.exp(v) - math.exp(-v)) / (math.exp(v) + math.exp(-v)), x)


def tanh_backward(dy: Array, x: Array) -> Array:
    """1 / cosh(x)^2."""
    return times_derivative(dy, lambda v: 1 / math.cosh(v) ** 2, x)


def scaled_tanh(x: Array) -> Array:
    """1.7159 tanh(2x/3) (LeCun et al. 1998)."""
    return elementwise(lambda v: 1.7159 * math.tanh(2 * v / 3), x)


def scaled_tanh_backward(dy: Array, x: Array) -> Array:
    """1.7159 (2/3) / cosh(2x/3)^2."""
    return times_derivative(dy, lambda v: 1.7159 * (2 / 3) / math.cosh(2 * v / 3) ** 2, x)
