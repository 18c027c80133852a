"""Who plays whom: training steps, written to be read beside the papers' algorithms."""

from minigan.games.at_once import discriminator_step_at_once, simultaneous_step_at_once
from minigan.games.gan import discriminator_step, generate, generator_step, joined_discriminator_step
from minigan.games.penalty import GradientPenalty, r1, wgan_gp
from minigan.games.play import play_round
from minigan.games.player import Player
from minigan.games.rules import (
    HINGE,
    LEAST_SQUARES,
    WASSERSTEIN,
    Draws,
    Game,
    GANLoss,
    Metrics,
    OwnRound,
    minimax,
    non_saturating,
)
from minigan.games.simultaneous import simultaneous_step
from minigan.games.unrolled import UnrolledGame

__all__ = [
    "HINGE",
    "LEAST_SQUARES",
    "WASSERSTEIN",
    "Draws",
    "GANLoss",
    "Game",
    "GradientPenalty",
    "Metrics",
    "OwnRound",
    "Player",
    "UnrolledGame",
    "discriminator_step",
    "discriminator_step_at_once",
    "generate",
    "generator_step",
    "joined_discriminator_step",
    "minimax",
    "non_saturating",
    "play_round",
    "r1",
    "simultaneous_step",
    "simultaneous_step_at_once",
    "wgan_gp",
]
