"""Update rules with coefficients that change, and what a few updates by them leave."""

from dataclasses import dataclass

import numpy as np

from minigan.nn import Dense, init_params
from minigan.optim import SGD, Adam, ExponentialDecay, LinearRamp, Momentum, RMSprop
from tests.strategies import normal

LR = ExponentialDecay(0.1, 1.5)
RULES = {
    "sgd": SGD(LR),
    "momentum": Momentum(LR, LinearRamp(0.5, 0.9, 5)),
    "rmsprop": RMSprop(LR, rho=0.7),
    "adam": Adam(LR, beta1=0.5, beta2=0.8),
}


@dataclass(frozen=True)
class Backwards(SGD):
    """One of a user's own, with the moments and the coefficients of one that is known."""

    def rule(self, theta, g, moments, *coefficients):
        theta += coefficients[0] * g


def after_updates(rule, number, dtype=np.float64, device=None, ready=None):
    """Parameters and moments after so many updates with the same gradients, on the host or on a device."""
    place = {} if device is None else {"device": device}
    theta = init_params(Dense(7), (11,), np.random.default_rng(0), dtype=dtype, **place)
    grads, moments = theta.gradients(), rule.init_moments(theta)
    for t in range(1, number + 1):
        g = normal([1, t], *theta.flat.shape).astype(dtype)
        grads.flat += g if device is None else device.put(g)  # the last update has left zeros
        rule.update(theta, grads, moments, t, ready and ready(theta.flat, rule.coefficients(t)))
    return [vector if device is None else vector.get() for vector in (theta.flat, *moments.values())]
