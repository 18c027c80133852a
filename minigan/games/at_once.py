"""The same steps with real and generated samples in one array, each batch with its own statistics and masks.

Half as many operations, for a GPU; the updates are the same, up to rounding.
"""

import numpy as np

from minigan import ops
from minigan.games.gan import Penalty, discriminator_step, generate, step_on_both
from minigan.games.player import Player
from minigan.games.rules import GANLoss, Metrics
from minigan.games.simultaneous import measured, scaled_samples, simultaneous_step
from minigan.nn.ghost_batchnorm import in_parts, takes_parts
from minigan.nn.layer import Layer
from minigan.randomness import parted
from minigan.typing import Array


def discriminator_step_at_once(
    loss: GANLoss, d: Player, real: Array, fake: Array, rng: np.random.Generator, penalty: Penalty | None = None
) -> Metrics:
    """`discriminator_step` with both batches in one array: the same update, up to rounding.

    Unequal ones go apart, and so do all where D mixes or measures samples in a way of its own, or processes share the
    batches.
    """
    if len(real) != len(fake) or d.team.size > 1 or not takes_parts(d.net):
        return discriminator_step(loss, d, real, fake, rng, penalty)
    net, rng = _for_both(d, real, fake, rng)
    return step_on_both(loss, d, net, real, fake, rng, penalty)


def simultaneous_step_at_once(
    loss: GANLoss, g: Player, d: Player, real: Array, z: Array, rng: np.random.Generator
) -> Metrics:
    """`simultaneous_step` with both batches in one array: the same updates, up to rounding.

    One way back through D gives its own gradients, and what reaches the generated samples (GANLoss.both). Unequal
    batches go apart, and so do all where D mixes or measures samples, or processes share the batches.
    """
    if len(real) != len(z) or d.team.size > 1 or d.net.mixes_samples or d.net.measures_batches:
        return simultaneous_step(loss, g, d, real, z, rng)
    fake, cache_g = generate(g, z, rng)
    net, rng = _for_both(d, real, fake, rng)
    n = len(real)
    logits, cache = net.forward(d.theta, ops.concatenate(real, fake), train=True, rng=rng)
    found = loss.both(logits, n)
    dx = net.backward(d.theta, found.dlogits, cache, d.grads)[n:]
    with ops.aside(d.theta.flat):  # the way back through G needs nothing of D any more
        d.update()
    g.net.backward(g.theta, scaled_samples(dx, found.ratio), cache_g, g.grads, need_dx=False)
    g.net.update_statistics(g.theta, cache_g)
    g.update()
    return measured(found.loss_d, found.loss_g, found.p_real, found.p_fake)


def _for_both(d: Player, real: Array, fake: Array, rng: np.random.Generator) -> tuple[Layer, np.random.Generator]:
    """D's network for two batches in one array, and a generator that gives each the masks that it would get apart."""
    if real.shape != fake.shape:
        raise ValueError(f"two batches at once must have one shape, got {real.shape} and {fake.shape}")
    return in_parts(d.net, 2), parted(rng, 2, len(real) * d.net.random_numbers(real.shape[1:]))
