"""Rounds that a GPU plays from one launch: the operations of a round, captured once and then replayed as a graph.

Many operations take the GPU less time than the host needs to start them; those of a graph it starts all at once. What
has to hold for that: docs/gpu.md.
"""

from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from minigan.cuda.aside import beside
from minigan.cuda.cublas import CublasError
from minigan.games import Game, Metrics, OwnRound, play_round
from minigan.optim import Coefficients
from minigan.optim.average import average_coefficients
from minigan.recipes import Recipe
from minigan.runs.feed import Feed, StreamedFeed
from minigan.runs.inbox import Inbox, InboxDraws
from minigan.runs.rounds import Rounds
from minigan.runs.state import State

WARM_UP = 2  # rounds: in the first the inbox learns what it needs, in the second all is as in the capture


def rounds(recipe: Recipe, game: Game | OwnRound, state: State, feed: Feed, seed: int, kernels: str) -> Rounds:
    """How the rounds of a run are played: captured on a GPU with fast kernels, if they can be."""
    if feed.device.xp is np:
        return Rounds(recipe, game, state, feed, seed)
    if kernels != "plain" and feed.team.size == 1:
        game = at_once(game)
    if obstacle := "--kernels plain" if kernels == "plain" else why_not(recipe, game, feed):
        return Rounds(recipe, game, state, feed, seed, f"rounds go operation by operation: {obstacle}")
    return CapturedRounds(recipe, game, state, feed, seed, "rounds are captured: each is one launch of a graph")


def at_once(game: Game | OwnRound) -> Game | OwnRound:
    """The same game with half the launches of D, if it looks at two batches apart."""
    return replace(game, at_once=True) if isinstance(game, Game) and not game.joined else game


def why_not(recipe: Recipe, game: Game | OwnRound, feed: Feed) -> str:
    """What keeps the rounds of a run from being captured; empty if nothing."""
    if feed.team.size > 1:
        return "processes share the batches"
    if isinstance(feed, StreamedFeed):
        return "images are made while training goes on"
    if isinstance(game, OwnRound):
        return f"{recipe.name} plays rounds of its own"
    if len(feed.batches.indices(feed.batches.per_epoch - 1)) < recipe.batch_size:
        return "the last batch of an epoch is smaller than the others"
    return ""


@dataclass(eq=False)
class CapturedRounds(Rounds):
    """Two rounds operation by operation, in which everything is loaded and finds its place; then one launch a round.

    A watched round goes operation by operation again, with the same numbers in the same places. Within the context all
    work is on one stream, as a capture needs, but for gradients of parameters, which go beside it on a second one.
    Where CuPy or CUDA refuse to capture, the run goes on without. What a round measured lies where the next round puts
    its own.
    """

    def __post_init__(self) -> None:
        cuda = self.feed.device.xp.cuda
        self._stream = cuda.Stream(non_blocking=True, priority=-1)  # what everybody waits for goes before the aside
        self._second: Any = cuda.Stream(non_blocking=True)  # None, where that is what keeps it from being captured
        self._pool: Any = cuda.MemoryPool()  # the graph's own: replays write to memory that it counts as free
        self._inbox = Inbox(self.feed.device, self.dtype)
        self._updates: list[str] = []  # of a round, in their order: who makes them
        self._warm = 0  # rounds
        self._refused = ""  # the words of who refused to capture
        self._told = False
        self._graph: Any = None
        for role, player in self.state.players.items():
            player.coefficients = partial(self._ready, role)

    def play(self, watched: bool = False) -> Metrics:
        if self._refused:
            return super().play()
        if self._warm < WARM_UP:
            return self._warm_up()
        self._inbox.deliver(self.state.step, self._coefficients())
        if watched:
            return self._by_operation()
        if self._graph is None:
            self._capture()
        if self._refused:
            return super().play()
        self._graph.launch(self._stream)
        self._count([now + more for now, more in zip(self._counters(), self._counted, strict=True)])
        return self._measured

    def complaint(self) -> str:
        if self._refused and not self._told:
            self._told = True
            return f"rounds go operation by operation, as the capture was refused: {self._refused}"
        return super().complaint()

    def __enter__(self) -> "CapturedRounds":
        super().__enter__()
        self.feed.device.synchronize()  # what lies on the device has come by another stream
        self._stream.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._inbox.close()
        try:
            self.feed.device.synchronize()
        finally:
            self._stream.__exit__(kind, err, tb)
            super().__exit__(kind, err, tb)

    def _warm_up(self) -> Metrics:
        if self._warm == 0:
            self._inbox.learn(self.draws(self.state.step))
        else:
            self._inbox.deliver(self.state.step, self._coefficients())
        with self.feed.device.xp.cuda.using_allocator(self._pool.malloc):
            measured = self._by_operation()
        if self._warm == 0:
            self._inbox.settle(self.draws)
        self._warm += 1
        return measured

    def _by_operation(self) -> Metrics:
        """The next round, with its numbers from the inbox."""
        state = self.state
        draws = InboxDraws(**vars(self.draws(state.step)), inbox=self._inbox)
        with beside(self.feed.device.xp.cuda, self._second) if self._second else nullcontext():
            measured = play_round(self.game, state.g, state.d, draws)
        ready = None
        if state.average is not None:
            ready = self._inbox.take_coefficients(average_coefficients(self.recipe.average, state.step + 1))
        state.finish_round(self.recipe.average, ready)
        return measured

    def _capture(self) -> None:
        """Make a graph of the next round, which is not played by that."""
        before, refused = self._counters(), self._try_to_record()
        if refused and self._second is not None:
            self._count(before)
            self._second = None
            refused = self._try_to_record()
        if refused:
            self._refused = refused
            self._pool = None  # its memory goes back
            for player in self.state.players.values():
                player.coefficients = None
        self._counted = [now - then for now, then in zip(self._counters(), before, strict=True)]
        self._count(before)

    def _try_to_record(self) -> str:
        """Empty, or the words of who refused."""
        self._inbox.begin()
        try:
            with self.feed.device.xp.cuda.using_allocator(self._pool.malloc):
                self._graph = self._recorded()
        except (RuntimeError, MemoryError, CublasError) as err:  # all errors of CUDA and CuPy are one of the first two
            return str(err).partition("\n")[0] or type(err).__name__
        return ""

    def _recorded(self) -> Any:
        self._stream.begin_capture()
        try:
            self._measured = self._by_operation()
        except BaseException:
            with suppress(RuntimeError):
                self._stream.end_capture()
            raise
        return self._stream.end_capture()

    def _ready(self, role: str, t: int) -> Coefficients:
        """Where a player finds the coefficients of update t."""
        if self._warm == 0:
            self._updates.append(role)
        return self._inbox.take_coefficients(self.state.players[role].optimiser.coefficients(t))

    def _coefficients(self) -> list[float]:
        """Those of all updates of the next round, in their order, and of the average after it."""
        players = self.state.players
        numbers: list[float] = []
        t = {role: player.updates for role, player in players.items()}
        for role in self._updates:
            t[role] += 1
            numbers += players[role].optimiser.coefficients(t[role])
        if self.state.average is not None:
            numbers += average_coefficients(self.recipe.average, self.state.step + 1)
        return numbers

    def _counters(self) -> list[int]:
        """What the host counts in a round."""
        g, d = self.state.g, self.state.d
        return [self.state.step, g.updates, d.updates, g.theta.version, d.theta.version]

    def _count(self, counters: list[int]) -> None:
        g, d = self.state.g, self.state.d
        self.state.step, g.updates, d.updates, g.theta.version, d.theta.version = counters
