"""How time and memory of a round grow with the batch, the width and the size of the images.

    python -m benchmarks.scaling [RECIPE] [--plot scaling.png] [--json FILE] [--write docs/benchmarks.md]

Each point is a process of its own, so that its memory is its own: how much larger it is at its largest than before
its first round, after one of a small copy that loads and compiles everything. The exponent p of time ~ x^p or
memory ~ x^p is that of the straight line, fitted by least squares to the logarithms of all points of a curve. Beside
the memory measured stands what `minigan.recipes.memory` counts for plain kernels. An option without numbers, as in
``--widths --sizes 32 64``, leaves its curve out.
"""

import dataclasses
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from benchmarks.cpu_vs_gpu import check_grid
from benchmarks.machine import cores, largest
from benchmarks.minigan_side import MiniganSide
from benchmarks.processes import Remote
from benchmarks.report import Output, Report, Summary, milliseconds, save, table
from benchmarks.rounds import chosen, digits, start, widened
from minigan import cli
from minigan.backend import CPU
from minigan.errors import UsageError
from minigan.recipes import Recipe
from minigan.recipes.memory import round_bytes
from minigan.recipes.recipe import SizedRecipe

BLOCK = 0.5  # seconds that a block of rounds takes about
AXES = {"batch": "batch size", "width": "width, times the published one", "size": "height and width of the images"}
MEASURES = {"time": ("median", 1e-3, "ms a round"), "memory": ("memory", 2**20, "MiB")}  # key, unit, its name


@dataclass(frozen=True)
class Options(Output):
    recipe: tyro.conf.Positional[str] = "dcgan-64"
    """name of the recipe"""
    batches: tuple[int, ...] = (8, 16, 32, 64, 128)
    """batch sizes"""
    widths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    """shares of the published number of channels or units"""
    sizes: tuple[int, ...] = (32, 64, 96, 128)
    """heights, and widths, of square images; left out where the recipe has one size only"""
    blocks: int = 5
    """blocks of rounds for each point"""
    set: tuple[str, ...] = ()
    """NAME=VALUE: other constants of the recipe"""
    kernels: Literal["fast", "plain"] = "fast"
    """which kernels compute"""
    threads: int | None = None
    """threads; without it as many as there are cores"""
    plot: Path = Path("scaling.png")
    """file for the picture"""

    def __post_init__(self) -> None:
        check_grid(self.blocks, batches=self.batches, widths=self.widths, sizes=self.sizes)


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.scaling", description=__doc__ or "")
    wanted = points(options)
    report, threads = Report("scaling", argv, options), options.threads or cores()
    results = []
    for axis, value, recipe in wanted:
        found = measure(recipe, options.kernels, threads, options.blocks)
        results.append({"axis": axis, "value": value, **found})
        told = f"{milliseconds(found['median'])} ms, {found['memory'] / 2**20:.0f} MiB"
        print(f"{AXES[axis]} {value:g}: {told}", file=sys.stderr, flush=True)
    exponents = {axis: {name: exponent(*curve(results, axis, name)) for name in MEASURES} for axis in axes_of(results)}
    draw(results, wanted[0][2].name, options.plot)
    report.publish(described(results, exponents, options), results, threads=threads, kernels=options.kernels,
                   precision="float32", exponents=exponents)  # fmt: skip
    return 0


def points(options: Options) -> list[tuple[str, float, Recipe]]:
    """(axis, value, recipe): one constant is varied at a time, the others stay as published."""
    (base,) = chosen([options.recipe], options.set, None)
    found: list[tuple[str, float, Recipe]] = [
        ("batch", batch, dataclasses.replace(base, batch_size=batch)) for batch in options.batches
    ]
    found += [("width", width, widened(base, width)) for width in options.widths]
    if isinstance(base, SizedRecipe):
        found += [("size", size, dataclasses.replace(base, size=(size, size))) for size in options.sizes]
    if not found:
        raise UsageError("nothing varies: give numbers to --batches or --widths")
    for axis in AXES:
        if len([value for name, value, _ in found if name == axis]) == 1:
            raise UsageError(f"a line needs two points: give another {AXES[axis]}")
    return found


class Measured(MiniganSide):
    """A side that knows how large its process was before its first round."""

    def __init__(self, recipe: Recipe, kernels: str, threads: int) -> None:
        super().__init__(recipe, kernels, threads)
        small = widened(dataclasses.replace(recipe, batch_size=2), 0.25)
        start(small, digits(small), CPU).play()  # what is loaded and compiled once is no part of a round
        self._before = largest()

    def memory(self) -> int:
        """Bytes by which the process has been larger since; at least a page, below which nothing can be told."""
        return max(largest() - self._before, resource.getpagesize())


def measure(recipe: Recipe, kernels: str, threads: int, blocks: int) -> dict[str, Any]:
    """Seconds a round and memory, in a fresh process."""
    image_shape = (*(recipe.image_size or (28, 28)), recipe.list_channels)
    with Remote(Measured, recipe, kernels, threads) as remote:
        once = min(remote("seconds_a_round", 1) for _ in range(2))
        times = [remote("seconds_a_round", max(1, round(BLOCK / once))) for _ in range(blocks)]
        memory = remote("memory")
    counted = round_bytes(recipe, image_shape)
    return {"constants": asdict(recipe), "seconds": times, "memory": memory, "counted": counted} | asdict(
        Summary.of(times)
    )


def axes_of(results: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(result["axis"] for result in results))


def curve(results: Sequence[dict[str, Any]], axis: str, name: str) -> tuple[list[float], list[float]]:
    """(values, milliseconds or MiB) along one axis."""
    key, unit, _ = MEASURES[name]
    along = [result for result in results if result["axis"] == axis]
    return [result["value"] for result in along], [result[key] / unit for result in along]


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """p of the line log y = p log x + c that fits best."""
    return float(line(x, y)[0])


def line(x: Sequence[float], y: Sequence[float]) -> np.ndarray:
    """(p, c)."""
    return np.polyfit(np.log(x), np.log(y), 1)


def described(results: Sequence[dict[str, Any]], exponents: dict[str, dict[str, float]], options: Options) -> str:
    """The table, and the exponents."""
    rows = [
        [f"{AXES[result['axis']]} {result['value']:g}", milliseconds(result["median"]),
         f"{milliseconds(result['lower'])} to {milliseconds(result['upper'])}",
         f"{result['memory'] / 2**20:.0f}", f"{result['counted'] / 2**20:.0f}"]
        for result in results
    ]  # fmt: skip
    fitted = "; ".join(
        f"{AXES[axis].partition(',')[0]}: time {each['time']:.2f}, memory {each['memory']:.2f}"
        for axis, each in exponents.items()
    )
    head = ["what varies", "ms a round", "quartiles", "MiB", "MiB counted"]
    return table(head, rows) + f"\n\nMedians, float32, {options.kernels} kernels. Exponents fitted: {fitted}."


def draw(results: Sequence[dict[str, Any]], name: str, path: Path) -> None:
    """Time above, memory below, against what varies; both axes logarithmic, with the fitted lines."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    columns = axes_of(results)
    figure = Figure(figsize=(3.6 * len(columns), 6), layout="constrained")
    grid = figure.subplots(2, len(columns), squeeze=False, sharey="row")
    for row, (measure_name, (*_, unit)) in zip(grid, MEASURES.items(), strict=True):
        for axes, axis in zip(row, columns, strict=True):
            x, y = curve(results, axis, measure_name)
            p, c = line(x, y)
            axes.loglog(x, y, "o", color="C0")
            axes.loglog(x, np.exp(c) * np.array(x) ** p, color="C1", linewidth=1, label=f"{measure_name} ~ x^{p:.2f}")
            axes.set_xticks(x, [f"{value:g}" for value in x])
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
            axes.set_xlabel(AXES[axis])
            axes.legend(loc="upper left")
        row[0].set_ylabel(unit)
    figure.suptitle(f"A round of {name}")
    save(figure, path)


if __name__ == "__main__":
    sys.exit(cli.run(main))
