"""Train a toy, and look at it while it learns: samples, D everywhere, and the gradient on each sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minigan import ops
from minigan.games import UnrolledGame, play_round
from minigan.games.player import Player
from minigan.randomness import Purpose, stream
from minigan.toys.problems import Toy

SURFACE = 121  # points on a side of the plane, where D is looked at
LINE = 401  # points on the line
BINS = 100  # of the histogram that stands for p_g
DENSE = 20_000  # samples for the density of G


class View(NamedTuple):
    """What there is to see after some rounds; d is the number of dimensions."""

    step: int
    z: np.ndarray  # (N, latent)
    x: np.ndarray  # (N, d)  G(z)
    push: np.ndarray  # (N, d)  -N dL/dx: where G's loss falls fastest, for each sample
    points: np.ndarray  # (M, d)  where D was asked: a line, or the plane row by row from below
    d: np.ndarray  # (M,)  D at the points, a probability; of a critic its score less the samples' mean
    many: np.ndarray  # (DENSE, d)  more samples, for p_g


@dataclass(frozen=True)
class ToyDraws:
    """The data and the noise of one round, each a function of (seed, purpose, step)."""

    toy: Toy
    batch_size: int
    seed: int
    step: int

    def real(self, k: int) -> np.ndarray:
        return self.toy.real(stream(self.seed, Purpose.TOY_DATA, self.step, k), self.batch_size)

    def latent_d(self, k: int) -> np.ndarray:
        return self.toy.latents(stream(self.seed, Purpose.LATENT_D, self.step, k), self.batch_size)

    def latent_g(self) -> np.ndarray:
        return self.toy.latents(stream(self.seed, Purpose.LATENT_G, self.step, 0), self.batch_size)

    def share(self, k: int) -> np.ndarray:
        return stream(self.seed, Purpose.BETWEEN, self.step, k).random(self.batch_size, dtype=np.float32)

    def dropout(self, k: int) -> np.random.Generator:
        return stream(self.seed, Purpose.DROPOUT, self.step, k)


def rounds(toy: Toy, steps: int, batch_size: int, lr: float, seed: int) -> Iterator[tuple[int, Player, Player]]:
    """Play `steps` rounds: how many have been played, and both players, before the first one and after each."""
    g, d = start(toy, lr, seed)
    yield 0, g, d
    for step in range(steps):
        play_round(toy.game, g, d, ToyDraws(toy, batch_size, seed, step))
        yield step + 1, g, d


def start(toy: Toy, lr: float, seed: int) -> tuple[Player, Player]:
    """Both players before the first round; D has seen the density already where the toy says so."""
    g = Player.new(toy.generator, toy.rule(lr), (toy.latent,), stream(seed, Purpose.INIT_GENERATOR))
    d = Player.new(toy.discriminator, toy.rule(lr), (toy.dimensions,), stream(seed, Purpose.INIT_DISCRIMINATOR))
    if toy.pretrain:
        pretrain(toy, d, seed)
    return g, d


def pretrain(toy: Toy, d: Player, seed: int) -> None:
    """Let D(x) learn p_data(x) by least squares, at points from the whole window; then forget the momentum."""
    assert toy.density is not None
    for step in range(toy.pretrain):
        # Counted from the end of what steps can be, so that no round draws the same numbers.
        rng = stream(seed, Purpose.TOY_DATA, 2**32 - 1 - step, 0)
        x = rng.uniform(-toy.window, toy.window, (toy.batch_size, 1)).astype(np.float32)
        logits, cache = d.net.forward(d.theta, x, train=True)
        p, cache_p = ops.sigmoid(logits)
        _, dp = ops.mean_squared_error(p, toy.density(x))
        d.net.backward(d.theta, ops.sigmoid_backward(dp, cache_p), cache, d.grads, need_dx=False)
        d.update()
    d.updates = 0
    for moment in d.moments.values():
        moment.fill(0)


def look(toy: Toy, g: Player, d: Player, step: int, seed: int, count: int = 256) -> View:
    """Samples of fixed latents with the gradient of G's loss on each, as G's step sees it, and D at many points.

    Raises FloatingPointError if the parameters are not finite any more.
    """
    if not all(np.isfinite(player.theta.flat).all() for player in (g, d)):
        raise FloatingPointError(f"the parameters are not finite after {step} rounds")
    z = toy.latents(stream(seed, Purpose.FIXED_LATENT, 0), count)
    x, _ = g.net.forward(g.theta, z, train=False)
    logits, cache = d.net.forward(d.theta, x, train=False)
    if isinstance(toy.game, UnrolledGame):
        real = toy.real(stream(seed, Purpose.FIXED_LATENT, 2), count)
        dx = toy.game.gradient_on_samples(d, real, x)
    else:
        _, dlogits = toy.game.loss.generator(logits)
        dx = d.net.backward(d.theta, dlogits, cache, None)  # through D, whose own gradient nobody asks for
    points = everywhere(toy)
    at_points, _ = d.net.forward(d.theta, points, train=False)
    many, _ = g.net.forward(g.theta, toy.latents(stream(seed, Purpose.FIXED_LATENT, 1), DENSE), train=False)
    opinions = at_points - logits.mean() if toy.game.loss.critic else ops.sigmoid(at_points)[0]
    return View(step, z, x, -count * dx, points, opinions.ravel(), many)


def everywhere(toy: Toy) -> np.ndarray:
    """Points of the window: a line (LINE, 1), or the plane (SURFACE * SURFACE, 2) row by row from below."""
    if toy.dimensions == 1:
        return np.linspace(-toy.window, toy.window, LINE, dtype=np.float32)[:, None]
    side = np.linspace(-toy.window, toy.window, SURFACE, dtype=np.float32)
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


def p_generated(toy: Toy, view: View) -> tuple[np.ndarray, np.ndarray]:
    """The density of G on the line, from a histogram: the middles (BINS,) of its bins, and p_g in them."""
    counts, edges = np.histogram(view.many.astype(float), bins=BINS, range=(-toy.window, toy.window))
    width = edges[1] - edges[0]
    return (edges[:-1] + edges[1:]) / 2, counts / (len(view.many) * width)


def best_discriminator(toy: Toy, view: View) -> tuple[np.ndarray, np.ndarray]:
    """D* = p_data / (p_data + p_g) in the same places; not a number where hardly anything of both is."""
    assert toy.density is not None
    x, p_g = p_generated(toy, view)
    both = toy.density(x) + p_g
    return x, np.where(both > 1e-3, toy.density(x) / np.maximum(both, 1e-3), np.nan)
