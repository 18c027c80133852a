"""Batch normalisation and the leaky rectifier after it, as one operation; slope 0 is ReLU.

Nothing new is computed. But the two stand side by side in nearly every layer of a DCGAN, and a kernel that does
both reads and writes the array half as often.
"""

from typing import NamedTuple

from minigan.functional.activations import ActivationCache, leaky_relu, leaky_relu_backward
from minigan.functional.batchnorm import BatchNormCache, batchnorm, batchnorm_backward
from minigan.typing import Array


class BatchNormLeakyCache(NamedTuple):
    norm: BatchNormCache
    activation: ActivationCache


def batchnorm_leaky(x: Array, gamma: Array, beta: Array, eps: float, slope: float) -> tuple[Array, BatchNormLeakyCache]:
    r"""Normalise by the batch statistics, then rectify.

    .. math:: y = f(\gamma \hat x + \beta), \qquad f(a) = a \text{ if } a > 0, \text{ else } s\, a

    Parameters: x (..., C); gamma, beta (C,); slope s >= 0. Returns y (..., C) and what backward needs.
    Raises ValueError if there is one sample only, which has no variance.
    """
    a, norm = batchnorm(x, gamma, beta, eps)
    y, activation = leaky_relu(a, slope)
    return y, BatchNormLeakyCache(norm, activation)


def batchnorm_leaky_backward(
    dy: Array, gamma: Array, cache: BatchNormLeakyCache, slope: float
) -> tuple[Array, Array, Array]:
    r"""Gradients with respect to x, gamma and beta: those of `batchnorm_backward` for :math:`da = f'(a)\, dy`.

    Parameters: dy (..., C); gamma (C,). Returns dx (..., C), dgamma (C,), dbeta (C,).
    """
    da = leaky_relu_backward(dy, cache.activation, slope)
    return batchnorm_backward(da, gamma, cache.norm)
