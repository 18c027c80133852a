"""G's gradient through D's updates in forward mode: one number of one sample is varied, and its slope goes along.

Every number is a pair (value, slope), which the chain rule carries through D, through D's gradient, written out for one
hidden layer of tanh units, through the update, and so on to the loss at the end. Nothing goes backwards, and no second
derivative is written down.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from reference import Array


@dataclass(frozen=True)
class Dual:
    """a + b e with e^2 = 0: a number, and how fast it changes."""

    value: float
    slope: float = 0.0

    def __add__(self, other: "Dual") -> "Dual":
        return Dual(self.value + other.value, self.slope + other.slope)

    def __sub__(self, other: "Dual") -> "Dual":
        return Dual(self.value - other.value, self.slope - other.slope)

    def __mul__(self, other: "Dual") -> "Dual":
        return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)

    def __truediv__(self, other: "Dual") -> "Dual":
        quotient = self.value / other.value
        return Dual(quotient, (self.slope - quotient * other.slope) / other.value)


def sqrt(a: Dual) -> Dual:
    root = math.sqrt(a.value)
    return Dual(root, a.slope / (2 * root))


def tanh(a: Dual) -> Dual:
    value = math.tanh(a.value)
    return Dual(value, (1 - value * value) * a.slope)


def sigmoid(a: Dual) -> Dual:
    value = 1 / (1 + math.exp(-a.value))
    return Dual(value, value * (1 - value) * a.slope)


def log(a: Dual) -> Dual:
    return Dual(math.log(a.value), a.slope / a.value)


ONE = Dual(1.0)
# (parameter, gradient, moments, number of the update) -> (new parameter, new moments)
Rule = Callable[[Dual, Dual, list[Dual], int], tuple[Dual, list[Dual]]]


def sgd(lr: float) -> Rule:
    return lambda w, g, moments, _t: (w - Dual(lr) * g, moments)


def momentum(lr: float, mu: float) -> Rule:
    def rule(w: Dual, g: Dual, moments: list[Dual], _t: int) -> tuple[Dual, list[Dual]]:
        v = Dual(mu) * moments[0] - Dual(lr) * g
        return w + v, [v]

    return rule


def rmsprop(lr: float, rho: float, eps: float) -> Rule:
    def rule(w: Dual, g: Dual, moments: list[Dual], _t: int) -> tuple[Dual, list[Dual]]:
        v = Dual(rho) * moments[0] + Dual(1 - rho) * g * g
        return w - Dual(lr) * g / (sqrt(v) + Dual(eps)), [v]

    return rule


def adam(lr: float, beta1: float, beta2: float, eps: float) -> Rule:
    def rule(w: Dual, g: Dual, moments: list[Dual], t: int) -> tuple[Dual, list[Dual]]:
        m = Dual(beta1) * moments[0] + Dual(1 - beta1) * g
        v = Dual(beta2) * moments[1] + Dual(1 - beta2) * g * g
        corrected = m / Dual(1 - beta1**t), v / Dual(1 - beta2**t)
        return w - Dual(lr) * corrected[0] / (sqrt(corrected[1]) + Dual(eps)), [m, v]

    return rule


def discriminator(x: list[Dual], theta: list[Dual], hidden: int) -> tuple[Dual, list[Dual]]:
    """D(x), and the gradient of its logit on theta = (w (I, H), b (H,), v (H,), c): each entry by the chain rule."""
    w, (b, v, c) = theta, (len(x) * hidden, len(x) * hidden + hidden, len(x) * hidden + 2 * hidden)
    activations = []
    for j in range(hidden):
        total = theta[b + j]
        for i in range(len(x)):
            total = total + x[i] * w[i * hidden + j]
        activations.append(tanh(total))
    logit = theta[c]
    for j in range(hidden):
        logit = logit + activations[j] * theta[v + j]
    slopes = [theta[v + j] * (ONE - activations[j] * activations[j]) for j in range(hidden)]
    gradient = [x[i] * slopes[j] for i in range(len(x)) for j in range(hidden)]
    return sigmoid(logit), [*gradient, *slopes, *activations, ONE]


def loss_and_gradient(
    real: list[list[Dual]], fake: list[list[Dual]], theta: list[Dual], hidden: int
) -> tuple[Dual, list[Dual]]:
    """L_D = -E log D(x) - E log(1 - D(G(z))) and its gradient."""
    loss, gradient = Dual(0.0), [Dual(0.0)] * len(theta)
    for samples, target in ((real, 1.0), (fake, 0.0)):
        share = Dual(1 / len(samples))
        for x in samples:
            p, on_theta = discriminator(x, theta, hidden)
            loss = loss - share * log(p if target else ONE - p)
            gradient = [g + share * (p - Dual(target)) * d for g, d in zip(gradient, on_theta, strict=True)]
    return loss, gradient


def gradient_on_samples(
    real: Array, fake: Array, theta: Array, moments: list[Array], hidden: int, rule: Rule, done: int, steps: int
) -> Array:
    """Of -L_D after so many updates, for each number of the generated samples; `done` updates lie behind."""
    found = fake.copy()
    for n in range(fake.shape[0]):
        for i in range(fake.shape[1]):
            moving = [
                [Dual(float(x), float((m, k) == (n, i))) for k, x in enumerate(row)] for m, row in enumerate(fake)
            ]
            standing = [[Dual(float(x)) for x in row] for row in real]
            w = [Dual(float(number)) for number in theta]
            kept = [[Dual(float(moment[p])) for moment in moments] for p in range(len(theta))]
            for k in range(steps):
                _, g = loss_and_gradient(standing, moving, w, hidden)
                moved = [rule(*each, done + 1 + k) for each in zip(w, g, kept, strict=True)]
                w, kept = [new for new, _ in moved], [of for _, of in moved]
            found[n, i] = -loss_and_gradient(standing, moving, w, hidden)[0].slope
    return found
