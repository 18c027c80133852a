"""Update rules on a GPU: one launch for all parameters of a network (updates.cu).

Coefficients that change from update to update are arrays of one number, or numbers, which are then put into such
arrays first. Everything but g and the coefficients changes in place.
"""

from typing import Any

from minigan.backend import array_module
from minigan.cuda.launch import launch_each
from minigan.typing import Array

Coefficient = Array | float


def sgd(theta: Array, g: Array, lr: Coefficient) -> None:
    """See `minigan.optim.sgd.SGD`."""
    _launch("sgd", theta, g, _array(lr, theta))


def momentum(theta: Array, g: Array, velocity: Array, mu: Coefficient, lr: Coefficient) -> None:
    """See `minigan.optim.sgd.Momentum`; mu is the momentum."""
    _launch("momentum", theta, g, velocity, _array(mu, theta), _array(lr, theta))


def rmsprop(theta: Array, g: Array, v: Array, lr: Coefficient, *, rho: float, eps: float) -> None:
    """See `minigan.optim.rmsprop.RMSprop`."""
    real = theta.dtype.type
    _launch("rmsprop", theta, g, v, _array(lr, theta), real(rho), real(1 - rho), real(eps))


def adam(
    theta: Array, g: Array, m: Array, v: Array, step: Coefficient, correction: Coefficient, *,
    beta1: float, beta2: float, eps: float,
) -> None:  # fmt: skip
    r"""See `minigan.optim.adam.Adam`, with :math:`\eta / (1 - \beta_1^t)` and :math:`1 / \sqrt{1 - \beta_2^t}`."""
    real, changing = theta.dtype.type, (_array(step, theta), _array(correction, theta))
    constant = (real(beta1), real(1 - beta1), real(beta2), real(1 - beta2), real(eps))
    _launch("adam", theta, g, m, v, *changing, *constant)


def average(mean: Array, theta: Array, decay: Coefficient) -> None:
    """See `minigan.optim.average.update_average`; mean changes."""
    _launch("average", mean, theta, _array(decay, theta))


def _array(coefficient: Coefficient, like: Array) -> Array:
    """A number travels with the launch of the kernel that writes it: nothing waits."""
    if isinstance(coefficient, float):
        return array_module(like).full((), coefficient, like.dtype)
    return coefficient


def _launch(kernel: str, theta: Array, *others: Any) -> None:
    launch_each("updates", kernel, theta, *others, n=theta.size)
