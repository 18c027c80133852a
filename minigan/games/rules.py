"""The rules of a game: what the players minimise, and in which order they move."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, Protocol, get_args

import numpy as np

from minigan import ops
from minigan.games.penalty import GradientPenalty
from minigan.games.player import Player
from minigan.typing import Array

# What a step measures, 0-d arrays that stay on the device until somebody reads them: loss_d, loss_g;
# d_real and d_fake, the means of D(x) and D(G(z)) in D's step, before D's update; d_fake_g, the mean of
# D(G(z)) in G's step, before G's update: after that of D if D moves first, the same as d_fake if both move at once;
# of a G that looks ahead, it and loss_g are of the D that it looks at.
# Where there is one, also "penalty", which D minimises together with loss_d. A run writes these down and no others.
Metrics = dict[str, Array]


@dataclass(frozen=True)
class GANLoss:
    """What the two players minimise, as functions of D's logits.

    Each returns its loss, the mean over all logits as an array without axes, and the gradients of that on the logits,
    in their shapes and precision: the factor 1/n of the mean is in them. functional.gan_losses has those of the papers,
    `minigan.gradcheck.check_loss` checks one of your own.
    opinion: logits -> what D thinks of a batch, from 0 (generated) to 1 (real), for the metrics and for what is said of
    a run; by itself the mean of their sigmoid.
    double_backward: the adjoint of D's gradients, which a D that is unrolled needs: what a number asks of dreal and of
    dfake, and the logits (ddreal, ddfake, real, fake) -> what it asks of those.
    critic: whether D gives scores that have no targets, and its loss is minus the distance of their means. What is said
    of a run leaves opinions out then.
    """

    discriminator: Callable[[Array, Array], tuple[Array, Array, Array]]  # (real, fake) -> loss, dreal, dfake
    generator: Callable[[Array], tuple[Array, Array]]  # fake -> loss, dfake
    in_one: Callable[[Array, int], ops.BothLosses] | None = None  # the same as `both`, if there is such an operation
    opinion: Callable[[Array], Array] = ops.mean_probability
    critic: bool = False
    double_backward: Callable[[Array, Array, Array, Array], tuple[Array, Array]] | None = None

    def both(self, logits: Array, n: int) -> ops.BothLosses:
        """Both losses from one forward pass on n real samples and then generated ones."""
        if self.in_one is not None:
            return self.in_one(logits, n)
        return ops.both_losses(self.discriminator, self.generator, logits, n, self.opinion)


def minimax(smoothing: float = 0.0, scale: float = 1.0) -> GANLoss:
    """Equation 1 as it stands; saturates when D is sure. Arguments as of `non_saturating`."""
    return _bce(smoothing, scale, saturating=True)


def non_saturating(smoothing: float = 0.0, scale: float = 1.0) -> GANLoss:
    """The generator maximises log D(G(z)) instead (section 3 of the paper): the usual choice.

    smoothing: what D's target for real samples lacks of 1, so 0.1 makes it 0.9 (Salimans et al. 2016, section 3.4);
    scale: D's loss is this times the sum of its two cross-entropies. Raises ValueError for a smoothing above 0.5.
    """
    return _bce(smoothing, scale, saturating=False)


def _bce(smoothing: float, scale: float, saturating: bool) -> GANLoss:
    if not 0 <= smoothing <= 0.5:
        raise ValueError(f"smoothing is what the target 1 loses, 0 to 0.5 (0.1 makes it 0.9), got {smoothing}")
    of_d = partial(ops.discriminator_bce, smoothing=smoothing, scale=scale)
    of_g = ops.generator_minimax if saturating else ops.generator_non_saturating
    both = partial(ops.both_bce, smoothing=smoothing, scale=scale, saturating=saturating)
    return GANLoss(of_d, of_g, both, double_backward=partial(ops.discriminator_bce_double_backward, scale=scale))


LEAST_SQUARES = GANLoss(
    ops.discriminator_least_squares, ops.generator_least_squares,
    opinion=partial(ops.mean_position, fake=0.0, real=1.0),
    double_backward=ops.discriminator_least_squares_double_backward,
)  # fmt: skip
HINGE = GANLoss(
    ops.discriminator_hinge, ops.generator_wasserstein, opinion=partial(ops.mean_position, fake=-1.0, real=1.0)
)
WASSERSTEIN = GANLoss(ops.discriminator_wasserstein, ops.generator_wasserstein, critic=True)


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
    array, each with its own statistics and masks, if they have one size. That is half as many operations, for a GPU;
    penalty: what is added to D's loss in each of its steps, such as wgan_gp() or r1().
    """

    loss: GANLoss
    d_steps: int = 1
    order: Order = "discriminator-first"
    reuse_fakes: bool = False
    joined: bool = False
    at_once: bool = False
    penalty: GradientPenalty | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.loss, GANLoss):
            raise ValueError(f"the loss of a game is a GANLoss, such as non_saturating() or HINGE, got {self.loss!r}")
        if not isinstance(self.penalty, GradientPenalty | None):
            raise ValueError(f"a penalty is a GradientPenalty, such as wgan_gp() or r1(), got {self.penalty!r}")
        if self.order not in get_args(Order):
            raise ValueError(f"unknown order {self.order!r}: choose {', '.join(get_args(Order))}")
        if operator.index(self.d_steps) < 1:
            raise ValueError(f"a round has at least one discriminator step, got d_steps={self.d_steps}")
        if self.order == "simultaneous" and self.d_steps != 1:
            raise ValueError("a simultaneous round has one step of each player: d_steps must be 1")
        if self.order == "simultaneous" and self.joined:
            raise ValueError("a simultaneous round needs the samples of G apart: joined is for players that take turns")
        if self.order == "simultaneous" and self.penalty is not None:
            raise ValueError("a penalty is added in D's own step, and a simultaneous round has one step of both")
        if self.joined and self.at_once:
            raise ValueError("joined and at_once exclude each other")


class Draws(Protocol):
    """The randomness and the data of one round, as functions of the step: see runs.draws."""

    def real(self, k: int) -> Array: ...  # x, batch for the k-th discriminator step
    def latent_d(self, k: int) -> Array: ...  # z for the k-th discriminator step
    def latent_g(self) -> Array: ...  # z for the generator step
    def share(self, k: int) -> Array: ...  # (N,) U[0, 1), of the points between real and generated samples
    def dropout(self, k: int) -> np.random.Generator: ...  # k < d_steps: discriminator steps; k = d_steps: generator


class OwnRound:
    """Rules that are none of the above: a subclass plays its round itself. See games.toolbox.

    It takes `d_steps` batches of real images, one if the class does not say otherwise: draws.real(k), draws.latent_d(k)
    and, for points between both, draws.share(k) for k below that; draws.dropout(k) for k up to it; once
    draws.latent_g(). play returns the metrics named above.
    """

    d_steps: ClassVar[int] = 1
    order: ClassVar[Order] = "discriminator-first"
    reuse_fakes: ClassVar[bool] = False
    joined: ClassVar[bool] = False
    penalty: ClassVar[GradientPenalty | None] = None

    def start(self, d: Player) -> None:
        """Prepare the players before the first round."""

    def play(self, g: Player, d: Player, draws: Draws) -> Metrics:
        """One round."""
        raise NotImplementedError
