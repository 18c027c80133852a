"""From a series of numbers to the path of a curve: short, and with every peak still there."""

import numpy as np

from minigan.reports.axes import Axis
from minigan.reports.layout import LEFT, PLOT_HEIGHT, PLOT_WIDTH, TOP

RING = "m-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0"  # around a point

BUCKETS = 200  # on the width of a chart; each leaves at most four points


def decimate(steps: np.ndarray, values: np.ndarray, buckets: int = BUCKETS) -> np.ndarray:
    """Indices of the first, the least, the greatest and the last value of each of `buckets` equal parts of the steps.

    Drawn in a picture of that many columns, these at most 4 x `buckets` points give the very pixels of the full
    series (Jugel et al. 2014, M4). Parameters: steps (N,), not decreasing; values (N,), finite. Returns (M,), sorted.
    """
    if len(steps) <= 4 * buckets:
        return np.arange(len(steps))
    width = (steps[-1] - steps[0]) or 1.0
    bucket = np.minimum((steps - steps[0]) / width * buckets, buckets - 1).astype(int)  # (N,)
    first = np.flatnonzero(np.diff(bucket, prepend=-1))
    last = np.append(first[1:] - 1, len(bucket) - 1)
    by_value = np.lexsort((values, bucket))  # buckets stay where they are, values are sorted within
    return np.unique(np.concatenate([first, by_value[first], by_value[last], last]))


def path(steps: np.ndarray, values: np.ndarray, across: Axis, up: Axis) -> str:
    """The ``d`` of an SVG path through the values that can be drawn, or "" if there are none.

    Values that cannot be drawn are left out, and those beyond the ends of the axis lie on its edge. A single point
    is a small ring.
    """
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    drawn = up.shows(values) & (across.low <= steps) & (steps <= across.high)
    steps, values = steps[drawn], values[drawn]
    kept = decimate(steps, values)
    x = LEFT + PLOT_WIDTH * across.place(steps[kept])
    y = TOP + PLOT_HEIGHT * (1 - np.clip(up.place(values[kept]), 0, 1))
    points = [f"{_short(a)},{_short(b)}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    if len(points) == 1:
        return f"M{points[0]}{RING}"
    return "M" + "L".join(points) if points else ""


def _short(coordinate: float) -> str:
    """One decimal, and none if it is zero."""
    return f"{coordinate:.1f}".removesuffix(".0")
