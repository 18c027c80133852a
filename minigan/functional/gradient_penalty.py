"""What a gradient penalty asks of the gradients of D on single samples: a certain length."""

from minigan.backend import array_module
from minigan.typing import Array


def gradient_penalty(dx: Array, centre: float) -> tuple[Array, Array]:
    r"""The mean squared distance of the lengths of the gradients from c, and its gradient on them.

    .. math:: R = \frac1N \sum_n (\|dx_n\| - c)^2, \qquad
              ddx_n = \frac2N \Big(1 - \frac{c}{\|dx_n\|}\Big)\, dx_n

    c = 1 is WGAN-GP (Gulrajani et al. 2017, eq. 3), c = 0 R1 (Mescheder et al. 2018, eq. 9). Where a gradient is zero,
    the length has a kink, and ddx is taken as 0; it goes there below lengths of 1e-18, whose squares float32 lacks.

    Parameters: dx (N, ...), of each sample the gradient of its own logit; c >= 0. Returns R, an array without axes, and
    ddx (N, ...).
    """
    rows = dx.reshape(len(dx), -1)  # (N, K)
    length = array_module(dx).sqrt((rows * rows).sum(axis=1, keepdims=True))  # (N, 1)
    excess = length - centre  # (N, 1)
    factor = 1 - centre / array_module(dx).maximum(length, 1e-18)  # (N, 1)
    return (excess * excess).mean(), (rows * (factor * (2 / len(dx)))).reshape(dx.shape)
