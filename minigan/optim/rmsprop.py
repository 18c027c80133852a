"""RMSprop (Tieleman & Hinton 2012, lecture 6.5)."""

from dataclasses import dataclass
from typing import ClassVar

from minigan.backend import array_module
from minigan.optim.optimiser import Moments, Optimiser, root_and_inverse
from minigan.optim.schedules import Schedule, at
from minigan.typing import Array


@dataclass(frozen=True)
class RMSprop(Optimiser):
    r"""Divide by a running root mean square of the gradient; WGAN's choice (Arjovsky et al. 2017).

    .. math:: v \leftarrow \rho v + (1 - \rho)\, g^2, \qquad
              \theta \leftarrow \theta - \eta\, \frac{g}{\sqrt v + \epsilon}

    lr: eta, a number or a schedule; rho: in [0, 1); eps: above 0. Further arguments and errors are those of Optimiser.
    """

    lr: float | Schedule
    rho: float = 0.99
    eps: float = 1e-8

    moment_names: ClassVar[tuple[str, ...]] = ("v",)
    shares: ClassVar[tuple[str, ...]] = ("rho",)
    positive: ClassVar[tuple[str, ...]] = (*Optimiser.positive, "eps")  # 0 / 0 where there is no gradient

    def coefficients(self, t: int) -> tuple[float, ...]:
        return (at(self.lr, t),)

    def rule(self, theta: Array, g: Array, moments: Moments, *coefficients: float | Array) -> None:
        (lr,) = coefficients
        v = moments["v"]
        v *= self.rho
        v += (1 - self.rho) * g * g
        theta -= lr * g / (array_module(v).sqrt(v) + self.eps)

    def rule_backward(
        self, dtheta: Array, g: Array, moments: Moments, dmoments: Moments, *coefficients: float | Array
    ) -> tuple[Array, Moments]:
        r"""With :math:`r = \sqrt v + \epsilon`:

        .. math:: dv \mathrel{+}= \frac{\eta\, g}{r^2} \frac{1}{2 \sqrt v} d\theta, \quad
                  dg = 2 (1 - \rho)\, g\, dv - \frac{\eta}{r} d\theta, \quad \rho\, dv
        """
        (lr,) = coefficients
        root, inverse = root_and_inverse(moments["v"])
        divisor = root + self.eps
        step = lr * dtheta / divisor
        dv = dmoments["v"] + step * g / divisor * inverse / 2
        return 2 * (1 - self.rho) * g * dv - step, {"v": self.rho * dv}
