"""A player: one network with everything that changes while it learns."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from minigan import ops
from minigan.backend import CPU, Device
from minigan.nn.layer import Layer, init_params
from minigan.nn.params import Params
from minigan.optim import Coefficients, Moments, Optimiser
from minigan.parallel.team import ALONE, Team
from minigan.typing import Shape


@dataclass
class Player:
    """The network and its rule are constant; theta, grads, moments and updates change.

    copy: a second D with moments of its own, in the games that have one (games.toolbox);
    observer: called before each update, when `grads` are whole; it may look and must not change anything;
    team: the processes that share each batch;
    coefficients: where those of an update lie ready, by its number (on a GPU); None: the rule works them out.
    """

    net: Layer
    optimiser: Optimiser
    theta: Params
    grads: Params
    moments: Moments
    updates: int = 0
    copy: "Player | None" = None
    observer: "Callable[[Player], None] | None" = None
    team: Team = ALONE
    coefficients: Callable[[int], Coefficients] | None = None

    @classmethod
    def new(
        cls,
        net: Layer,
        optimiser: Optimiser,
        in_shape: Shape,
        rng: np.random.Generator,
        *,
        dtype: DTypeLike = np.float32,
        device: Device = CPU,
        team: Team = ALONE,
    ) -> "Player":
        """A player before its first update."""
        theta = init_params(net, in_shape, rng, dtype=dtype, device=device)
        return cls(net, optimiser, theta, theta.gradients(), optimiser.init_moments(theta), team=team)

    def twin(self) -> "Player":
        """Another player with the same network and numbers, that has not learnt anything yet."""
        theta = self.theta.copy()
        return Player(self.net, self.optimiser, theta, theta.gradients(), self.optimiser.init_moments(theta))

    def update(self) -> None:
        """One update from the gradients collected in `grads`, which are zero after it."""
        self.team.average(ops.gathered(self.grads.flat))
        if self.observer is not None:
            self.observer(self)
        self.updates += 1
        ready = None if self.coefficients is None else self.coefficients(self.updates)
        self.optimiser.update(self.theta, self.grads, self.moments, self.updates, ready)
