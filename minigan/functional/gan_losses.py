r"""What the two players of a GAN minimise, as functions of D's logits.

r are the logits of real samples, f those of generated ones (any shape, n and m entries).
A discriminator loss returns ``(loss, dreal, dfake)``, a generator loss ``(loss, dfake)``;
each gradient, of the shape of its logits, already holds the factor 1/n of its mean. A loss is an array of one number,
without axes. E is the mean over the entries. With D = sigmoid(s):

    -log D = softplus(-s),    -log(1 - D) = softplus(s)
"""

from typing import NamedTuple

from minigan.backend import array_module
from minigan.functional.activations import sigmoid, softplus
from minigan.typing import Array


class BothLosses(NamedTuple):
    """What one forward pass of D on N real and then M generated samples tells both players."""

    loss_d: Array
    loss_g: Array
    p_real: Array  # the mean of D(x)
    p_fake: Array  # the mean of D(G(z))
    dlogits: Array  # (N + M, 1)  of D's loss; on generated samples nowhere nearly zero
    ratio: Array  # (M, 1)  the gradient of G's loss on each of their logits, over that of D's


def discriminator_bce(
    real: Array, fake: Array, smoothing: float = 0.0, scale: float = 1.0
) -> tuple[Array, Array, Array]:
    r"""The discriminator of Goodfellow et al. 2014 (eq. 1, negated): binary cross-entropy.

    .. math:: L = -c\,\mathbb E[\log D(x)] - c\,\mathbb E[\log(1 - D(G(z)))], \qquad
              dr = -\tfrac{c}{n}\, \sigma(-r), \quad df = \tfrac{c}{m}\, \sigma(f)

    One-sided label smoothing a (Salimans et al. 2016, section 3.4) asks for D(x) = 1 - a instead of 1:
    the first term becomes :math:`(1-a)\,\mathrm{softplus}(-r) + a\,\mathrm{softplus}(r)`. Some codes
    halve the sum (c = 1/2).

    Parameters: real, fake (logits r, f); smoothing a in [0, 1); scale c > 0. Returns L, dr, df.
    """
    smoothing, scale = float(smoothing), float(scale)  # NumPy numbers would turn float32 into float64
    loss_real = (1 - smoothing) * softplus(-real)[0] + smoothing * softplus(real)[0]
    dreal = smoothing * sigmoid(real)[0] - (1 - smoothing) * sigmoid(-real)[0]
    loss = scale * (loss_real.mean() + softplus(fake)[0].mean())
    return loss, dreal * (scale / real.size), sigmoid(fake)[0] * (scale / fake.size)


def discriminator_bce_double_backward(
    ddreal: Array, ddfake: Array, real: Array, fake: Array, scale: float = 1.0
) -> tuple[Array, Array]:
    r"""The adjoint of the gradients of `discriminator_bce`, whatever the smoothing:

    .. math:: \tfrac{c}{n}\, \sigma(r)\, \sigma(-r)\, ddr, \qquad \tfrac{c}{m}\, \sigma(f)\, \sigma(-f)\, ddf

    Parameters: what a number asks of dr and of df, in their shapes; the logits r and f; scale c. Returns what it asks
    of r and of f.
    """
    slope_real = sigmoid(real)[0] * sigmoid(-real)[0] * (float(scale) / real.size)
    slope_fake = sigmoid(fake)[0] * sigmoid(-fake)[0] * (float(scale) / fake.size)
    return slope_real * ddreal, slope_fake * ddfake


def generator_minimax(fake: Array) -> tuple[Array, Array]:
    r"""The generator's half of eq. 1: minimise the discriminator's success (saturating).

    .. math:: L = \mathbb E[\log(1 - D(G(z)))], \qquad df = -\tfrac1m\, \sigma(f)

    The gradient vanishes exactly when D is sure of itself (f very negative).
    """
    return -softplus(fake)[0].mean(), sigmoid(fake)[0] * (-1 / fake.size)


def generator_non_saturating(fake: Array) -> tuple[Array, Array]:
    r"""The heuristic of section 3 of the 2014 paper: maximise log D(G(z)).

    .. math:: L = -\mathbb E[\log D(G(z))], \qquad df = -\tfrac1m\, \sigma(-f)

    The gradient is strongest (-1/m) when D is sure that the sample is generated.
    """
    return softplus(-fake)[0].mean(), sigmoid(-fake)[0] * (-1 / fake.size)


def discriminator_least_squares(real: Array, fake: Array) -> tuple[Array, Array, Array]:
    r"""LSGAN (Mao et al. 2017, eq. 2 with a = 0, b = 1).

    .. math:: L = \tfrac12 \mathbb E[(r - 1)^2] + \tfrac12 \mathbb E[f^2], \qquad
              dr = \tfrac1n (r - 1), \quad df = \tfrac1m f
    """
    error = real - 1
    loss = ((error * error).mean() + (fake * fake).mean()) / 2
    return loss, error / real.size, fake / fake.size


def discriminator_least_squares_double_backward(
    ddreal: Array, ddfake: Array, real: Array, fake: Array
) -> tuple[Array, Array]:
    r"""The adjoint of its gradients: :math:`\tfrac1n ddr` and :math:`\tfrac1m ddf`."""
    return ddreal / real.size, ddfake / fake.size


def generator_least_squares(fake: Array) -> tuple[Array, Array]:
    r"""LSGAN (Mao et al. 2017, eq. 2 with c = 1).

    .. math:: L = \tfrac12 \mathbb E[(f - 1)^2], \qquad df = \tfrac1m (f - 1)
    """
    error = fake - 1
    return (error * error).mean() / 2, error / fake.size


def discriminator_hinge(real: Array, fake: Array) -> tuple[Array, Array, Array]:
    r"""Hinge loss (Lim & Ye 2017; Miyato et al. 2018).

    .. math:: L = \mathbb E[\max(0, 1 - r)] + \mathbb E[\max(0, 1 + f)], \qquad
              dr = -\tfrac1n [r < 1], \quad df = \tfrac1m [f > -1]
    """
    xp = array_module(real)
    loss = xp.maximum(1 - real, 0).mean() + xp.maximum(1 + fake, 0).mean()
    dreal = (real < 1).astype(real.dtype) * (-1 / real.size)
    dfake = (fake > -1).astype(fake.dtype) * (1 / fake.size)
    return loss, dreal, dfake


def discriminator_wasserstein(real: Array, fake: Array) -> tuple[Array, Array, Array]:
    r"""The critic of Arjovsky et al. 2017 (eq. 3, negated). What keeps D Lipschitz there is a limit to its
    weights, `max_weight` of the update rules, or a penalty, `games.wgan_gp`.

    .. math:: L = \mathbb E[f] - \mathbb E[r], \qquad dr = -\tfrac1n, \quad df = \tfrac1m
    """
    xp = array_module(real)
    loss = fake.mean() - real.mean()
    return loss, xp.full_like(real, -1 / real.size), xp.full_like(fake, 1 / fake.size)


def generator_wasserstein(fake: Array) -> tuple[Array, Array]:
    r"""Raise the critic's value; also the generator's side of the hinge loss.

    .. math:: L = -\mathbb E[f], \qquad df = -\tfrac1m
    """
    return -fake.mean(), array_module(fake).full_like(fake, -1 / fake.size)


def mean_probability(logits: Array) -> Array:
    r"""What D thinks of a batch, :math:`\mathbb E[\sigma(s)]`: D(x) or D(G(z)) in the metrics.

    Parameters: logits s (any shape). Returns one number, an array without axes.
    """
    return sigmoid(logits)[0].mean()


def mean_position(scores: Array, fake: float, real: float) -> Array:
    r"""The same for a loss whose targets are two numbers: how far D is on the way from one to the other.

    .. math:: \mathbb E\Big[\min\Big(1, \max\Big(0, \frac{s - b}{a - b}\Big)\Big)\Big]

    Parameters: scores s (any shape); the targets b of generated and a of real samples. Returns one number, an array
    without axes.
    """
    return array_module(scores).clip((scores - fake) / (real - fake), 0, 1).mean()


def safe_quotient(a: Array, b: Array) -> tuple[Array, Array]:
    r"""b where it is not nearly zero, and a over that.

    .. math:: b' = b \text{ if } |b| \ge 10^{-20}, \text{ else } 10^{-20}; \qquad q = a / b'

    The bound is far below the rounding of the sums that gradients on logits enter, and far above the smallest
    number of float32. Parameters: a, b (any shape). Returns b', q.
    """
    divisor = array_module(b).where(abs(b) < 1e-20, 1e-20, b)
    return divisor, a / divisor
