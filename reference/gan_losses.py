"""The losses of the two players of a GAN, written naively from D = 1 / (1 + e^-s).

r are D's logits for real samples, f those for generated ones; logits of moderate size. A
discriminator loss returns (loss, d_real, d_fake), a generator loss (loss, d_fake).
"""

import math
from collections.abc import Callable

import numpy as np

from reference import Array

Scalar = Callable[[float], float]


def sigmoid(s: float) -> float:
    """D's probability that a sample is real."""
    return 1 / (1 + math.exp(-s))


def slope_of_log_d(s: float) -> float:
    """d log D / d s = D' / D with D' = D (1 - D)."""
    return sigmoid(s) * (1 - sigmoid(s)) / sigmoid(s)


def slope_of_log_not_d(s: float) -> float:
    """d log(1 - D) / d s = -D' / (1 - D)."""
    return -sigmoid(s) * (1 - sigmoid(s)) / (1 - sigmoid(s))


def mean_of(term: Scalar, slope: Scalar, logits: Array) -> tuple[float, Array]:
    """The mean of term(s) over all logits, and its gradient slope(s) / n."""
    total, gradient = 0.0, np.zeros(logits.shape)
    for index in np.ndindex(logits.shape):
        total += term(float(logits[index]))
        gradient[index] = slope(float(logits[index])) / logits.size
    return total / logits.size, gradient


def discriminator_bce(
    real: Array, fake: Array, smoothing: float = 0.0, scale: float = 1.0
) -> tuple[float, Array, Array]:
    """-c E[(1 - a) log D(r) + a log(1 - D(r))] - c E[log(1 - D(f))], smoothing a, scale c."""
    loss_real, d_real = mean_of(
        lambda s: -(1 - smoothing) * math.log(sigmoid(s)) - smoothing * math.log(1 - sigmoid(s)),
        lambda s: -(1 - smoothing) * slope_of_log_d(s) - smoothing * slope_of_log_not_d(s),
        real,
    )
    loss_fake, d_fake = mean_of(lambda s: -math.log(1 - sigmoid(s)), lambda s: -slope_of_log_not_d(s), fake)
    return scale * (loss_real + loss_fake), scale * d_real, scale * d_fake


def generator_minimax(fake: Array) -> tuple[float, Array]:
    """E[log(1 - D(f))]."""
    return mean_of(lambda s: math.log(1 - sigmoid(s)), slope_of_log_not_d, fake)


def generator_non_saturating(fake: Array) -> tuple[float, Array]:
    """-E[log D(f)]."""
    return mean_of(lambda s: -math.log(sigmoid(s)), lambda s: -slope_of_log_d(s), fake)


def discriminator_least_squares(real: Array, fake: Array) -> tuple[float, Array, Array]:
    """1/2 E[(r - 1)^2] + 1/2 E[f^2]."""
    loss_real, d_real = mean_of(lambda s: 0.5 * (s - 1) ** 2, lambda s: s - 1, real)
    loss_fake, d_fake = mean_of(lambda s: 0.5 * s**2, lambda s: s, fake)
    return loss_real + loss_fake, d_real, d_fake


def generator_least_squares(fake: Array) -> tuple[float, Array]:
    """1/2 E[(f - 1)^2]."""
    return mean_of(lambda s: 0.5 * (s - 1) ** 2, lambda s: s - 1, fake)


def discriminator_hinge(real: Array, fake: Array) -> tuple[float, Array, Array]:
    """E[max(0, 1 - r)] + E[max(0, 1 + f)]; at a kink the slope is 0."""
    loss_real, d_real = mean_of(lambda s: max(0.0, 1 - s), lambda s: -1.0 if s < 1 else 0.0, real)
    loss_fake, d_fake = mean_of(lambda s: max(0.0, 1 + s), lambda s: 1.0 if s > -1 else 0.0, fake)
    return loss_real + loss_fake, d_real, d_fake


def discriminator_wasserstein(real: Array, fake: Array) -> tuple[float, Array, Array]:
    """E[f] - E[r]."""
    loss_real, d_real = mean_of(lambda s: -s, lambda _: -1.0, real)
    loss_fake, d_fake = mean_of(lambda s: s, lambda _: 1.0, fake)
    return loss_real + loss_fake, d_real, d_fake


def generator_wasserstein(fake: Array) -> tuple[float, Array]:
    """-E[f]."""
    return mean_of(lambda s: -s, lambda _: -1.0, fake)
