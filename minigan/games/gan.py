r"""The GAN game: the two updates of Goodfellow et al. 2014, Algorithm 1; play.py has its loop.

    min over G, max over D of  E[log D(x)] + E[log(1 - D(G(z)))]                        (eq. 1)

Here D gives logits s with D(x) = sigmoid(s), and both players minimise a loss of those logits.
Nothing has to be detached or frozen: the discriminator's step never sees the generator's
parameters, and the generator's step passes ``grads=None`` to D, so no gradient of D is computed.
"""

from collections.abc import Callable

import numpy as np

from minigan import ops
from minigan.backend import expect_shape
from minigan.games.player import Player
from minigan.games.rules import GANLoss, Metrics
from minigan.nn.layer import Cache, Layer
from minigan.typing import Array


def generate(g: Player, z: Array, rng: np.random.Generator) -> tuple[Array, Cache]:
    """x = G(z), in training mode."""
    return g.net.forward(g.theta, z, train=True, rng=rng)


# Of D, real and generated samples: adds the gradient of a further term of D's loss to D's gradients, and returns that
# term (see games.penalty).
Penalty = Callable[[Player, Array, Array], Array]


def discriminator_step(
    loss: GANLoss, d: Player, real: Array, fake: Array, rng: np.random.Generator, penalty: Penalty | None = None
) -> Metrics:
    """Update D by descending the gradient of its loss on real and generated samples, and of a penalty if there is one.

    G is not even an argument: `fake` is data here. Real and fake go through D apart, each with
    its own batch statistics, and both move D's running statistics.
    """
    real_logits, cache_real = d.net.forward(d.theta, real, train=True, rng=rng)
    fake_logits, cache_fake = d.net.forward(d.theta, fake, train=True, rng=rng)
    value, dreal, dfake = loss.discriminator(real_logits, fake_logits)
    expect_shape("the gradient on the logits of real samples", dreal, real_logits.shape)
    expect_shape("the gradient on the logits of generated samples", dfake, fake_logits.shape)
    metrics = {"d_real": loss.opinion(real_logits), "d_fake": loss.opinion(fake_logits)}
    d.net.backward(d.theta, dreal, cache_real, d.grads, need_dx=False)
    d.net.backward(d.theta, dfake, cache_fake, d.grads, need_dx=False)
    if penalty is not None:
        metrics["penalty"] = penalty(d, real, fake)
    d.net.update_statistics(d.theta, cache_real)
    d.net.update_statistics(d.theta, cache_fake)
    d.update()
    return {"loss_d": value} | metrics


def generator_step(
    loss: GANLoss, g: Player, d: Player, fake: Array, cache_g: Cache, rng: np.random.Generator
) -> Metrics:
    """Update G by descending the gradient of its loss, which reaches it through D.

    D gives the gradient with respect to its input and nothing else (`grads=None`). `fake` and `cache_g` are what one
    call of `generate` has returned.
    """
    fake_logits, cache_fake = d.net.forward(d.theta, fake, train=True, rng=rng)
    value, dfake = loss.generator(fake_logits)
    expect_shape("the gradient on the logits", dfake, fake_logits.shape)
    p_fake = loss.opinion(fake_logits)
    dx = d.net.backward(d.theta, dfake, cache_fake, None)  # the gradient on the generated samples
    g.net.backward(g.theta, dx, cache_g, g.grads, need_dx=False)
    g.net.update_statistics(g.theta, cache_g)
    g.update()
    return {"loss_g": value, "d_fake_g": p_fake}


def joined_discriminator_step(
    loss: GANLoss, d: Player, real: Array, fake: Array, rng: np.random.Generator, penalty: Penalty | None = None
) -> Metrics:
    """Update D on real and generated samples that go through it as one batch.

    BatchNorm normalises both by the mean and the variance of all of them, and D's running
    statistics move once. Without BatchNorm and dropout it is the same step as `discriminator_step`.
    """
    return step_on_both(loss, d, d.net, real, fake, rng, penalty)


def step_on_both(
    loss: GANLoss,
    d: Player,
    net: Layer,
    real: Array,
    fake: Array,
    rng: np.random.Generator,
    penalty: Penalty | None,
) -> Metrics:
    """Update D by one pass of `net`, D's layers, on an array with the real samples first."""
    n = len(real)
    logits, cache = net.forward(d.theta, ops.concatenate(real, fake), train=True, rng=rng)
    value, dreal, dfake = loss.discriminator(logits[:n], logits[n:])
    metrics = {"d_real": loss.opinion(logits[:n]), "d_fake": loss.opinion(logits[n:])}
    net.backward(d.theta, ops.concatenate(dreal, dfake), cache, d.grads, need_dx=False)
    if penalty is not None:
        metrics["penalty"] = penalty(d, real, fake)
    net.update_statistics(d.theta, cache)
    d.update()
    return {"loss_d": value} | metrics
