"""A picture of times side by side: bars for each recipe, in units of the side to beat."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Summary, save

HEIGHT = 0.24  # inches that a bar takes


def draw(results: Sequence[dict[str, Any]], names: Sequence[str], path: Path) -> None:
    """Median times and quartiles of each side, divided by the median of the last one; shorter is faster.

    Parameters: results, of each recipe its name and its sides by name, with "seconds"; names of the sides. A side that
    is missing has no bar, and a recipe without the last one has none at all.
    """
    from matplotlib.figure import Figure

    inches = HEIGHT * len(names) * (len(results) + 1) + 1
    figure = Figure(figsize=(8, inches), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(names):
        rows = relative(results, name, names[-1])
        places = [row + (number - (len(names) - 1) / 2) * 0.8 / len(names) for row in rows]
        middle = [at.median for at in rows.values()]
        reach = [[at.median - at.lower for at in rows.values()], [at.upper - at.median for at in rows.values()]]
        bars = axes.barh(places, middle, 0.8 / len(names), xerr=reach, error_kw={"linewidth": 0.8}, label=name)
        axes.bar_label(bars, [f"{value:.2f}" for value in middle], padding=4, fontsize=7)
    axes.set_yticks(range(len(results)), [result["recipe"] for result in results])
    axes.invert_yaxis()
    axes.axvline(1, color="grey", linewidth=0.8, linestyle="--")
    axes.margins(x=0.12, y=0.02)
    axes.set_xlabel(f"time of a round, divided by that of {names[-1]}")
    axes.legend(loc="upper right")
    save(figure, path)


def relative(results: Sequence[dict[str, Any]], name: str, unit: str) -> dict[int, Summary]:
    """Of one side, by the number of the recipe: its times, divided by the median of another's."""
    found = {}
    for row, sides in enumerate(result["sides"] for result in results):
        if {name, unit} <= sides.keys():
            median = Summary.of(sides[unit]["seconds"]).median
            found[row] = Summary.of([seconds / median for seconds in sides[name]["seconds"]])
    return found
