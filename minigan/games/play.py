"""One round of a game: in the order of Algorithm 1 (Goodfellow et al. 2014), or in another one."""

from collections.abc import Callable

import numpy as np

from minigan.games.at_once import discriminator_step_at_once, simultaneous_step_at_once
from minigan.games.gan import Penalty, discriminator_step, generate, generator_step, joined_discriminator_step
from minigan.games.player import Player
from minigan.games.rules import Draws, Game, Metrics, OwnRound
from minigan.games.simultaneous import simultaneous_step


def play_round(game: Game | OwnRound, g: Player, d: Player, draws: Draws) -> Metrics:
    """One round: k discriminator steps and one generator step, in the game's order, or a round of the game's own."""
    if isinstance(game, OwnRound):
        metrics = game.play(g, d, draws)
        if not isinstance(metrics, dict):
            raise TypeError(f"{type(game).__name__}.play() must return its metrics, a dictionary, got {metrics!r}")
        return metrics
    if game.order == "simultaneous":
        return _simultaneous(game, g, d, draws)
    return (_generator_first if game.order == "generator-first" else _discriminator_first)(game, g, d, draws)


def _discriminator_first(game: Game, g: Player, d: Player, draws: Draws) -> Metrics:
    """An iteration of Algorithm 1."""
    metrics: Metrics = {}
    move_d = _step_of_d(game)
    for k in range(game.d_steps):
        rng = draws.dropout(k)
        fake, cache_g = generate(g, draws.latent_d(k), rng)
        metrics |= move_d(game.loss, d, draws.real(k), fake, rng, _penalty(game, draws, k, rng))
    rng = draws.dropout(game.d_steps)
    if not game.reuse_fakes:
        fake, cache_g = generate(g, draws.latent_g(), rng)
    return metrics | generator_step(game.loss, g, d, fake, cache_g, rng)


def _generator_first(game: Game, g: Player, d: Player, draws: Draws) -> Metrics:
    rng = draws.dropout(game.d_steps)
    fake, cache_g = generate(g, draws.latent_g(), rng)
    metrics = generator_step(game.loss, g, d, fake, cache_g, rng)
    del cache_g  # its memory is free for D's step
    move_d = _step_of_d(game)
    for k in range(game.d_steps):
        rng = draws.dropout(k)
        if not game.reuse_fakes:
            fake = generate(g, draws.latent_d(k), rng)[0]
        metrics |= move_d(game.loss, d, draws.real(k), fake, rng, _penalty(game, draws, k, rng))
    return metrics


def _simultaneous(game: Game, g: Player, d: Player, draws: Draws) -> Metrics:
    step = simultaneous_step_at_once if game.at_once else simultaneous_step
    return step(game.loss, g, d, draws.real(0), draws.latent_d(0), draws.dropout(0))


def _step_of_d(game: Game) -> Callable[..., Metrics]:
    if game.joined:
        return joined_discriminator_step
    return discriminator_step_at_once if game.at_once else discriminator_step


def _penalty(game: Game, draws: Draws, k: int, rng: np.random.Generator) -> Penalty | None:
    """That of the k-th step of D; its masks come from `rng`, after those of the samples."""
    if (rule := game.penalty) is None:
        return None
    share = draws.share(k) if rule.at == "between" else None
    return lambda d, real, fake: rule.add(d, rule.points(real, fake, share), rng)
