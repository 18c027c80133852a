r"""Penalties on the gradients of D's logits, which keep D from becoming steep: R = weight E[(||dD/dx|| - centre)^2].

D then minimises its loss plus R. The gradient of a gradient takes three walks through D (derivation:
docs/derivations/double-backward.md): forward on x; back to dD/dx, without any gradient of parameters; and from the
gradient of R on that forward once more, which is where R's gradient on the parameters comes from.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from minigan import ops
from minigan.backend import array_module
from minigan.games.player import Player
from minigan.typing import Array

At = Literal["between", "real", "generated"]


@dataclass(frozen=True)
class GradientPenalty:
    """weight: the factor of the mean; centre: the length that gradients should have;
    at: where they are taken, at real or at generated samples, or at points on the straight lines between both.

    A sample's gradient is that of the sum of its logits, of which there should be one. BatchNorm in D makes a logit
    depend on the other samples, so that dD/dx is no gradient of one sample any more; Gulrajani et al. 2017 (section 4)
    leave it out of D. Raises ValueError for a negative or infinite number.
    """

    weight: float
    centre: float = 0.0
    at: At = "real"

    def __post_init__(self) -> None:
        for name in ("weight", "centre"):
            number = float(getattr(self, name))  # one of NumPy would turn float32 into float64
            if not 0 <= number < math.inf:
                raise ValueError(f"the {name} of a gradient penalty is finite and not negative, got {self}")
            object.__setattr__(self, name, number)
        if self.at not in get_args(At):
            raise ValueError(f"unknown place of a gradient penalty {self.at!r}: choose {', '.join(get_args(At))}")

    def points(self, real: Array, fake: Array, share: Array | None) -> Array:
        """Where gradients are taken, (N, ...); share (N,): how much of each point between is real."""
        if self.at == "between":
            assert share is not None
            share = share.reshape(-1, *(1,) * (real.ndim - 1))  # (N, 1, ...)
            return fake + share * (real - fake)
        return real if self.at == "real" else fake

    def add(self, d: Player, x: Array, rng: np.random.Generator) -> Array:
        """Add the gradient of R at the points x to D's gradients; returns R, an array without axes.

        Running statistics do not move: x may be no sample of anything.
        """
        net = d.net.unfused()
        logits, cache = net.forward(d.theta, x, train=True, rng=rng)
        dx, kept = net.input_gradient(d.theta, array_module(logits).ones_like(logits), cache)  # of each logit on its x
        free = x.shape[-1] - net.condition  # what D is told besides is given, and its gradient nobody's
        value, ddx = ops.gradient_penalty(dx[..., :free], self.centre)
        if net.condition:
            ddx = ops.with_condition(ddx, array_module(x).zeros((len(x), net.condition), x.dtype))
        net.double_backward(d.theta, ddx * self.weight, kept, cache, d.grads)
        return value * self.weight


def wgan_gp(weight: float = 10.0) -> GradientPenalty:
    """Gulrajani et al. 2017, eq. 3: gradients between real and generated samples have the length 1."""
    return GradientPenalty(weight, centre=1.0, at="between")


def r1(gamma: float = 10.0) -> GradientPenalty:
    """Mescheder et al. 2018, eq. 9: D is flat at real samples, R = gamma/2 E[||dD/dx||^2]."""
    return GradientPenalty(gamma / 2, centre=0.0, at="real")
