"""Where a GPU begins to pay: its speed-up against batch size and width, as a picture with the crossover marked.

    python -m benchmarks.cpu_vs_gpu [RECIPE] [--plot cpu-vs-gpu.png] [--json FILE] [--write docs/benchmarks.md]

Both have their fast kernels, and the GPU's rounds are captured, where they can be. A width of 1 is the recipe as it was
published; at 0.25 its layers have a quarter of the channels or units. Exit code 2 where there is no GPU.
"""

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.machine import cores, wanted_gpu
from benchmarks.report import Output, Report, Summary, milliseconds, save, table
from benchmarks.rounds import chosen, digits, not_captured, seconds_a_round, start, widened
from minigan import cli
from minigan.backend import CPU, Device
from minigan.errors import UsageError
from minigan.recipes import Recipe
from minigan.recipes.cost import cost
from minigan.runs.blas import compute

BLOCK = 0.5  # seconds that a block of rounds takes about
CAPTURED = "rounds are captured"


@dataclass(frozen=True)
class Options(Output):
    recipe: tyro.conf.Positional[str] = "dcgan-64"
    """name of the recipe"""
    batches: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    """batch sizes"""
    widths: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    """shares of the published number of channels or units"""
    blocks: int = 5
    """turns of each processor"""
    set: tuple[str, ...] = ()
    """NAME=VALUE: other constants of the recipe"""
    threads: int | None = None
    """threads of the CPU; without it as many as there are cores"""
    plot: Path = Path("cpu-vs-gpu.png")
    """file for the picture"""

    def __post_init__(self) -> None:
        check_grid(self.blocks, batches=self.batches, widths=self.widths)
        if not (self.batches and self.widths):
            raise UsageError("--batches and --widths take at least one number each")


def check_grid(blocks: int, **axes: Sequence[float]) -> None:
    """Raises UsageError for values that cannot be measured."""
    if blocks < 1:
        raise UsageError(f"--blocks {blocks} is out of range: the smallest is 1")
    for name, values in axes.items():
        if min(values, default=1) <= 0:
            raise UsageError(f"--{name} takes numbers above 0")


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.cpu_vs_gpu", description=__doc__ or "")
    (recipe,) = chosen([options.recipe], options.set, None)
    gpu = wanted_gpu()
    report, threads = Report("cpu_vs_gpu", argv, options), options.threads or cores()
    results = []
    for width in options.widths:
        for batch in options.batches:
            (sized,) = chosen([options.recipe], options.set, batch)
            measured = compare(widened(sized, width), gpu, threads, options.blocks)
            results.append({"width": width, "batch": batch} | measured)
            print(f"width {width:g}, batch {batch}: {measured['speed_up']:.2f} times", file=sys.stderr, flush=True)
    draw(results, recipe, options.plot)
    crossings = {width: crossover(*curve(results, width)) for width in options.widths}
    report.publish(described(results, crossings), results, threads=threads, precision="float32",
                   crossovers=[{"width": width, "batch": batch} for width, batch in crossings.items()])  # fmt: skip
    return 0


def compare(recipe: Recipe, gpu: Device, threads: int, blocks: int) -> dict[str, Any]:
    """Seconds of a round on the CPU and on the GPU, which take turns, and the quotient of their medians."""
    images, times = digits(recipe), dict[str, list[float]]()
    with (
        compute("fast", threads, cost(recipe, images.shape[1:]).round_macs),
        start(recipe, images, CPU) as here,
        start(recipe, images, gpu, capture=True) as there,
    ):
        rounds = {}
        for name, match in (("cpu", here), ("gpu", there)):
            once = min(seconds_a_round(match.play, 1, match.feed.device.synchronize) for _ in range(2))
            rounds[name], times[name] = max(1, round(BLOCK / once)), []
        why = not_captured(there)
        for _ in range(blocks):
            for name, match in (("cpu", here), ("gpu", there)):
                times[name].append(seconds_a_round(match.play, rounds[name], match.feed.device.synchronize))
    medians = {name: Summary.of(all_times).median for name, all_times in times.items()}
    return {"seconds": times, **medians, "speed_up": medians["cpu"] / medians["gpu"], "gpu_rounds": why or CAPTURED}


def curve(results: Sequence[dict[str, Any]], width: float) -> tuple[list[int], list[float]]:
    """(batch sizes, speed-ups) of one width, by rising batch size."""
    points = sorted((result["batch"], result["speed_up"]) for result in results if result["width"] == width)
    return [batch for batch, _ in points], [speed_up for _, speed_up in points]


def crossover(batches: Sequence[float], speed_ups: Sequence[float]) -> float | None:
    """The first batch size at which the GPU is as fast as the CPU, on straight lines between logarithms.

    None if it is so nowhere in between: it is always faster, or always slower.
    """
    points = list(zip(map(math.log, batches), map(math.log, speed_ups), strict=True))
    for (b0, s0), (b1, s1) in itertools.pairwise(points):
        if s0 < 0 <= s1:
            return math.exp(b0 - s0 * (b1 - b0) / (s1 - s0))
    return None


def described(results: Sequence[dict[str, Any]], crossings: dict[float, float | None]) -> str:
    """The table, and where the lines cross 1."""
    rows = [
        [f"{result['width']:g} times, batch {result['batch']}", milliseconds(result["cpu"]),
         milliseconds(result["gpu"]), f"{result['speed_up']:.2f}"]
        for result in results
    ]  # fmt: skip
    told = []
    for width, batch in crossings.items():
        always = "faster" if min(curve(results, width)[1]) >= 1 else "not faster"
        where = f"from batch {batch:.0f} on" if batch else f"{always} at all batch sizes measured"
        told.append(f"at {width:g} times the width {where}")
    return (
        table(["width", "CPU, ms a round", "GPU, ms a round", "speed-up"], rows)
        + f"\n\nMedians, float32. The GPU is as fast as the CPU: {'; '.join(told)}. {played(results)}"
    )


def played(results: Sequence[dict[str, Any]]) -> str:
    """How the GPU's rounds were played, and where they were so, if not everywhere."""
    told = []
    for way in dict.fromkeys(result["gpu_rounds"] for result in results):
        points = [f"{r['width']:g} times, batch {r['batch']}" for r in results if r["gpu_rounds"] == way]
        told.append(way if len(points) == len(results) else f"{way} ({', '.join(points)})")
    return f"On the GPU {'; '.join(told)}."


def draw(results: Sequence[dict[str, Any]], recipe: Recipe, path: Path) -> None:
    """Speed-up against batch size, a line for each width; rings where a line crosses 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    batches = sorted({result["batch"] for result in results})
    for width in dict.fromkeys(result["width"] for result in results):
        (line,) = axes.loglog(*curve(results, width), marker=".", label=f"{width:g} times the width")
        crossing = crossover(*curve(results, width))
        if crossing:
            color = line.get_color()
            axes.plot(crossing, 1, "o", markersize=9, fillstyle="none", color=color)
            axes.annotate(f"{crossing:.0f}", (crossing, 1), (4, -14), textcoords="offset points", color=color)
    axes.axhline(1, color="grey", linewidth=0.8, linestyle="--", label="as fast as the CPU")
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="batch size", ylabel="speed-up of the GPU", title=f"A round of {recipe.name}: GPU against CPU")
    axes.legend()
    save(figure, path)


if __name__ == "__main__":
    sys.exit(cli.run(main))
