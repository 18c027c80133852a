"""Axes: from the range of some numbers to round ticks, and from a number to its place between 0 and 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minigan.reports.numbers import power_of_ten, shown

LARGEST = 1e100  # numbers beyond it are not drawn
POWERS = 6  # or fewer round numbers get a label on a logarithmic axis


class Tick(NamedTuple):
    at: float  # 0 ... 1
    label: str


@dataclass(frozen=True)
class Axis:
    """A range, low < high; logarithmic or not."""

    low: float
    high: float
    log: bool = False
    ticks: tuple[Tick, ...] = ()

    def place(self, values: np.ndarray) -> np.ndarray:
        """Where values (N,) lie: 0 at the low end, 1 at the high one."""
        if self.log:
            return np.log10(values / self.low) / math.log10(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    def shows(self, values: np.ndarray) -> np.ndarray:
        """Which of values (N,) can be drawn at all: not NaN or infinite, and positive on a logarithmic axis."""
        with np.errstate(invalid="ignore"):
            return (values > 1 / LARGEST if self.log else values > -LARGEST) & (values < LARGEST)


def linear_axis(low: float, high: float, *, count: int = 5, grow: bool = True) -> Axis:
    """About `count` ticks at multiples of 1, 2 or 5 times a power of ten; `grow` moves the ends out to ticks."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):  # all the same
        margin = max(abs(low) / 10, 1e-3)
        low, high = low - margin, high + margin
    step = round_step((high - low) / count)
    if grow:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ticks = [Tick((k * step - low) / (high - low), _label(k * step, decimals)) for k in numbers]
    return Axis(low, high, ticks=tuple(ticks))


def step_axis(last: float) -> Axis:
    """The horizontal axis of all curves of a run: rounds from 0 to the last."""
    return linear_axis(0.0, max(last, 1.0), grow=False)


def log_axis(low: float, high: float) -> Axis:
    """Around a range of positive numbers, from 1, 2 or 5 times a power of ten to another.

    Ticks at these, or only at powers of ten where there are many.
    """
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    round_ones = [(factor * 10.0**k, factor, k) for k in powers for factor in (1, 2, 5)]
    first = max(i for i, (number, _, _) in enumerate(round_ones) if number <= low * (1 + 1e-9))
    last = min(i for i, (number, _, _) in enumerate(round_ones) if number >= high * (1 - 1e-9))
    round_ones = round_ones[first : max(last, first + 1) + 1]
    axis = Axis(round_ones[0][0], round_ones[-1][0], log=True)
    if len(round_ones) <= POWERS:
        chosen = [(number, shown(number, 1)) for number, _, _ in round_ones]
    else:
        whole = [(number, k) for number, factor, k in round_ones if factor == 1]
        chosen = [(number, power_of_ten(k)) for number, k in whole[:: math.ceil(len(whole) / POWERS)]]
    places = axis.place(np.array([number for number, _ in chosen])).tolist()
    ticks = [Tick(at, label) for at, (_, label) in zip(places, chosen, strict=True)]
    return Axis(axis.low, axis.high, log=True, ticks=tuple(ticks))


def axis_around(arrays: Sequence[np.ndarray], log: bool) -> Axis | None:
    """The axis that suits all these values, or None if none of them can be drawn."""
    unit = Axis(1.0, 10.0, log=log)
    ends = [(seen.min(), seen.max()) for values in arrays if len(seen := values[unit.shows(values)])]
    if not ends:
        return None
    low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    return log_axis(low, high) if log else linear_axis(low, high)


def round_step(rough: float) -> float:
    """The next number above that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _label(value: float, decimals: int) -> str:
    if decimals > 4 or abs(value) >= 1e7:
        return f"{value:.3g}".replace("-", "−")
    return f"{value + 0.0:,.{decimals}f}".replace("-", "−")
