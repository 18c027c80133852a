r"""The GAN game: the training steps of Goodfellow et al. 2014, Algorithm 1.

    min over G, max over D of  E[log D(x)] + E[log(1 - D(G(z)))]                        (eq. 1)

Here D gives logits s with D(x) = sigmoid(s), and both players minimise a loss of those logits.
Nothing has to be detached or frozen: the discriminator's step never sees the generator's
parameters, and the generator's step passes ``grads=None`` to D, so no gradient of D is computed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, Protocol, get_args

import numpy as np

from minigan import ops
from minigan.games.player import Player
from minigan.nn.layer import Cache, Layer
from minigan.nn.parted_batchnorm import in_parts
from minigan.randomness import parted
from minigan.typing import Array

# What a step measures, 0-d arrays that stay on the device until somebody reads them: loss_d, loss_g;
# d_real and d_fake, the means of D(x) and D(G(z)) in D's step, before D's update; d_fake_g, the mean of
# D(G(z)) in G's step, before G's update: after that of D if D moves first, the same as d_fake if both move at once.
Metrics = dict[str, Array]


@dataclass(frozen=True)
class GANLoss:
    """What the two players minimise, as functions of logits; see functional.gan_losses."""

    discriminator: Callable[[Array, Array], tuple[Array, Array, Array]]  # (real, fake) -> loss, d_real, d_fake
    generator: Callable[[Array], tuple[Array, Array]]  # fake -> loss, d_fake


def minimax(smoothing: float = 0.0, scale: float = 1.0) -> GANLoss:
    """Equation 1 as it stands; saturates when D is sure."""
    return GANLoss(partial(ops.discriminator_bce, smoothing=smoothing, scale=scale), ops.generator_minimax)


def non_saturating(smoothing: float = 0.0, scale: float = 1.0) -> GANLoss:
    """The generator maximises log D(G(z)) instead (section 3 of the paper): the usual choice."""
    return GANLoss(partial(ops.discriminator_bce, smoothing=smoothing, scale=scale), ops.generator_non_saturating)


LEAST_SQUARES = GANLoss(ops.discriminator_least_squares, ops.generator_least_squares)
HINGE = GANLoss(ops.discriminator_hinge, ops.generator_wasserstein)
WASSERSTEIN = GANLoss(ops.discriminator_wasserstein, ops.generator_wasserstein)


Order = Literal["discriminator-first", "generator-first", "simultaneous"]


@dataclass(frozen=True)
class Game:
    """The rules of one round.

    d_steps: k of Algorithm 1; order: who moves first, or both at once from one forward pass;
    reuse_fakes: the second mover uses the samples of the first instead of fresh ones, as DCGAN
    codes do to save a pass through G (the last of the k batches, if G moves second);
    joined: in D's step real and generated samples are one batch, with one set of BatchNorm
    statistics, instead of two apart. D's answer to a real sample then depends on the fakes beside it;
    at_once: no rule, but a way to play the same round: two batches that go through D apart go through it in one
    array, each with its own statistics and masks, if they have one size. That is half as many operations, for a GPU.
    """

    loss: GANLoss
    d_steps: int = 1
    order: Order = "discriminator-first"
    reuse_fakes: bool = False
    joined: bool = False
    at_once: bool = False

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise ValueError(f"unknown order {self.order!r}: choose {', '.join(get_args(Order))}")
        if self.d_steps < 1:
            raise ValueError(f"a round has at least one discriminator step, got d_steps={self.d_steps}")
        if self.order == "simultaneous" and self.d_steps != 1:
            raise ValueError("a simultaneous round has one step of each player: d_steps must be 1")
        if self.order == "simultaneous" and self.joined:
            raise ValueError("a simultaneous round needs the samples of G apart: joined is for players that take turns")
        if self.joined and self.at_once:
            raise ValueError("samples that are joined in one batch are no two batches that go at once")


class Draws(Protocol):
    """The randomness and the data of one round, as functions of the step: see runs.draws."""

    def real(self, k: int) -> Array: ...  # x, batch for the k-th discriminator step
    def latent_d(self, k: int) -> Array: ...  # z for the k-th discriminator step
    def latent_g(self) -> Array: ...  # z for the generator step
    def dropout(self, k: int) -> np.random.Generator: ...  # k < d_steps: discriminator steps; k = d_steps: generator


class OwnRound:
    """Rules that are none of the above: a subclass plays its round itself. See games.toolbox.

    It takes one batch of real images, and generated ones once for D and once for G.
    """

    d_steps: ClassVar[int] = 1
    order: ClassVar[Order] = "discriminator-first"
    reuse_fakes: ClassVar[bool] = False
    joined: ClassVar[bool] = True

    def start(self, d: Player) -> None:
        """Prepare the players before the first round."""

    def play(self, g: Player, d: Player, draws: Draws) -> Metrics:
        """One round."""
        raise NotImplementedError


def generate(g: Player, z: Array, rng: np.random.Generator) -> tuple[Array, Cache]:
    """x = G(z), in training mode."""
    return g.net.forward(g.theta, z, train=True, rng=rng)


def discriminator_step(loss: GANLoss, d: Player, real: Array, fake: Array, rng: np.random.Generator) -> Metrics:
    """Update D by descending the gradient of its loss on real and generated samples.

    G is not even an argument: `fake` is data here. Real and fake go through D apart, each with
    its own batch statistics, and both move D's running statistics.
    """
    real_logits, cache_real = d.net.forward(d.theta, real, train=True, rng=rng)
    fake_logits, cache_fake = d.net.forward(d.theta, fake, train=True, rng=rng)
    value, d_real, d_fake = loss.discriminator(real_logits, fake_logits)
    seen = {"d_real": ops.mean_probability(real_logits), "d_fake": ops.mean_probability(fake_logits)}
    d.net.backward(d.theta, d_real, cache_real, d.grads, need_dx=False)
    d.net.backward(d.theta, d_fake, cache_fake, d.grads, need_dx=False)
    d.net.update_statistics(d.theta, cache_real)
    d.net.update_statistics(d.theta, cache_fake)
    d.update()
    return {"loss_d": value} | seen


def joined_discriminator_step(loss: GANLoss, d: Player, real: Array, fake: Array, rng: np.random.Generator) -> Metrics:
    """Update D on real and generated samples that go through it as one batch.

    BatchNorm normalises both by the mean and the variance of all of them, and D's running
    statistics move once. Without BatchNorm and dropout it is the same step as `discriminator_step`.
    """
    return _step_on_both(loss, d, d.net, real, fake, rng)


def discriminator_step_at_once(loss: GANLoss, d: Player, real: Array, fake: Array, rng: np.random.Generator) -> Metrics:
    """`discriminator_step` with both batches in one array: the same update, up to rounding. Unequal ones go apart."""
    if len(real) != len(fake):
        return discriminator_step(loss, d, real, fake, rng)
    net, rng = _for_both(d, real, fake, rng)
    return _step_on_both(loss, d, net, real, fake, rng)


def _for_both(d: Player, real: Array, fake: Array, rng: np.random.Generator) -> tuple[Layer, np.random.Generator]:
    """D's network for two batches in one array, and a generator that gives each the masks that it would get apart."""
    if real.shape != fake.shape:
        raise ValueError(f"two batches at once must have one shape, got {real.shape} and {fake.shape}")
    return in_parts(d.net, 2), parted(rng, 2, len(real) * d.net.random_numbers(real.shape[1:]))


def _step_on_both(loss: GANLoss, d: Player, net: Layer, real: Array, fake: Array, rng: np.random.Generator) -> Metrics:
    """Update D by one pass of `net`, D's layers, on an array with the real samples first."""
    n = len(real)
    logits, cache = net.forward(d.theta, ops.concatenate(real, fake), train=True, rng=rng)
    value, d_real, d_fake = loss.discriminator(logits[:n], logits[n:])
    seen = {"d_real": ops.mean_probability(logits[:n]), "d_fake": ops.mean_probability(logits[n:])}
    net.backward(d.theta, ops.concatenate(d_real, d_fake), cache, d.grads, need_dx=False)
    net.update_statistics(d.theta, cache)
    d.update()
    return {"loss_d": value} | seen


def generator_step(
    loss: GANLoss, g: Player, d: Player, fake: Array, cache_g: Cache, rng: np.random.Generator
) -> Metrics:
    """Update G by descending the gradient of its loss, which reaches it through D.

    D gives the gradient with respect to its input and nothing else (`grads=None`).
    """
    fake_logits, cache_fake = d.net.forward(d.theta, fake, train=True, rng=rng)
    value, d_fake = loss.generator(fake_logits)
    seen = ops.mean_probability(fake_logits)
    dx = d.net.backward(d.theta, d_fake, cache_fake, None)  # the gradient on the generated samples
    g.net.backward(g.theta, dx, cache_g, g.grads, need_dx=False)
    g.net.update_statistics(g.theta, cache_g)
    g.update()
    return {"loss_g": value, "d_fake_g": seen}


def simultaneous_step(loss: GANLoss, g: Player, d: Player, real: Array, z: Array, rng: np.random.Generator) -> Metrics:
    """Update both players from one forward pass on one batch: neither sees the other's new parameters."""
    fake, cache_g = generate(g, z, rng)
    real_logits, cache_real = d.net.forward(d.theta, real, train=True, rng=rng)
    fake_logits, cache_fake = d.net.forward(d.theta, fake, train=True, rng=rng)
    loss_d, d_real, d_fake = loss.discriminator(real_logits, fake_logits)
    loss_g, d_fake_for_g = loss.generator(fake_logits)
    p_real, p_fake = ops.mean_probability(real_logits), ops.mean_probability(fake_logits)
    d.net.backward(d.theta, d_real, cache_real, d.grads, need_dx=False)
    dx = backward_for_both(d, d_fake, d_fake_for_g, cache_fake)
    g.net.backward(g.theta, dx, cache_g, g.grads, need_dx=False)
    d.net.update_statistics(d.theta, cache_real)
    d.net.update_statistics(d.theta, cache_fake)
    g.net.update_statistics(g.theta, cache_g)
    d.update()
    g.update()
    return {"loss_d": loss_d, "loss_g": loss_g, "d_real": p_real, "d_fake": p_fake, "d_fake_g": p_fake}


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
    loss_d, d_real, d_fake = loss.discriminator(logits[:n], logits[n:])
    loss_g, d_fake_for_g = loss.generator(logits[n:])
    p_real, p_fake = ops.mean_probability(logits[:n]), ops.mean_probability(logits[n:])
    divisor, ratio = ops.safe_quotient(d_fake_for_g, d_fake)
    dx = net.backward(d.theta, ops.concatenate(d_real, divisor), cache, d.grads)[n:]
    g.net.backward(g.theta, scaled_samples(dx, ratio), cache_g, g.grads, need_dx=False)
    g.net.update_statistics(g.theta, cache_g)
    d.update()
    g.update()
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


def play_round(game: Game | OwnRound, g: Player, d: Player, draws: Draws) -> Metrics:
    """One round: k discriminator steps and one generator step, in the game's order, or a round of the game's own."""
    if isinstance(game, OwnRound):
        return game.play(g, d, draws)
    if game.order == "simultaneous":
        step = simultaneous_step_at_once if game.at_once and not d.net.mixes_samples else simultaneous_step
        return step(game.loss, g, d, draws.real(0), draws.latent_d(0), draws.dropout(0))
    if game.order == "generator-first":
        return _generator_first(game, g, d, draws)
    metrics: Metrics = {}
    move_d = _step_of_d(game)
    for k in range(game.d_steps):
        rng = draws.dropout(k)
        fake, cache_g = generate(g, draws.latent_d(k), rng)
        metrics |= move_d(game.loss, d, draws.real(k), fake, rng)
    rng = draws.dropout(game.d_steps)
    if not game.reuse_fakes:
        fake, cache_g = generate(g, draws.latent_g(), rng)
    return metrics | generator_step(game.loss, g, d, fake, cache_g, rng)


def _step_of_d(game: Game) -> Callable[..., Metrics]:
    if game.joined:
        return joined_discriminator_step
    return discriminator_step_at_once if game.at_once else discriminator_step


def _generator_first(game: Game, g: Player, d: Player, draws: Draws) -> Metrics:
    rng = draws.dropout(game.d_steps)
    fake, cache_g = generate(g, draws.latent_g(), rng)
    metrics = generator_step(game.loss, g, d, fake, cache_g, rng)
    move_d = _step_of_d(game)
    for k in range(game.d_steps):
        rng = draws.dropout(k)
        if not game.reuse_fakes:
            fake, _ = generate(g, draws.latent_d(k), rng)
        metrics |= move_d(game.loss, d, draws.real(k), fake, rng)
    return metrics
