"""Plays the rounds of a run one after the other, operation by operation; `runs.captured` has another way for a GPU."""

from dataclasses import dataclass
from types import TracebackType

import numpy as np

from minigan.games import Game, Metrics, OwnRound, play_round
from minigan.recipes import Recipe
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import Feed
from minigan.runs.state import State


@dataclass(eq=False)
class Rounds:
    """What changes in a run, and all that its next round needs."""

    recipe: Recipe
    game: Game | OwnRound
    state: State
    feed: Feed
    seed: int
    words: str = ""  # how rounds are played, where there is a choice, for the user

    @property
    def dtype(self) -> np.dtype:
        return self.state.g.theta.flat.dtype

    def draws(self, step: int) -> SeededDraws:
        """The data and the randomness of round `step`."""
        return SeededDraws(self.recipe, self.feed, self.seed, step, self.game.d_steps, self.dtype)

    def play(self, watched: bool = False) -> Metrics:
        """The next round, with the average of G; `watched`: the players have observers."""
        measured = play_round(self.game, self.state.g, self.state.d, self.draws(self.state.step))
        self.state.finish_round(self.recipe.average)
        return measured

    def complaint(self) -> str:
        """What the user should know about the speed; empty if nothing, or if it was said before."""
        return self.feed.complaint()

    def __enter__(self) -> "Rounds":
        self.feed.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.feed.__exit__(kind, err, tb)
