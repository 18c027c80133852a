r"""Unrolled GANs (Metz et al. 2017): G's loss is that of the D which its samples are about to make.

    theta_{k+1} = U(theta_k, g_k),   g_k = dL_D(theta_k, x) / dtheta_k,   theta_0 = D          (eq. 7)
    G descends  -L_D(theta_K, x)                                                              (eq. 10)

on its samples x = G(z). They count twice: D sees them at the end, and each of its K updates has learnt from them. Back
through those goes, with lambda_K = -dL_D / dtheta_K,

    lambda_k = lambda_{k+1} + H_k mu_k,   dx += (d2L_D / dx dtheta_k) mu_k,   mu_k: U backward, from lambda_{k+1}

H mu, a Hessian times a vector, is the adjoint of one walk down through D (derivation: docs/gan/unrolled.md).
"""

import operator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from minigan.backend import array_module
from minigan.games.gan import generate
from minigan.games.player import Player
from minigan.games.rules import Draws, GANLoss, Metrics, Order, OwnRound, minimax
from minigan.nn.layer import Cache, Layer
from minigan.nn.params import Params
from minigan.optim import Coefficients, Moments, Optimiser
from minigan.typing import Array, Rng


class Look(NamedTuple):
    """What D with some parameters says of real and of generated samples, in this order."""

    theta: Params
    value: Array  # L_D
    logits: tuple[Array, Array]
    dlogits: tuple[Array, Array]
    caches: tuple[Cache, Cache]


class Move(NamedTuple):
    """An update that D would make after a look."""

    before: Look
    g: Array  # (P,)
    moments: Moments  # after it
    coefficients: Coefficients


@dataclass(frozen=True)
class UnrolledGame(OwnRound):
    """A zero-sum game: D descends its loss, and G ascends the one that D will have after `unroll` updates.

    Both move at once, from one batch of real and of generated samples, which all updates of D learn from; the first of
    them is the one that it keeps. `unroll` = 0 is equation 1 of the 2014 paper. G's own loss is not used, and the
    moments of D's rule go on from where they are. D's layers, its loss and its rule need a way back
    (`double_backward` and `grads_double_backward`, `double_backward`, `rule_backward`). Memory grows with `unroll`: all
    that D's forward passes keep, and D's parameters, stay until the way back. The metrics loss_g and d_fake_g are those
    after the updates.

    Raises ValueError for a loss without a way back, and in the first round for a D whose rule has none, or decays or
    clips; NotImplementedError there for a layer that has none.
    """

    loss: GANLoss = minimax()
    unroll: int = 5

    order: ClassVar[Order] = "simultaneous"

    def __post_init__(self) -> None:
        if not isinstance(self.loss, GANLoss):
            raise ValueError(f"the loss of a game is a GANLoss, such as minimax() or LEAST_SQUARES, got {self.loss!r}")
        if operator.index(self.unroll) < 0:
            raise ValueError(f"D makes 0 updates ahead of its time, or more, got unroll={self.unroll}")
        if self.unroll and self.loss.double_backward is None:
            raise ValueError("to unroll D, its loss needs a double_backward, as that of minimax() or LEAST_SQUARES")

    def gradient_on_samples(self, d: Player, real: Array, fake: Array, rng: Rng = None) -> Array:
        """What G's step hands on to G, (N, ...): the gradient of G's loss on its samples."""
        net = d.net.unfused()
        return back_from(self.loss, net, d, *look_ahead(self.loss, net, d, real, fake, self.unroll, rng))

    def play(self, g: Player, d: Player, draws: Draws) -> Metrics:
        real, rng = draws.real(0), draws.dropout(0)
        fake, cache_g = generate(g, draws.latent_d(0), rng)
        net = d.net.unfused()
        moves, last = look_ahead(self.loss, net, d, real, fake, self.unroll, rng)
        first = moves[0].before if moves else last
        dfake = back_from(self.loss, net, d, moves, last)
        g.net.backward(g.theta, dfake, cache_g, g.grads, need_dx=False)
        d.grads.flat += moves[0].g if moves else gradient(net, first).flat
        for cache in first.caches:
            net.update_statistics(d.theta, cache)
        g.net.update_statistics(g.theta, cache_g)
        d.update()
        g.update()
        opinions = map(self.loss.opinion, (*first.logits, last.logits[1]))
        metrics = {"loss_d": first.value, "loss_g": -last.value}
        return metrics | dict(zip(("d_real", "d_fake", "d_fake_g"), opinions, strict=True))


def look(loss: GANLoss, net: Layer, theta: Params, real: Array, fake: Array, rng: Rng) -> Look:
    """Real and generated samples go through D apart, each with its own batch statistics."""
    (r, cache_real), (f, cache_fake) = (net.forward(theta, x, train=True, rng=rng) for x in (real, fake))
    value, dreal, dfake = loss.discriminator(r, f)
    return Look(theta, value, (r, f), (dreal, dfake), (cache_real, cache_fake))


def gradient(net: Layer, at: Look) -> Params:
    """That of L_D on D's parameters."""
    grads = at.theta.gradients()
    for dlogits, cache in zip(at.dlogits, at.caches, strict=True):
        net.backward(at.theta, dlogits, cache, grads, need_dx=False)
    return grads


def look_ahead(
    loss: GANLoss, net: Layer, d: Player, real: Array, fake: Array, steps: int, rng: Rng
) -> tuple[list[Move], Look]:
    """D's next updates, if G and both batches stood still, and what it says after them; D itself stays as it is."""
    rule = d.optimiser
    if steps and (obstacle := no_way_back(rule)):
        raise ValueError(f"D cannot be unrolled: {obstacle}")
    moves, moments = [], d.moments
    here = look(loss, net, d.theta, real, fake, rng)
    for k in range(steps):
        g, coefficients = gradient(net, here).flat, rule.coefficients(d.updates + 1 + k)
        theta, moments = here.theta.copy(), {name: moment.copy() for name, moment in moments.items()}
        rule.rule(theta.trainable, g, moments, *coefficients)
        moves.append(Move(here, g, moments, coefficients))
        here = look(loss, net, theta, real, fake, rng)
    return moves, here


def no_way_back(rule: Optimiser) -> str:
    """Why there is none through updates by this rule; empty where there is one."""
    if type(rule).rule_backward is Optimiser.rule_backward:
        return f"its rule, {type(rule).__name__}, has no rule_backward"
    if rule.weight_decay or rule.max_norm is not None or rule.max_weight is not None:
        return "there is no way back through a rule with a weight_decay, max_norm or max_weight"
    return ""


def back_from(loss: GANLoss, net: Layer, d: Player, moves: list[Move], last: Look) -> Array:
    """The gradient of -L_D, as it is in the last look, on the generated samples: through all moves."""
    dtheta = last.theta.gradients()  # lambda
    if moves:
        net.backward(last.theta, -last.dlogits[0], last.caches[0], dtheta, need_dx=False)
    dfake = net.backward(last.theta, -last.dlogits[1], last.caches[1], dtheta if moves else None)
    dmoments = d.optimiser.init_moments(d.theta)  # zeros: nobody asks for the last ones
    for move in reversed(moves):
        dg, dmoments = d.optimiser.rule_backward(dtheta.flat, move.g, move.moments, dmoments, *move.coefficients)
        more, dx = through_gradient(loss, net, move.before, dg)
        dtheta.flat += more
        dfake = dfake + dx
    return dfake


def through_gradient(loss: GANLoss, net: Layer, at: Look, dg: Array) -> tuple[Array, Array]:
    r"""What a number that asks dg of D's gradient g asks of D's parameters and of the generated samples.

    .. math:: H\, dg = \frac{\partial}{\partial \theta} \langle g, dg \rangle, \qquad
              \frac{\partial}{\partial x} \langle g, dg \rangle

    Three walks through D, for each of the two batches: down, for the gradient on each layer's output; up, with dg in
    the place of the parameters; and down again from the logits, which their gradients depend on. (The walk up has one
    down in it, where gradients depend on x: see docs/derivations/double-backward.md.) Returns (P,) and (N, ...).
    """
    ddtheta, total = at.theta.gradients(), at.theta.gradients()
    ddtheta.flat[...] = dg
    ups = []
    for dlogits, cache in zip(at.dlogits, at.caches, strict=True):
        _, kept = net.input_gradient(at.theta, dlogits, cache)
        ups.append(net.grads_double_backward(at.theta, ddtheta, kept, cache, total))
    asked = [array_module(s).zeros_like(s) if dd is None else dd for (dd, _), s in zip(ups, at.logits, strict=True)]
    assert loss.double_backward is not None
    more_real, more_fake = loss.double_backward(asked[0], asked[1], *at.logits)
    net.backward(at.theta, more_real, at.caches[0], total, need_dx=False)
    dx, on_fake = net.backward(at.theta, more_fake, at.caches[1], total), ups[1][1]
    return total.flat, dx if on_fake is None else dx + on_fake
