"""Adam: adaptive moments (Kingma & Ba 2015)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from minigan.backend import array_module
from minigan.optim.optimiser import Moments, Optimiser, root_and_inverse
from minigan.optim.schedules import Schedule, at
from minigan.typing import Array


@dataclass(frozen=True)
class Adam(Optimiser):
    r"""Algorithm 1 of Kingma & Ba 2015; the GAN papers use beta1 = 0.5.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad
              v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2, \qquad
              \theta \leftarrow \theta - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    lr: eta, a number or a schedule; beta1, beta2: in [0, 1); eps: above 0. Further arguments and errors are those of
    Optimiser.
    """

    lr: float | Schedule
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    moment_names: ClassVar[tuple[str, ...]] = ("m", "v")
    shares: ClassVar[tuple[str, ...]] = ("beta1", "beta2")
    positive: ClassVar[tuple[str, ...]] = (*Optimiser.positive, "eps")  # 0 / 0 where there is no gradient

    def coefficients(self, t: int) -> tuple[float, ...]:
        # The two corrections are numbers, so they are taken out of the vectors.
        return at(self.lr, t) / (1 - self.beta1**t), 1 / math.sqrt(1 - self.beta2**t)

    def rule(self, theta: Array, g: Array, moments: Moments, *coefficients: float | Array) -> None:
        step, correction = coefficients
        m, v = moments["m"], moments["v"]
        m *= self.beta1
        m += (1 - self.beta1) * g
        v *= self.beta2
        v += (1 - self.beta2) * g * g
        root = array_module(v).sqrt(v)
        root *= correction
        root += self.eps
        theta -= step * m / root

    def rule_backward(
        self, dtheta: Array, g: Array, moments: Moments, dmoments: Moments, *coefficients: float | Array
    ) -> tuple[Array, Moments]:
        r"""With a and c the coefficients and :math:`r = c \sqrt v + \epsilon`:

        .. math:: dm \mathrel{+}= -\frac{a}{r} d\theta, \quad
                  dv \mathrel{+}= \frac{a\, m}{r^2} \frac{c}{2 \sqrt v} d\theta, \quad
                  dg = (1 - \beta_1)\, dm + 2 (1 - \beta_2)\, g\, dv, \quad (\beta_1 dm, \beta_2 dv)
        """
        step, correction = coefficients
        root, inverse = root_and_inverse(moments["v"])
        divisor = correction * root + self.eps
        share = step * dtheta / divisor
        dm = dmoments["m"] - share
        dv = dmoments["v"] + share * moments["m"] / divisor * (correction / 2) * inverse
        dg = (1 - self.beta1) * dm + 2 * (1 - self.beta2) * g * dv
        return dg, {"m": self.beta1 * dm, "v": self.beta2 * dv}
