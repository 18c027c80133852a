"""Stochastic gradient descent, plain and with momentum."""

from dataclasses import dataclass
from typing import ClassVar

from minigan.optim.optimiser import Moments, Optimiser
from minigan.optim.schedules import Schedule, at
from minigan.typing import Array


@dataclass(frozen=True)
class SGD(Optimiser):
    r"""Steepest descent (Robbins & Monro 1951): :math:`\theta \leftarrow \theta - \eta\, g`.

    lr: eta, a number or a function of the number of the update (`optim.schedules`); further arguments and errors are
    those of Optimiser.
    """

    lr: float | Schedule

    def coefficients(self, t: int) -> tuple[float, ...]:
        return (at(self.lr, t),)

    def rule(self, theta: Array, g: Array, moments: Moments, *coefficients: float | Array) -> None:
        (lr,) = coefficients
        theta -= lr * g

    def rule_backward(
        self, dtheta: Array, g: Array, moments: Moments, dmoments: Moments, *coefficients: float | Array
    ) -> tuple[Array, Moments]:
        r""":math:`dg = -\eta\, d\theta`."""
        (lr,) = coefficients
        return -lr * dtheta, {}


@dataclass(frozen=True)
class Momentum(Optimiser):
    r"""Classical momentum (Polyak 1964; Sutskever et al. 2013, eq. 1 and 2).

    .. math:: v \leftarrow \mu v - \eta\, g, \qquad \theta \leftarrow \theta + v

    The learning rate is inside v, so a change of it acts on new gradients only (PyTorch keeps it outside).

    lr, momentum: eta, and mu in [0, 1), numbers or schedules; further arguments and errors are those of Optimiser.
    """

    lr: float | Schedule
    momentum: float | Schedule

    moment_names: ClassVar[tuple[str, ...]] = ("velocity",)
    shares: ClassVar[tuple[str, ...]] = ("momentum",)

    def coefficients(self, t: int) -> tuple[float, ...]:
        return at(self.lr, t), at(self.momentum, t)

    def rule(self, theta: Array, g: Array, moments: Moments, *coefficients: float | Array) -> None:
        lr, momentum = coefficients
        v = moments["velocity"]
        v *= momentum
        v -= lr * g
        theta += v

    def rule_backward(
        self, dtheta: Array, g: Array, moments: Moments, dmoments: Moments, *coefficients: float | Array
    ) -> tuple[Array, Moments]:
        r""":math:`dv \mathrel{+}= d\theta, \quad dg = -\eta\, dv, \quad \mu\, dv`."""
        lr, momentum = coefficients
        dv = dmoments["velocity"] + dtheta
        return -lr * dv, {"velocity": momentum * dv}
