"""Charts: what is drawn where, in plain numbers and path strings; the template makes SVG of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigan.reports.axes import Axis, Tick, axis_around, linear_axis, step_axis
from minigan.reports.curves import path
from minigan.reports.layout import LEFT, PLOT_HEIGHT, PLOT_WIDTH, TOP, x
from minigan.reports.numbers import shown
from minigan.runs.pictures import running_mean

TONES = 10  # colours for layers, from the first to the last

PROBABILITY = linear_axis(0.0, 1.0)


@dataclass(frozen=True)
class Series:
    """A number over the rounds; `tone` is the CSS class of its colour."""

    label: str
    tone: str
    steps: np.ndarray  # (N,)
    values: np.ndarray  # (N,), NaN where there is none


@dataclass(frozen=True)
class Curve:
    """A drawn series and, for the legend and the table, what it says in numbers."""

    label: str
    tone: str
    raw: str  # path; "" if the mean is all there is to show
    mean: str  # path of the running mean, or of the values if they are few
    last: str
    least: str
    greatest: str


@dataclass(frozen=True)
class Chart:
    title: str
    about: str  # what the numbers are, with their unit
    curves: tuple[Curve, ...]
    across: Axis
    up: Axis
    rule: float | None  # where a horizontal line shows a value of note, 0 ... 1
    rule_label: str

    @property
    def description(self) -> str:
        """The chart in words, for those who cannot see it."""
        ends = "; ".join(f"{c.label}: last {c.last}, least {c.least}, greatest {c.greatest}" for c in self.curves)
        return f"{self.title}, {self.about}, over steps 0 to {shown(self.across.high)}. {ends}."


def chart(
    title: str,
    about: str,
    series: Sequence[Series],
    last_step: float,
    *,
    log: bool = False,
    up: Axis | None = None,
    rule: tuple[float, str] | None = None,
) -> Chart | None:
    """Curves of these series; the axis fits them unless `up` is given. None if there is nothing to draw."""
    axis = up or axis_around([line.values for line in series], log)
    across = step_axis(last_step)
    drawn = [] if axis is None else [curve(line, across, axis) for line in series]
    curves = tuple(line for line in drawn if line.mean)
    if axis is None or not curves:
        return None
    height = None if rule is None else float(axis.place(np.array([rule[0]]))[0])
    if rule is None or height is None or not 0 < height < 1:
        return Chart(title, about, curves, across, axis, None, "")
    return Chart(title, about, curves, across, axis, height, rule[1])


def curve(line: Series, across: Axis, up: Axis) -> Curve:
    """The values faintly and their running mean above them; few values as they are."""
    seen = up.shows(line.values)
    steps, values = line.steps[seen], line.values[seen]
    raw, mean = path(steps, values, across, up), ""
    if len(values) >= 80:  # where a fortieth of them is two or more
        mean = path(steps, running_mean(values), across, up)
    last, least, greatest = (values[-1], values.min(), values.max()) if len(values) else (np.nan,) * 3
    numbers = (shown(float(number)) for number in (last, least, greatest))
    return Curve(line.label, line.tone, raw if mean else "", mean or raw, *numbers)


def place_of(step: float, last_step: float) -> float:
    """Where a step lies across the charts of curves, in the units of the drawing."""
    return x(float(step_axis(last_step).place(np.array([float(step)]))[0]))


def layer_tones(count: int) -> list[str]:
    """A colour for each layer, in an order that the eye can follow."""
    return [f"depth-{round(i * (TONES - 1) / max(count - 1, 1))}" for i in range(count)]


@dataclass(frozen=True)
class Bars:
    """A histogram: paths of its bars, one for each group of numbers."""

    paths: tuple[tuple[str, str], ...]  # (tone, path)
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    rule: float | None
    description: str


def mirrored_bars(real: Sequence[int], fake: Sequence[int], top: float) -> Bars:
    """What D thinks: real images above the line, generated ones below it, as shares of each, up to `top`."""
    half = PLOT_HEIGHT / 2
    groups = (("real", real, -1), ("fake", fake, 1))
    paths = tuple((tone, _bars(_shares(counts) * (sign * half / top), TOP + half)) for tone, counts, sign in groups)
    across = tuple(Tick(tick, f"{tick:g}") for tick in (0, 0.25, 0.5, 0.75, 1))
    up = tuple(Tick(at, f"{top:.0%}" if at != 0.5 else "0") for at in (0, 0.5, 1))
    words = (f"{name}: median {_median(counts)}" for name, counts in (("real images", real), ("generated", fake)))
    return Bars(paths, across, up, None, f"Histogram of D's probabilities; {', '.join(words)}")


def class_bars(counts: Sequence[int], top: float) -> Bars:
    """How many of the samples a classifier takes for each class, as shares up to `top`."""
    shares = _shares(counts)
    paths = (("fake", _bars(-shares * (PLOT_HEIGHT / top), TOP + PLOT_HEIGHT)),)
    across = tuple(Tick((k + 0.5) / len(counts), str(k)) for k in range(len(counts)))
    up = (Tick(0, "0"), Tick(1, f"{top:.0%}"))
    words = ", ".join(f"{k}: {share:.0%}" for k, share in enumerate(shares.tolist()))
    return Bars(paths, across, up, 1 / len(counts) / top, f"Classes of the samples; {words}")


def largest_share(histograms: Sequence[Sequence[int]]) -> float:
    """The tallest bar of them all, rounded up to a tenth, so that all can be drawn alike."""
    tallest = max((float(_shares(counts).max()) for counts in histograms), default=0.0)
    return max(np.ceil(tallest * 10 - 1e-9) / 10, 0.1)


def _shares(counts: Sequence[int]) -> np.ndarray:
    numbers = np.array(counts, float)
    return numbers / max(numbers.sum(), 1.0)


def _bars(lengths: np.ndarray, base: float) -> str:
    """Bars from `base` on, down if the length (of the drawing's units) is positive; no bar for nothing."""
    width = PLOT_WIDTH / len(lengths)
    return "".join(
        f"M{LEFT + i * width + 0.5:.1f},{base:.1f}v{length:.1f}h{width - 1:.1f}v{-length:.1f}z"
        for i, length in enumerate(lengths.tolist())
        if abs(length) >= 0.05
    )


def _median(counts: Sequence[int]) -> str:
    """The middle of the bin that holds the median."""
    sums = np.cumsum(counts)
    if not sums[-1]:
        return "of nothing"
    return shown((int(np.searchsorted(sums, sums[-1] / 2)) + 0.5) / len(counts))
