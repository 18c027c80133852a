"""The same steps with real and generated samples in one array, each batch with its own statistics and masks.

Half as many operations, for a GPU; the updates are the same, up to rounding.
"""

import numpy as np

from minigan import ops
from minigan.games.gan import discriminator_step, generate, step_on_both
from minigan.games.player import Player
from minigan.games.rules import GANLoss, Metrics
from minigan.games.simultaneous import scaled_samples
from minigan.nn.layer import Layer
from minigan.nn.parted_batchnorm import in_parts
from minigan.randomness import parted
from minigan.typing import Array


def discriminator_step_at_once(loss: GANLoss, d: Player, real: Array, fake: Array, rng: np.random.Generator) -> Metrics:
    """`discriminator_step` with both batches in one array: the same update, up to rounding. Unequal ones go apart."""
    if len(real) != len(fake):
        return discriminator_step(loss, d, real, fake, rng)
    net, rng = _for_both(d, real, fake, rng)
    return step_on_both(loss, d, net, real, fake, rng)


def simultaneous_step_at_once(
    loss: GANLoss, g: Player, d: Player, real: Array, z: Array, rng: np.random.Generator
) -> Metrics:
    """`simultaneous_step` with both batches in one array, for a D that looks at each sample by itself.

    One way back through D gives its own gradients, and what reaches the generated samples: see `backward_for_both`.
    """
    fake, cache_g = generate(g, z, rng)
    net, rng = _for_both(d, real, fake, rng)
    n = len(real)
    logits, cache = net.forward(d.theta, ops.concatenate(real, fake), train=True, rng=rng)
    loss_d, dreal, dfake = loss.discriminator(logits[:n], logits[n:])
    loss_g, dfake_for_g = loss.generator(logits[n:])
    p_real, p_fake = ops.mean_probability(logits[:n]), ops.mean_probability(logits[n:])
    divisor, ratio = ops.safe_quotient(dfake_for_g, dfake)
    dx = net.backward(d.theta, ops.concatenate(dreal, divisor), cache, d.grads)[n:]
    g.net.backward(g.theta, scaled_samples(dx, ratio), cache_g, g.grads, need_dx=False)
    g.net.update_statistics(g.theta, cache_g)
    d.update()
    g.update()
    return {"loss_d": loss_d, "loss_g": loss_g, "d_real": p_real, "d_fake": p_fake, "d_fake_g": p_fake}


def _for_both(d: Player, real: Array, fake: Array, rng: np.random.Generator) -> tuple[Layer, np.random.Generator]:
    """D's network for two batches in one array, and a generator that gives each the masks that it would get apart."""
    if real.shape != fake.shape:
        raise ValueError(f"two batches at once must have one shape, got {real.shape} and {fake.shape}")
    return in_parts(d.net, 2), parted(rng, 2, len(real) * d.net.random_numbers(real.shape[1:]))
