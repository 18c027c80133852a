"""Whether a run is still made of numbers, and where it stopped being so."""

import numpy as np

from minigan.backend import array_module
from minigan.errors import UserError
from minigan.nn import Params, Sequential
from minigan.runs.state import State
from minigan.typing import Array


class NotFiniteError(UserError):
    """A NaN or an infinity has appeared."""


def is_finite(array: Array) -> bool:
    """Whether all entries are finite; waits for the device."""
    return bool(array_module(array).isfinite(array).all())


def first_not_finite(state: State, z: Array, rng: np.random.Generator, otherwise: str = "loss") -> str:
    """The first place with a NaN or an infinity: a parameter, or a layer's output for these z; or the one given."""
    for role, player in (("generator", state.g), ("discriminator", state.d)):
        for name, view in player.theta.items():
            if not is_finite(view):
                return f"{role} parameter {name}"
    x, place = _first_output(state.g.net, state.g.theta, z, rng)
    if place is None:
        _, place = _first_output(state.d.net, state.d.theta, x, rng)
        return f"output of discriminator layer {place}" if place else otherwise
    return f"output of generator layer {place}"


def _first_output(net: object, theta: Params, x: Array, rng: np.random.Generator) -> tuple[Array, str | None]:
    assert isinstance(net, Sequential)  # the networks of all recipes
    y = x
    for name, _, y, _ in net.trace(theta, x, train=True, rng=rng):
        if not is_finite(y):
            return y, name
    return y, None
