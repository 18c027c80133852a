"""Seconds of a round of ``python -m minigan.train`` itself, run as a user runs it, beside a round of PyTorch.

    python -m benchmarks.train [RECIPE ...] [--threads T] [--json FILE] [--write docs/benchmarks.md]

`benchmarks.step` plays rounds and nothing else. Here the command is started, with the data and options that it takes by
default, and the clock is read whenever it has written a row of metrics.csv; the time from the first row to the last is
divided by the rounds between them. So loading and compiling are left out, but everything that goes on during a
training counts: reading data, random changes of images, the average of G's parameters, measuring, looking for faults,
the progress line, pictures and checkpoints where they fall. PyTorch plays bare rounds, as in `benchmarks.step`.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import bars, step
from benchmarks.machine import cores, largest_started
from benchmarks.processes import Remote, alternate
from benchmarks.report import Output, Report, Summary, counted, milliseconds, table
from benchmarks.rounds import chosen
from minigan import cli
from minigan.errors import UsageError, UserError
from minigan.recipes import Recipe
from minigan.runs.checkpoint import read_newest
from minigan.runs.folder import RunFolder
from minigan.runs.metrics import read_metrics

ROWS = 5  # of metrics.csv in a measurement
TICK = 0.002  # seconds between two looks at the file
COMMAND = "minigan.train"


@dataclass(frozen=True)
class Options(Output):
    recipes: tyro.conf.Positional[tuple[str, ...]] = ()
    """names of recipes; all of them if none is given"""
    seconds: float = 5.0
    """about how long each side plays in a block"""
    blocks: int = 3
    """turns of each side"""
    threads: int | None = None
    """threads of each side; without it PyTorch takes as many as there are cores, and the command its own choice"""
    plot: Path | None = None
    """picture to draw: bars, in units of the last side"""

    def __post_init__(self) -> None:
        for name in ("seconds", "blocks", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"--{name} {value} is out of range: it must be positive")


class CommandSide:
    """Starts the command anew for each measurement, in a folder that is thrown away."""

    def __init__(self, recipe: Recipe, threads: int | None) -> None:
        self._computed_by = ""
        self._arguments = [recipe.name, "--device", "cpu", *(["--threads", str(threads)] if threads else [])]

    def seconds_a_round(self, rounds: int) -> float:
        """The mean over so many rounds or a few more, as rows are written after equally many.

        Raises UserError with what the command said if it fails.
        """
        between = -(-rounds // (ROWS - 1))
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            command = [sys.executable, "-m", COMMAND, *self._arguments, "--out", str(run)]
            command += ["--steps", str(ROWS * between), "--log-every", str(between)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
                times = [time.perf_counter() for _ in rows_written(run / "metrics.csv", process)]
                assert process.stderr is not None
                said = process.stderr.read().strip()
            if process.returncode == 0:
                self._computed_by = read_newest(RunFolder(run).checkpoints)[0].facts["blas"]
        if process.returncode or len(times) != ROWS:
            raise UserError(f"{' '.join(command[1:])} has failed: {said}")
        return (times[-1] - times[0]) / ((ROWS - 1) * between)

    def facts(self) -> dict[str, Any]:
        """What the last run says has computed, and the largest of all so far, from its start to its report."""
        return {"computed_by": self._computed_by, "largest_bytes": largest_started()}


def rows_written(path: Path, process: "subprocess.Popen[str]") -> Iterator[int]:
    """The number of each row of the file, as soon as it is there; ends with the last one, or with the process."""
    seen, over = 0, False
    while seen < ROWS and not over:
        over = process.poll() is not None  # and what it has written by then is seen below
        there = min(ROWS, len(read_metrics(path))) if path.exists() else 0
        yield from range(seen, there)
        seen = there
        time.sleep(TICK)


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.train", description=__doc__ or "")
    recipes = chosen(options.recipes, [], None)
    report = Report("train", argv, options)
    results = [measure(recipe, options) for recipe in recipes]
    report.publish(described(results, options), results, blocks=options.blocks, threads=options.threads)
    if options.plot:
        bars.draw(results, list(results[0]["sides"]), options.plot)
    return 0


def measure(recipe: Recipe, options: Options) -> dict[str, Any]:
    """All sides in turns, for about as many seconds. Raises UserError where the command fails."""
    makers = step.sides(step.Options(), options.threads or cores())
    with ExitStack() as stack:
        remotes = {COMMAND: stack.enter_context(Remote(CommandSide, recipe, options.threads))}
        remotes |= {name: stack.enter_context(make(recipe)) for name, make in makers.items() if "minigan" not in name}
        difference = same_game(recipe, makers["minigan fast"], remotes)
        once = max(remote("seconds_a_round", ROWS - 1) for remote in remotes.values())
        rounds = max(1, round(options.seconds / once))
        times = alternate(remotes, rounds, options.blocks)
        facts = {name: remote("facts") for name, remote in remotes.items()}
    told = f"{counted(options.blocks, 'block')} of {counted(rounds, 'round')} a side"
    print(f"{recipe.name}: {told}", file=sys.stderr, flush=True)
    return {
        "recipe": recipe.name, "constants": asdict(recipe), "rounds": rounds, "difference_of_losses": difference,
        "sides": {name: asdict(Summary.of(took)) | {"seconds": took} | facts[name] for name, took in times.items()},
    }  # fmt: skip


def same_game(recipe: Recipe, ours: step.Make, remotes: dict[str, Remote]) -> float:
    """The largest relative difference of PyTorch's first losses from minigan's; UserError if it is beyond rounding."""
    with ours(recipe) as remote:
        losses = {"minigan": remote("first_losses")}
    losses |= {name: remote("first_losses") for name, remote in remotes.items() if name != COMMAND}
    return step.compare(recipe, losses, step.TOLERANCE[False])


def described(results: list[dict[str, Any]], options: Options) -> str:
    """The table, and what should be known about it."""
    names = list(results[0]["sides"])
    head = ["ms a round", *names, *(f"{COMMAND} / {name}" for name in names[1:])]
    rows, details = [], []
    for result in results:
        medians = [result["sides"][name]["median"] for name in names]
        title = f"{result['recipe']}, batch {result['constants']['batch_size']}"
        rows.append([title, *map(milliseconds, medians), *(f"{medians[0] / other:.2f}" for other in medians[1:])])
        details += [[f"{title}: {name}", *step.spread(side)] for name, side in result["sides"].items()]
    worst = max(result["difference_of_losses"] for result in results)
    notes = [
        f"Medians of {counted(options.blocks, 'block')} of about {options.seconds:g} seconds, float32.",
        f"The losses of the first round, as `benchmarks.step` compares them, differ by at most {worst:.1e}.",
        step.software(results), step.missing("cpu"),
    ]  # fmt: skip
    return "\n\n".join([table(head, rows), " ".join(filter(None, notes)), table(step.SPREAD, details)])


if __name__ == "__main__":
    sys.exit(cli.run(main))
