r"""The method: each claimed derivative against a four-point difference quotient in float64.

.. math:: f'(x) \approx \frac{f(x - 2h) - 8 f(x - h) + 8 f(x + h) - f(x + 2h)}{12 h}

Its truncation error is :math:`h^4 f^{(5)}/30`, its rounding error about :math:`10^{-16} |f| / h`. At
h = 1e-4 the first is negligible and the second leaves 1e-12 to 1e-11; the two-point quotient has about
1e-9 there, and no better than 1e-10 to 4e-11 at its best step, 1e-5: ``--plot`` shows both.

What makes a check sharp, besides the formula:

* a random upstream gradient: with one of all ones, sum(y) is constant under BatchNorm, every
  input gradient is zero, and many wrong formulas pass;
* every parameter and the input on its own, in the largest-entry norm: a small array cannot hide
  behind a large one;
* inputs kept away from kinks: at |x| < 2h the quotient of ReLU is neither 0 nor 1;
* gradients added to random numbers: a layer that overwrites instead of adding is noticed.

A network with many parameters is checked along a few directions v for each array, that of the claimed gradient plus a
random one of the same length: every entry of a wrong gradient g has its share in :math:`\langle g, v \rangle`.

A gradient may be zero, as that of a bias before BatchNorm is. Then both sides are rounding, whose ratio tells nothing:
where no entry of either is above 1e-10, they agree.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minigan.backend import put_like, to_host
from minigan.typing import Array

STEP = 1e-4  # h
TOLERANCE = 1e-8
ZERO = 1e-10  # what rounding leaves of a gradient that is zero, at most


@dataclass
class Problem:
    """A scalar function of some arrays, and the gradients that are claimed for it.

    `value()` computes the function from the arrays as they are at that moment; `claims` maps a name
    to (array, gradient): the array is varied in place, the gradient has its shape. All entries are checked, or
    `directions` of each array.
    """

    name: str
    value: Callable[[], float]
    claims: dict[str, tuple[Array, Array]]
    directions: int | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table: the worst relative error of one gradient."""

    name: str
    variable: str
    error: float  # inf where the gradient or the quotient is not finite

    def passes(self, tolerance: float = TOLERANCE) -> bool:
        """Whether the error is within the tolerance (never for NaN)."""
        return self.error <= tolerance


def four_point(f: Callable[[float], float], h: float) -> float:
    """Derivative at 0, error O(h^4)."""
    return (f(-2 * h) - 8 * f(-h) + 8 * f(h) - f(2 * h)) / (12 * h)


def two_point(f: Callable[[float], float], h: float) -> float:
    """Derivative at 0, error O(h^2): the textbook's quotient, for comparison."""
    return (f(h) - f(-h)) / (2 * h)


Rule = Callable[[Callable[[float], float], float], float]


def numeric_gradient(value: Callable[[], float], array: Array, h: float = STEP, rule: Rule = four_point) -> np.ndarray:
    """d value / d array, entry by entry; the array is changed in place and put back.

    Raises ValueError unless it is of float64, whose digits it takes, and its numbers lie side by side.
    """
    if array.dtype != np.float64 or not array.flags.c_contiguous:
        raise ValueError(f"a quotient needs a contiguous array of float64 (np.array(x, np.float64)), got {array.dtype}")
    flat = array.reshape(-1)  # a view
    gradient = np.empty(flat.size)
    for index in range(flat.size):
        here = float(flat[index])

        def along(shift: float, index: int = index, here: float = here) -> float:
            flat[index] = here + shift
            return value()

        gradient[index] = rule(along, h)
        flat[index] = here
    return gradient.reshape(array.shape)


def numeric_along(
    value: Callable[[], float], array: Array, directions: np.ndarray, h: float = STEP, rule: Rule = four_point
) -> np.ndarray:
    """d value(array + t v) / dt at t = 0, (K,), for each v of the directions (K, *shape); the array is put back."""
    here = array.copy()
    derivatives = np.empty(len(directions))
    for index, direction in enumerate(directions):
        there = put_like(direction, here)

        def along(shift: float, there: Array = there) -> float:
            array[...] = here + shift * there
            return value()

        derivatives[index] = rule(along, h)
    array[...] = here
    return derivatives


def relative_error(numeric: np.ndarray, claimed: np.ndarray) -> float:
    r"""Largest difference over largest entry, :math:`\max|n - c| \,/\, \max(|n|_\infty, |c|_\infty)`; 0 if both are."""
    if not (np.isfinite(claimed).all() and np.isfinite(numeric).all()):
        return math.inf
    scale = max(abs(numeric).max(initial=0), abs(claimed).max(initial=0))
    return float(abs(numeric - claimed).max() / scale) if scale > ZERO else 0.0


def check(problem: Problem, h: float = STEP, rule: Rule = four_point) -> list[Row]:
    """One row for each claimed gradient of a problem."""
    rows, rng = [], np.random.default_rng(0)
    for variable, (array, gradient) in problem.claims.items():
        claimed = to_host(gradient)
        if problem.directions is None:
            numeric = numeric_gradient(problem.value, array, h, rule)
        else:
            directions = _near(claimed, problem.directions, rng)
            numeric = numeric_along(problem.value, array, directions, h, rule)
            claimed = directions.reshape(len(directions), -1) @ claimed.reshape(-1)  # (K,)
        rows.append(Row(problem.name, variable, relative_error(numeric, claimed)))
    return rows


def _near(gradient: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Directions (K, *shape): the gradient's own, where the quotient has the most digits, plus a random one each."""
    random = rng.normal(size=(count, *gradient.shape)) / math.sqrt(gradient.size)  # nearly of length 1
    return random + gradient / max(float(np.linalg.norm(gradient)), ZERO)
