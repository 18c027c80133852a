"""Update rules on the workers: in one pass where loops are compiled, else piece by piece by the plain formula."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from minigan.backend import expect_shape
from minigan.kernels.blocks import PIECE, pieces
from minigan.kernels.loops import loops
from minigan.kernels.workers import share

SMALL = 1 << 17  # numbers below which a second worker gains nothing: waking it takes as long
Known: TypeAlias = tuple[str, tuple[str, ...], Callable[[Any], tuple[float, ...]]]
# Of a rule with a compiled loop, by the `rule_name` of a change: the loop, and its moments and constants in its order.
RULES: dict[str, Known] = {
    "SGD": ("sgd", (), lambda _: ()),
    "Momentum": ("momentum", ("velocity",), lambda _: ()),
    "Adam": ("adam", ("m", "v"), lambda rule: (rule.beta1, 1 - rule.beta1, rule.beta2, 1 - rule.beta2, rule.eps)),
}
NONE: Known = ("", (), lambda _: ())


def in_pieces(*vectors: np.ndarray, change: Callable[..., None]) -> None:
    """See `minigan.ops.in_pieces`."""
    for vector in vectors:
        expect_shape("a vector", vector, vectors[0].shape)
    together = _in_one_pass(vectors, change) or partial(_by_pieces, vectors, change)
    share(together, len(vectors[0]), SMALL)


def move_average(average: np.ndarray, theta: np.ndarray, coefficients: Sequence[float | np.ndarray]) -> None:
    """See `minigan.ops.move_average`; piece by piece, while they are in the cache."""
    expect_shape("theta", theta, average.shape)
    old, new = coefficients

    def part(start: int, stop: int) -> None:
        for some in pieces(start, stop, PIECE):
            average[some] *= old
            average[some] += new * theta[some]

    share(part, len(average), SMALL)


def _in_one_pass(vectors: tuple[np.ndarray, ...], change: Any) -> Callable[[int, int], None] | None:
    """The update of a part of the vectors by a compiled loop, if there is one for this rule."""
    name, moments, constants = RULES.get(getattr(change, "rule_name", ""), NONE)
    loop = getattr(loops, name, None)
    if loop is None:
        return None
    theta, g, *others = vectors
    named = dict(zip(change.names, others, strict=True))
    ordered = [theta, g, *(named[moment] for moment in moments)]
    numbers = [theta.dtype.type(number) for number in (*change.coefficients, *constants(change.optimiser))]
    return lambda start, stop: loop(*(vector[start:stop] for vector in ordered), *numbers)


def _by_pieces(vectors: tuple[np.ndarray, ...], change: Callable[..., None], start: int, stop: int) -> None:
    for some in pieces(start, stop, PIECE):
        change(*(vector[some] for vector in vectors))
