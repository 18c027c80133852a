r"""The round of the MATLAB scripts on DeepLearnToolbox: the toolbox's own training, once for D and once for G.

The toolbox trains a classifier, `train_epoch` here: it shuffles, cuts into batches, takes a step for each. The
script makes a GAN of it without writing a new line of training. G is trained as the lower part of a combined
network z -> image -> D with the targets of real images; its upper part is overwritten with D's weights in each
round, but it is an ordinary part of that network, so it learns too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from minigan import ops
from minigan.backend import array_module, put_like
from minigan.games.player import Player
from minigan.games.rules import Draws, Metrics, OwnRound
from minigan.typing import Array

# (logits, targets) -> loss, dlogits
Loss: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]
# What becomes of the copy of D in the combined network while G is trained.
CopyOfD = Literal["learns", "forgets", "frozen"]


def squared_error(logits: Array, targets: Array) -> tuple[Array, Array]:
    r"""The toolbox's loss of sigmoid outputs, half the squared error of each sample, as a function of the logits s.

    .. math:: L = \frac{1}{2N} \sum (D - t)^2, \qquad ds = \frac1N (D - t)\, D (1 - D), \qquad D = \sigma(s)

    With t = 1 the gradient is that of :math:`\tfrac12 (1 - D)^2`: it vanishes where D = 1, as it should, and
    where D = 0, where G needs it most.
    """
    p, cache = ops.sigmoid(logits)
    loss, dp = ops.half_squared_error(p, targets)
    return loss, ops.sigmoid_backward(dp, cache)


# The toolbox has cross-entropy for softmax only.
LOSSES: dict[str, Loss] = {"squared": squared_error, "cross-entropy": ops.bce_with_logits}


def train_epoch(
    player: Player, x: Array, targets: Array, loss: Loss, minibatch: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """The toolbox's nntrain, one epoch: a step for each batch of a new order of the samples.

    Parameters: x (N, ...), targets (N, K) or what the loss takes; N must be a multiple of `minibatch`. The order
    and the dropout masks are drawn from `rng`. Returns the mean loss and the logits (N, K), each as it was
    before the step that it was used for.
    """
    order = shuffled(len(x), minibatch, rng)
    losses, seen = [], []
    for chosen in order:
        batch = put_like(chosen, x)
        logits, cache = player.net.forward(player.theta, x[batch], train=True, rng=rng)
        value, dlogits = loss(logits, targets[batch])
        player.net.backward(player.theta, dlogits, cache, player.grads, need_dx=False)
        player.update()
        losses.append(value)
        seen.append(logits)
    xp, back = array_module(x), np.argsort(order.ravel())
    return sum(losses) / len(losses), xp.concatenate(seen)[put_like(back, x)]


@dataclass(frozen=True)
class ToolboxGame(OwnRound):
    """The script's round: D learns for one epoch, then G as a part of the combined network.

    loss: of D's logits and targets 1 and 0, for both players; minibatch: samples in a step; drop_pixels: share of
    the generated pixels that dropout removes (without scaling the others) while G is trained; copy: whether the copy
    of D "learns" beside G, with a momentum that outlives its weights ("forgets": without that), or is "frozen".
    """

    loss: Loss
    minibatch: int
    drop_pixels: float
    copy: CopyOfD
    copy_decay: float  # weight decay of the copy: the combined network's, not D's

    def start(self, d: Player) -> None:
        """Give D its copy in the combined network, which has a momentum of its own."""
        if self.copy != "frozen":
            d.copy = d.twin()
            d.copy.optimiser = replace(d.optimiser, weight_decay=self.copy_decay)

    def play(self, g: Player, d: Player, draws: Draws) -> Metrics:
        """One round: as many steps of D as there are batches of real and generated images, then half as many of G."""
        xp, real = array_module(g.theta.flat), draws.real(0)  # (N, 784)
        rng = draws.dropout(0)
        fake, _ = g.net.forward(g.theta, draws.latent_d(0), train=True, rng=rng)  # (N, 784)
        targets = xp.concatenate([xp.ones((len(real), 1), real.dtype), xp.zeros((len(fake), 1), real.dtype)])
        loss_d, logits = train_epoch(d, xp.concatenate([real, fake]), targets, self.loss, self.minibatch, rng)
        loss_g, logits_g = self._train_generator(g, d, draws.latent_g(), draws.dropout(1))
        return {
            "loss_d": loss_d,
            "loss_g": loss_g,
            "d_real": ops.mean_probability(logits[: len(real)]),
            "d_fake": ops.mean_probability(logits[len(real) :]),
            "d_fake_g": ops.mean_probability(logits_g),
        }

    def _train_generator(self, g: Player, d: Player, z: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """An epoch of the combined network z -> image -> dropout -> copy of D, all with the target 1."""
        copy = self._copy_of(d)
        losses, seen = [], []
        for chosen in shuffled(len(z), self.minibatch, rng):
            fake, cache_g = g.net.forward(g.theta, z[put_like(chosen, z)], train=True, rng=rng)
            keep = put_like(ops.draw_keep(rng, fake.shape, self.drop_pixels), fake)
            dropped, cache_drop = ops.dropout(fake, keep, 1.0)  # to the toolbox, pixels are hidden units
            logits, cache = copy.net.forward(copy.theta, dropped, train=True, rng=rng)
            value, dlogits = self.loss(logits, array_module(logits).ones_like(logits))
            dx = copy.net.backward(copy.theta, dlogits, cache, None if copy is d else copy.grads)
            g.net.backward(g.theta, ops.dropout_backward(dx, cache_drop), cache_g, g.grads, need_dx=False)
            g.update()
            if copy is not d:
                copy.update()
            losses.append(value)
            seen.append(logits)
        return sum(losses) / len(losses), array_module(z).concatenate(seen)

    def _copy_of(self, d: Player) -> Player:
        """The D that G is trained against: with D's weights of now, and in "learns" with its own old momentum."""
        if d.copy is None:
            return d
        d.copy.theta.flat[...] = d.theta.flat
        d.copy.theta.version += 1
        if self.copy == "forgets":
            for moment in d.copy.moments.values():
                moment.fill(0)
        return d.copy


def shuffled(count: int, minibatch: int, rng: np.random.Generator) -> np.ndarray:
    """A new order of `count` samples, (batches, minibatch). Raises ValueError unless the batches are whole."""
    if count % minibatch:
        raise ValueError(f"{count} samples do not make whole batches of {minibatch}")
    return rng.permutation(count).reshape(-1, minibatch)
