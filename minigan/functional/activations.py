r"""Element-wise activations: y = f(x) and dx = f'(x) dy.

Each derivative is written in terms of the *output* y, so the cache is the output and nothing
else has to be kept:

============  ==================================  ===========================  ==========================
activation    f(x)                                f'(x) in terms of y = f(x)   f''(x) = f'(x) d f'/dy
============  ==================================  ===========================  ==========================
relu          max(x, 0)                           1 if y > 0 else 0            0
leaky_relu    x if x > 0 else slope x             1 if y > 0 else slope        0
elu           x if x > 0 else alpha (exp(x) - 1)  1 if y > 0 else y + alpha    0 if y > 0 else y + alpha
softplus      log(1 + exp(x))                     1 - exp(-y)                  f'(x) exp(-y)
sigmoid       1 / (1 + exp(-x))                   y (1 - y)                    f'(x) (1 - 2y)
tanh          tanh(x)                             1 - y^2                      -2y f'(x)
scaled_tanh   1.7159 tanh(2x/3)                   2/3 (1.7159 - y^2 / 1.7159)  -4/3 (y / 1.7159) f'(x)
============  ==================================  ===========================  ==========================

At a kink (x = 0) the derivative is that of the left side, as in PyTorch. x and y have any shape.

A penalty on gradients needs the adjoint of each backward (docs/derivations/double-backward.md). Of ddx, a gradient
on dx = f'(x) dy, it makes one on dy, ddy = f'(x) ddx, which the backward itself computes, and one on x,
f''(x) dy ddx: the double backwards below. Rectifiers have none, as their f'' is 0.
"""

from typing import NamedTuple

from minigan.backend import array_module
from minigan.typing import Array

SCALED_TANH_GAIN = 1.7159  # LeCun et al. 1998, "Efficient BackProp", section 4.4: f(1) = 1 and f(-1) = -1, nearly
SCALED_TANH_SLOPE = 2 / 3


class ActivationCache(NamedTuple):
    y: Array  # (...)  the output, from which the derivative is computed


def relu(x: Array) -> tuple[Array, ActivationCache]:
    r"""Rectified linear unit (Nair & Hinton 2010): :math:`y = \max(x, 0)`."""
    y = array_module(x).maximum(x, 0)
    return y, ActivationCache(y)


def relu_backward(dy: Array, cache: ActivationCache) -> Array:
    r""":math:`dx = dy` where :math:`y > 0`, else 0."""
    return dy * (cache.y > 0)


def leaky_relu(x: Array, slope: float) -> tuple[Array, ActivationCache]:
    r"""Leaky rectifier (Maas et al. 2013): :math:`y = x` if :math:`x > 0`, else :math:`y = s x`, 0 <= s."""
    y = array_module(x).where(x > 0, x, slope * x)
    return y, ActivationCache(y)


def leaky_relu_backward(dy: Array, cache: ActivationCache, slope: float) -> Array:
    r""":math:`dx = dy` where :math:`y > 0`, else :math:`s\, dy`."""
    return array_module(dy).where(cache.y > 0, dy, slope * dy)


def elu(x: Array, alpha: float) -> tuple[Array, ActivationCache]:
    r"""Exponential linear unit (Clevert et al. 2016, section 3): :math:`y = x` if :math:`x > 0`, else
    :math:`y = \alpha (e^x - 1)`."""
    xp = array_module(x)
    y = xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))  # the minimum keeps expm1 from overflowing
    return y, ActivationCache(y)


def elu_backward(dy: Array, cache: ActivationCache, alpha: float) -> Array:
    r""":math:`dx = dy` where :math:`y > 0`, else :math:`\alpha e^x dy = (y + \alpha)\, dy`."""
    return array_module(dy).where(cache.y > 0, dy, (cache.y + alpha) * dy)


def elu_double_backward(ddx: Array, dy: Array, cache: ActivationCache, alpha: float) -> Array:
    r"""On x: :math:`f''(x)\, dy\, ddx`, with :math:`f'' = 0` where :math:`y > 0`, else :math:`y + \alpha`."""
    return array_module(dy).where(cache.y > 0, 0, (cache.y + alpha) * dy * ddx)


def softplus(x: Array) -> tuple[Array, ActivationCache]:
    r"""Smooth rectifier (Dugas et al. 2001): :math:`y = \log(1 + e^x) = \max(x, 0) + \log(1 + e^{-|x|})`.

    The second form never overflows and loses no digits where y is small.
    """
    xp = array_module(x)
    y = xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x)))
    return y, ActivationCache(y)


def softplus_backward(dy: Array, cache: ActivationCache) -> Array:
    r""":math:`dx = \sigma(x)\, dy = (1 - e^{-y})\, dy`."""
    return -array_module(dy).expm1(-cache.y) * dy


def softplus_double_backward(ddx: Array, dy: Array, cache: ActivationCache) -> Array:
    r"""On x: :math:`\sigma (1 - \sigma)\, dy\, ddx = (1 - e^{-y})\, e^{-y} dy\, ddx`."""
    return softplus_backward(dy, cache) * array_module(dy).exp(-cache.y) * ddx


def sigmoid(x: Array) -> tuple[Array, ActivationCache]:
    r"""Logistic function: :math:`y = 1 / (1 + e^{-x})`.

    With :math:`e = e^{-|x|}` it is :math:`1/(1+e)` for positive and :math:`e/(1+e)` for negative x:
    no overflow, and full relative accuracy in both tails.
    """
    xp = array_module(x)
    e = xp.exp(-abs(x))
    y = xp.where(x > 0, 1, e) / (1 + e)
    return y, ActivationCache(y)


def sigmoid_backward(dy: Array, cache: ActivationCache) -> Array:
    r""":math:`dx = y (1 - y)\, dy`."""
    return cache.y * (1 - cache.y) * dy


def sigmoid_double_backward(ddx: Array, dy: Array, cache: ActivationCache) -> Array:
    r"""On x: :math:`y (1 - y)(1 - 2y)\, dy\, ddx`."""
    return sigmoid_backward(dy, cache) * (1 - 2 * cache.y) * ddx


def tanh(x: Array) -> tuple[Array, ActivationCache]:
    r"""Hyperbolic tangent: :math:`y = \tanh x`."""
    y = array_module(x).tanh(x)
    return y, ActivationCache(y)


def tanh_backward(dy: Array, cache: ActivationCache) -> Array:
    r""":math:`dx = (1 - y^2)\, dy`."""
    return (1 - cache.y * cache.y) * dy


def tanh_double_backward(ddx: Array, dy: Array, cache: ActivationCache) -> Array:
    r"""On x: :math:`-2 y (1 - y^2)\, dy\, ddx`."""
    return tanh_backward(dy, cache) * (-2 * cache.y) * ddx


def scaled_tanh(x: Array) -> tuple[Array, ActivationCache]:
    r"""LeCun's tanh (1998, section 4.4): :math:`y = a \tanh(\tfrac23 x)` with :math:`a = 1.7159`."""
    y = SCALED_TANH_GAIN * array_module(x).tanh(SCALED_TANH_SLOPE * x)
    return y, ActivationCache(y)


def scaled_tanh_backward(dy: Array, cache: ActivationCache) -> Array:
    r""":math:`dx = \tfrac23 (a - y^2 / a)\, dy`."""
    return SCALED_TANH_SLOPE * (SCALED_TANH_GAIN - cache.y * cache.y / SCALED_TANH_GAIN) * dy


def scaled_tanh_double_backward(ddx: Array, dy: Array, cache: ActivationCache) -> Array:
    r"""On x: :math:`-\tfrac43 \tfrac{y}{a} f'(x)\, dy\, ddx`."""
    return scaled_tanh_backward(dy, cache) * (-2 * SCALED_TANH_SLOPE / SCALED_TANH_GAIN * cache.y) * ddx
