"""A round in which both players move at once, from one forward pass: neither sees the other's new parameters."""

import numpy as np

from minigan import ops
from minigan.games.gan import generate
from minigan.games.player import Player
from minigan.games.rules import GANLoss, Metrics
from minigan.nn.layer import Cache
from minigan.typing import Array


def simultaneous_step(loss: GANLoss, g: Player, d: Player, real: Array, z: Array, rng: np.random.Generator) -> Metrics:
    """Update both players from one forward pass on one batch: neither sees the other's new parameters."""
    fake, cache_g = generate(g, z, rng)
    real_logits, cache_real = d.net.forward(d.theta, real, train=True, rng=rng)
    fake_logits, cache_fake = d.net.forward(d.theta, fake, train=True, rng=rng)
    loss_d, dreal, dfake = loss.discriminator(real_logits, fake_logits)
    loss_g, dfake_for_g = loss.generator(fake_logits)
    p_real, p_fake = loss.opinion(real_logits), loss.opinion(fake_logits)
    d.net.backward(d.theta, dreal, cache_real, d.grads, need_dx=False)
    dx = backward_for_both(d, dfake, dfake_for_g, cache_fake)
    g.net.backward(g.theta, dx, cache_g, g.grads, need_dx=False)
    d.net.update_statistics(d.theta, cache_real)
    d.net.update_statistics(d.theta, cache_fake)
    g.net.update_statistics(g.theta, cache_g)
    d.update()
    g.update()
    return measured(loss_d, loss_g, p_real, p_fake)


def measured(loss_d: Array, loss_g: Array, p_real: Array, p_fake: Array) -> Metrics:
    """The metrics of a round with one forward pass: what G's step sees of D is what D's step sees."""
    return {"loss_d": loss_d, "loss_g": loss_g, "d_real": p_real, "d_fake": p_fake, "d_fake_g": p_fake}


def backward_for_both(d: Player, for_d: Array, for_g: Array, cache: Cache) -> Array:
    r"""Add D's gradients of its own loss, and return the gradient of G's loss on the generated samples.

    Both losses reach a sample through its one logit s. Where D looks at each sample by itself, one way back is
    enough, as the gradients on the sample are the same vector times two numbers:

    .. math:: \frac{\partial L_D}{\partial x} = \frac{\partial L_D}{\partial s} \frac{\partial s}{\partial x}, \qquad
              \frac{\partial L_G}{\partial x} = \frac{\partial L_G}{\partial s} \Big/ \frac{\partial L_D}{\partial s}
              \cdot \frac{\partial L_D}{\partial x}

    Parameters: for_d and for_g (N, 1), the gradients of the two losses on the logits.
    """
    if d.net.mixes_samples:
        d.net.backward(d.theta, for_d, cache, d.grads, need_dx=False)
        return d.net.backward(d.theta, for_g, cache, None)
    divisor, ratio = ops.safe_quotient(for_g, for_d)  # D may be so sure that its own gradient is 0
    dx = d.net.backward(d.theta, divisor, cache, d.grads)
    return scaled_samples(dx, ratio)


def scaled_samples(dx: Array, factors: Array) -> Array:
    """Each sample of dx (N, ...) times its factor (N, 1)."""
    return dx * factors.reshape(-1, *(1,) * (dx.ndim - 1))
