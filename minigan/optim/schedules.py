"""Numbers that change while training: the learning rate, the momentum.

A schedule is a pure function of the number of the update, t = 1, 2, ..., so that a resumed run
continues exactly. k = t - 1 updates have been made before update t.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Schedule: TypeAlias = Callable[[int], float]


def at(value: float | Schedule, t: int) -> float:
    """The value for update t of a number or a schedule."""
    return value(t) if callable(value) else value


@dataclass(frozen=True)
class ExponentialDecay:
    r"""Divided by a factor after each update, down to a floor: :math:`\max(a / f^k, \text{floor})`."""

    start: float
    factor: float
    floor: float = 0.0

    def __call__(self, t: int) -> float:
        return max(self.start * self.factor ** (1 - t), self.floor)


@dataclass(frozen=True)
class LinearRamp:
    r"""From `start` to `end` in a straight line over `length` updates, beginning after `delay` of them; then constant.

    The value changes every `every` updates only: with the number of batches an epoch it is one
    value an epoch, :math:`a + (b - a) \min(1, \lfloor k'/e \rfloor\, e / \text{length})`, :math:`k' = \max(0, k - d)`.
    """

    start: float
    end: float
    length: int
    every: int = 1
    delay: int = 0

    def __post_init__(self) -> None:
        if self.length < 1 or self.every < 1:
            raise ValueError(f"a ramp has a length and steps of at least one update, got {self.length}, {self.every}")
        if self.delay < 0:
            raise ValueError(f"a ramp is delayed by 0 updates or more, got {self.delay}")

    def __call__(self, t: int) -> float:
        done = max(0, t - 1 - self.delay) // self.every * self.every
        return self.start + (self.end - self.start) * min(1.0, done / self.length)


@dataclass(frozen=True)
class Cyclical:
    r"""Up from `low` to `high` and down again in `period` updates, for ever (Smith 2017, triangular).

    .. math:: l + (h - l)(1 - |2\varphi - 1|), \qquad \varphi = \frac{k \bmod p}{p}
    """

    low: float
    high: float
    period: int

    def __call__(self, t: int) -> float:
        phase = (t - 1) % self.period / self.period  # in [0, 1)
        return self.low + (self.high - self.low) * (1 - abs(2 * phase - 1))
