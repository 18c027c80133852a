"""Seconds of a whole training round of each recipe, minigan beside PyTorch, in turns on the same machine.

    python -m benchmarks.step [RECIPE ...] [--threads T] [--json FILE] [--write docs/benchmarks.md]

On the CPU: minigan with plain and with fast kernels, PyTorch as it is published and tuned. On a GPU: minigan with
plain operations (CuPy), with fused kernels operation by operation, and with captured rounds; PyTorch eager and
compiled. Without PyTorch its columns are left out. First the losses of a round are compared, from the same weights and
batches. A side that breaks, or whose rounds are not captured, is no number in the table, but its reason below it; exit
code 1 then. Exit code 2 where --device gpu finds none.
"""

import importlib.util
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from benchmarks import bars
from benchmarks.machine import cores, wanted_gpu
from benchmarks.minigan_side import MiniganSide, NotCaptured
from benchmarks.processes import ProcessFailed, Remote, alternate
from benchmarks.report import Output, Report, Summary, counted, milliseconds, table
from benchmarks.rounds import chosen
from minigan import cli
from minigan.errors import UsageError, UserError
from minigan.games import OwnRound
from minigan.recipes import Recipe

# Relative difference of the first losses, without and with TF32. Adam's first step is as long as the learning rate
# for the smallest gradient too, whose sign is then a matter of rounding.
TOLERANCE = {False: 1e-2, True: 1e-1}
# PyTorch's columns, and the variants of benchmarks.torch_side in them.
ON_CPU, ON_GPU = {"published": "published", "tuned": "tuned"}, {"eager": "tuned", "compiled": "compiled"}
NO_NUMBA = "fast without numba"
SPREAD = ["ms a round, and the process", "quartiles", "best", "largest MiB"]
SPINS = 0.05  # share of a processor that a waiting process may use


@dataclass(frozen=True)
class Options(Output):
    recipes: tyro.conf.Positional[tuple[str, ...]] = ()
    """names of recipes; all of them if none is given"""
    rounds: int | None = None
    """rounds in a block; without it as many as the slowest side plays in a second"""
    blocks: int = 9
    """turns of each side"""
    batch_size: int | None = None
    """images in a batch; without it the recipe's own"""
    set: tuple[str, ...] = ()
    """NAME=VALUE: other constants of the recipes, such as width=16 size=32,32"""
    device: str = "cpu"
    """cpu or gpu"""
    threads: int | None = None
    """threads of each side; without it as many as there are cores"""
    without_numba: bool = False
    """on the CPU: play with fast kernels that do without numba too"""
    tf32: bool = False
    """on a GPU: let all sides multiply in TF32; without it none does"""
    plot: Path | None = None
    """picture to draw: bars, in units of the last side"""

    def __post_init__(self) -> None:
        for name in ("rounds", "blocks", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value} is out of range: the smallest is 1")
        if self.without_numba and self.device != "cpu":
            raise UsageError("--without-numba is for the CPU: on a GPU no kernel is numba's")
        if self.tf32 and not self.device.startswith("gpu"):
            raise UsageError("--tf32 is for GPUs, as no CPU multiplies in TF32: add --device gpu")


Make = Callable[[Recipe], Remote]


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.step", description=__doc__ or "")
    recipes = comparable(options.recipes, options.set, options.batch_size, options.device)
    if options.device != "cpu":
        wanted_gpu(options.device)  # complains if there is none
    report = Report("step", argv, options)
    threads = options.threads or cores()
    results = [measure(recipe, sides(options, threads), options) for recipe in recipes]
    precision = "float32" + (" with TF32 products" if options.tf32 else "")
    report.publish(
        described(results, options, precision), results, threads=threads, precision=precision, device=options.device,
        blocks=options.blocks, tolerance=TOLERANCE[options.tf32], settings=list(options.set),
    )  # fmt: skip
    if options.plot:
        bars.draw(results, results[0]["columns"], options.plot)
    return 1 if any(result["left_out"] for result in results) else 0


def comparable(names: Sequence[str], settings: Sequence[str], batch_size: int | None, device: str) -> list[Recipe]:
    """The chosen recipes whose game the PyTorch side plays too; UserError for another one that was named."""
    recipes = chosen(names, settings, batch_size)
    if device == "cpu":
        return recipes
    for recipe in recipes:
        if names and isinstance(recipe.game(), OwnRound):
            raise UserError(f"{recipe.name} plays rounds of its own, for which there is no PyTorch side on a GPU")
    return [recipe for recipe in recipes if not isinstance(recipe.game(), OwnRound)]


def sides(options: Options, threads: int) -> dict[str, Make]:
    """What makes each side's process, by its name in the table; minigan first, the side to beat last."""

    def minigan(kernels: str, capture: bool = False, numba: bool = True) -> Make:
        return lambda recipe: Remote(
            MiniganSide, recipe, kernels, threads, options.device, options.tf32, capture, numba
        )

    def pytorch(variant: str) -> Make:
        from benchmarks.torch_side import TorchSide

        return lambda recipe: Remote(TorchSide, recipe, variant, threads, options.device, options.tf32)

    if options.device == "cpu":
        ours, theirs = {"plain": minigan("plain"), "fast": minigan("fast")}, ON_CPU
        if options.without_numba:
            ours = {"plain": ours["plain"], NO_NUMBA: minigan("fast", numba=False), "fast": ours["fast"]}
    else:
        ours = {"plain": minigan("plain"), "fused": minigan("fast"), "captured": minigan("fast", capture=True)}
        theirs = ON_GPU
    found = {f"minigan {name}": make for name, make in ours.items()}
    if missing(options.device) == "":
        found |= {f"PyTorch {name}": pytorch(variant) for name, variant in theirs.items()}
    return found


def missing(device: str) -> str:
    """Why there are no columns of PyTorch; empty if there are."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed, so its columns are missing: pip install '.[bench]'."
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            return f"PyTorch {torch.__version__} sees no GPU, so its columns are missing."
    return ""


def measure(recipe: Recipe, makers: dict[str, Make], options: Options) -> dict[str, Any]:
    """Warm up, check, and let the sides play in turns.

    Raises UserError if their first losses differ, or if there is no side of minigan's.
    """
    with ExitStack() as stack:
        remotes, losses, once, left_out = warm(recipe, makers, stack)
        difference = compare(recipe, losses, TOLERANCE[options.tf32])
        rounds = options.rounds or max(1, round(1 / max(once.values())))
        times = alternate(remotes, rounds, options.blocks)
        rows = {
            name: asdict(Summary.of(times[name]))
            | {"seconds": times[name], "first_losses": losses[name], "waiting": remote.waiting()}
            | remote("facts")
            for name, remote in remotes.items()
        }
    told = f"{counted(options.blocks, 'block')} of {counted(rounds, 'round')} a side"
    print(f"{recipe.name}: {told}", file=sys.stderr, flush=True)
    constants = {"recipe": recipe.name, "constants": asdict(recipe)}
    return constants | {
        "rounds": rounds, "difference_of_losses": difference, "columns": list(makers), "sides": rows,
        "left_out": left_out,
    }  # fmt: skip


class Warm(NamedTuple):
    """The sides that can be timed, and the others."""

    remotes: dict[str, Remote]
    losses: dict[str, list[float]]  # of the first rounds
    once: dict[str, float]  # seconds of a round, when all is compiled or captured
    left_out: dict[str, tuple[str, str]]  # what stands in the table, and why


def warm(recipe: Recipe, makers: dict[str, Make], stack: ExitStack) -> Warm:
    """Start the sides; they end with the stack. Raises UserError if none of minigan's can be timed."""
    found = Warm({}, {}, {}, {})
    for name, make in makers.items():
        try:
            remote = stack.enter_context(make(recipe))
            losses = remote("first_losses")
            found.once[name] = min(remote("seconds_a_round", 1) for _ in range(2))
        except (UserError, ProcessFailed) as err:
            reason = str(err).strip().splitlines()[-1]
            found.left_out[name] = ("not captured" if isinstance(err, NotCaptured) else "failed", reason)
            print(f"{recipe.name}, {name}: {err}", file=sys.stderr, flush=True)
        else:
            found.remotes[name], found.losses[name] = remote, losses
    if not any(name.startswith("minigan") for name in found.remotes):
        raise UserError(f"{recipe.name}: {'; '.join(f'{name}: {why}' for name, (_, why) in found.left_out.items())}")
    return found


def compare(recipe: Recipe, losses: dict[str, list[float]], tolerance: float) -> float:
    """The largest relative difference between the sides' first losses; UserError if it is beyond the tolerance."""
    first = next(iter(losses.values()))

    def difference(mine: float, other: float) -> float:
        relative = abs(mine - other) / abs(other)
        return math.inf if math.isnan(relative) else relative

    differences = {name: max(map(difference, all_losses, first)) for name, all_losses in losses.items()}
    worst = max(differences, key=lambda name: differences[name])
    if differences[worst] > tolerance:
        raise UserError(
            f"{recipe.name}: the sides do not play the same game: losses of the first rounds {first} and, "
            f"{worst}, {losses[worst]}; allowed is a relative difference of {tolerance:g}"
        )
    return differences[worst]


def described(results: list[dict[str, Any]], options: Options, precision: str) -> str:
    """Both tables, and what should be known about them."""
    names = results[0]["columns"]
    mine = [name for name in names if name.startswith("minigan")][-1]
    pairs = [(mine, name) for name in names if name.startswith("PyTorch")]
    if f"minigan {NO_NUMBA}" in names:
        pairs.append((f"minigan {NO_NUMBA}", mine))
    head = ["ms a round", *names, *(f"{one} / {other}" for one, other in pairs)]
    rows, details = [], []
    for result in results:
        each = {name: Summary.of(side["seconds"]) for name, side in result["sides"].items()}
        title = f"{result['recipe']}, batch {result['constants']['batch_size']}"
        cells = [milliseconds(each[name].median) if name in each else result["left_out"][name][0] for name in names]
        rows.append([title, *cells, *(ratio(each, *pair) for pair in pairs)])
        for name, side in result["sides"].items():
            details.append([f"{title}: {name}", *spread(side)])
    worst, allowed = max(result["difference_of_losses"] for result in results), TOLERANCE[options.tf32]
    notes = [
        f"Medians of {counted(options.blocks, 'block')}, {precision}.",
        "The losses of the first round, from the same weights and batches and without dropout, differ by at most "
        f"{worst:.1e} (relative; allowed {allowed:g}).",
    ]
    told = [f"{r['recipe']}, {name}, {short}: {why}." for r in results for name, (short, why) in r["left_out"].items()]
    notes += [software(results), *told, *spinning(results), missing(options.device)]
    return "\n\n".join([table(head, rows), " ".join(filter(None, notes)), table(SPREAD, details)])


def spread(side: Mapping[str, Any]) -> list[str]:
    """A side's quartiles, its best, and its process at its largest, as under `SPREAD`."""
    times = Summary.of(side["seconds"])
    quartiles = f"{milliseconds(times.lower)} to {milliseconds(times.upper)}"
    return [quartiles, milliseconds(times.best), f"{side['largest_bytes'] / 2**20:.0f}"]


def software(results: list[dict[str, Any]]) -> str:
    """What computed, of each side."""
    sides = (item for result in results for item in result["sides"].items())
    return "; ".join(dict.fromkeys(f"{name}: {side['computed_by']}" for name, side in sides)) + "."


def ratio(each: Mapping[str, Summary], mine: str, other: str) -> str:
    """Of the medians; empty if one of them was left out."""
    return f"{each[mine].median / each[other].median:.2f}" if {mine, other} <= each.keys() else ""


def spinning(results: list[dict[str, Any]]) -> list[str]:
    """A complaint about processes that took processor time from the others while they waited."""
    shares = {
        f"{result['recipe']}, {name}": side["waiting"]["processor"] / max(side["waiting"]["seconds"], 1e-9)
        for result in results
        for name, side in result["sides"].items()
    }
    bad = [f"{name} {share:.0%}" for name, share in shares.items() if share > SPINS]
    return [f"Warning: processes that wait should sleep, but some used the processor: {', '.join(bad)}."] if bad else []


if __name__ == "__main__":
    sys.exit(cli.run(main))
