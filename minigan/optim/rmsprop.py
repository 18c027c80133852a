"""RMSprop (Tieleman & Hinton 2012, lecture 6.5)."""

from dataclasses import dataclass
from typing import ClassVar

from minigan.backend import array_module
from minigan.optim.optimiser import Moments, Optimiser
from minigan.optim.schedules import Schedule, at
from minigan.typing import Array


@dataclass(frozen=True)
class RMSprop(Optimiser):
    r"""Divide by a running root mean square of the gradient; WGAN's choice (Arjovsky et al. 2017).

    .. math:: v \leftarrow \rho v + (1 - \rho)\, g^2, \qquad
              \theta \leftarrow \theta - \eta\, \frac{g}{\sqrt v + \epsilon}
    """

    lr: float | Schedule
    rho: float = 0.99
    eps: float = 1e-8

    moment_names: ClassVar[tuple[str, ...]] = ("v",)

    def rule(self, theta: Array, g: Array, moments: Moments, t: int) -> None:
        v = moments["v"]
        v *= self.rho
        v += (1 - self.rho) * g * g
        theta -= at(self.lr, t) * g / (array_module(v).sqrt(v) + self.eps)
