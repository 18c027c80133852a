"""Do all processors and kernels compute the same? Each operation, the first gradients, and a few rounds.

    python -m benchmarks.equivalence [RECIPE ...] [--rounds N] [--json FILE] [--write docs/benchmarks.md]

The reference is the plain code on NumPy in float64. Against it stand the fast kernels in float64, both in float32, and
where there is a GPU its plain operations (CuPy), its fused kernels and its captured rounds, each in float64, float32
and TF32 (products of numbers with 10 bits behind the point, which tensor cores compute). Every side starts from the
same numbers, which float32 holds exactly. Exit code 1 if a bound is exceeded. Without a GPU its columns are left out,
and the table says so. Sides on the CPU and captured rounds play twice, and must get the same bits.

The error of an operation is ||y - r|| / ||r|| for its result y and the reference r; beside it stands the largest
difference in units in the last place of the largest number of r, in the precision of y. Rounding errors of a product
over K terms grow like sqrt(K); those of an operation on single numbers do not. A whole network is no such operation:
where an input of a rectifier is near 0, one last digit switches it on or off, and the gradient jumps. So gradients of
networks are compared by their direction too, and each network once more with tanh in the place of its rectifiers, which
has no such jumps.
"""

import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro

from benchmarks.operations import Task, drawing, tasks
from benchmarks.report import Output, Report, table, without_outputs
from benchmarks.rounds import chosen, digits, not_captured, start
from minigan import cli, nn
from minigan.backend import CPU, Device, GPUUnavailable, array_module, select_device, to_host
from minigan.errors import UsageError
from minigan.games import OwnRound
from minigan.games.player import Player
from minigan.nn.params import Grads, Views
from minigan.recipes import Recipe
from minigan.runs.blas import compute
from minigan.runs.captured import WARM_UP
from minigan.typing import Array, Rng, Shape

TF32 = "CUPY_TF32"  # CuPy reads it before its first product in float32, and never again
Precision = Literal["float64", "float32", "TF32"]
Kernels = Callable[[], AbstractContextManager[None]]

# Largest errors that rounding explains: of an operation that adds up many numbers, and of one on single numbers.
SUMS = {"float64": 1e-13, "float32": 1e-5, "TF32": 1.5e-3}
SINGLE = {"float64": 1e-14, "float32": 1e-6, "TF32": 1e-6}
# They add up a batch, without products.
STATISTICS = ("batchnorm_leaky", "batchnorm_leaky_backward", "conv2d_bias_grad")
# Largest 1 - cosine of the angle between two gradients of a whole network, and the largest error of one without jumps.
ANGLE = {"float64": 1e-12, "float32": 1e-3, "TF32": 1e-2}
SMOOTH = {"float64": 1e-10, "float32": 1e-4, "TF32": 1e-2}


@dataclass(frozen=True)
class Options(Output):
    recipes: tyro.conf.Positional[tuple[str, ...]] = ("mlp-mnist", "dcgan-28", "dcgan-64")
    """names of recipes"""
    rounds: int = 5
    """rounds after which the weights are compared"""
    batch_size: int | None = 16
    """images in a batch"""
    set: tuple[str, ...] = ()
    """NAME=VALUE: other constants of the recipes, such as width=16"""
    threads: int = 1
    """threads that compute on the CPU"""
    without_cpu: bool = False
    """on a GPU: compare its sides alone with the reference"""

    def __post_init__(self) -> None:
        if self.rounds <= WARM_UP:  # the first rounds are not captured
            raise UsageError(f"--rounds {self.rounds} is out of range: the smallest is {WARM_UP + 1}")
        if self.threads < 1:
            raise UsageError(f"--threads {self.threads} is out of range: the smallest is 1")


@dataclass(frozen=True)
class Side:
    """A processor, its kernels, and the precision that it computes in."""

    name: str
    device: Device
    kernels: Kernels
    precision: Precision
    captured: bool = False  # whole rounds only: their operations are those of the fused kernels

    @property
    def repeats(self) -> bool:
        """Whether a second run must give the same bits; plain operations on a GPU are CuPy's business."""
        return self.captured or self.device is CPU

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("float64" if self.precision == "float64" else "float32")


class Row(NamedTuple):
    """One comparison with the reference."""

    what: str
    kind: str  # "operation", "gradient", "weights" or "repeat"
    side: str
    error: float  # ||y - r|| / ||r||
    detail: float  # of an operation units in the last place, of a gradient 1 - cosine
    ok: bool


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.equivalence", description=__doc__ or "")
    recipes = chosen(options.recipes, options.set, options.batch_size)
    report = Report("equivalence", argv, options, timed=False)
    reference, *others = sides(options.threads, options.without_cpu)
    rows = [row for found in compare(recipes, reference, others, options.rounds) for row in found]
    if any(side.device.xp is not np for side in others) and not is_tf32():
        rows += in_tf32(argv)
    report.publish(described(rows, options), [row._asdict() for row in rows], threads=options.threads)
    return 0 if all(row.ok for row in rows) else 1


def sides(threads: int, without_cpu: bool = False) -> list[Side]:
    """The reference, and what there is to compare with it; with TF32 switched on, that alone. Raises UsageError if that
    is nothing.
    """
    plain, fast = partial(compute, "plain", threads, 0), partial(compute, "fast", threads, 0)
    reference = Side("plain float64", CPU, plain, "float64")
    others = [
        Side("fast float64", CPU, fast, "float64"),
        Side("plain float32", CPU, plain, "float32"),
        Side("fast float32", CPU, fast, "float32"),
    ]
    try:
        gpu = select_device("gpu")
    except GPUUnavailable as err:
        if without_cpu:
            raise UsageError(f"--without-cpu leaves nothing to compare: {err}") from err
        return [reference, *others]
    if is_tf32():
        return [reference, *on_gpu(gpu, fast, "TF32")]
    there = [*on_gpu(gpu, fast, "float64"), *on_gpu(gpu, fast, "float32")]
    return [reference, *there] if without_cpu else [reference, *others, *there]


def on_gpu(gpu: Device, fast: Kernels, precision: Precision) -> list[Side]:
    """The three ways to compute there."""
    return [
        Side(f"CuPy {precision}", gpu, nullcontext, precision),
        Side(f"fused {precision}", gpu, fast, precision),
        Side(f"captured {precision}", gpu, fast, precision, captured=True),
    ]


def is_tf32() -> bool:
    """Whether a GPU multiplies float32 in TF32 in this process."""
    return os.environ.get(TF32, "0") != "0"


def in_tf32(argv: Sequence[str]) -> list[Row]:
    """The rows of a second process, in which a GPU multiplies in TF32."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.equivalence", *without_outputs(argv)]
        done = subprocess.run(
            [*command, "--json", str(found)], env=os.environ | {TF32: "1"}, stdout=subprocess.DEVNULL, check=False
        )
        if not found.exists():
            raise RuntimeError(f"the process for TF32 ended with exit code {done.returncode}")
        return [Row(**row) for row in json.loads(found.read_text(encoding="utf-8"))["results"]]


def compare(recipes: list[Recipe], reference: Side, others: list[Side], rounds: int) -> Iterator[list[Row]]:
    """All comparisons, one after the other."""
    for task in tasks(recipes):
        yield operation(task, reference, others)
    for recipe in recipes:
        for smooth in (False, True):
            yield training(recipe, smooth, reference, others, rounds)


def operation(task: Task, reference: Side, others: list[Side]) -> list[Row]:
    """One operation on the same arrays everywhere."""
    rows, expected = [], results_of(task, reference)
    bounds = SUMS if task.macs or task.name in STATISTICS else SINGLE
    for side in [side for side in others if not side.captured] if expected else []:
        found = results_of(task, side)
        error = max(distance(y, r) for y, r in zip(found, expected, strict=True))
        units = max(last_places(y, r) for y, r in zip(found, expected, strict=True))
        ok = error <= bounds[side.precision]
        rows.append(Row(f"{task.name}: {task.shapes}", "operation", side.name, error, units, ok))
    return rows


def results_of(task: Task, side: Side) -> list[np.ndarray]:
    """The arrays of floating-point numbers that a task makes, on the host; none where it works in place."""
    with side.kernels():
        made = task.prepare(drawing(side.device, side.dtype))()
    parts = made if isinstance(made, tuple) else (made,)
    arrays = [to_host(part) for part in parts if hasattr(part, "dtype")]
    return [array for array in arrays if array.dtype.kind == "f"]


def training(recipe: Recipe, smooth: bool, reference: Side, others: list[Side], rounds: int) -> list[Row]:
    """The gradients of the first round, the weights after some more, and whether a second run gets the same."""
    name = f"{recipe.name}, rectifiers replaced by tanh" if smooth else recipe.name
    expected, rows = trained(recipe, smooth, reference, rounds), []
    by_operation = isinstance(recipe.game(), OwnRound)  # always
    for side in [side for side in others if not (side.captured and by_operation)]:
        found = trained(recipe, smooth, side, rounds)
        if found.refused:
            rows.append(Row(f"{name}: {found.refused}", "weights", side.name, math.inf, 0.0, False))
            continue
        for who in found.gradients:
            g, r = found.gradients[who], expected.gradients[who]
            error, angle = distance(g, r), 1 - cosine(g, r)
            ok = angle <= ANGLE[side.precision] and (not smooth or error <= SMOOTH[side.precision])
            rows.append(Row(f"{name}: first gradient of {who}", "gradient", side.name, error, angle, ok))
        moved = distance(found.path, expected.path)
        rows.append(Row(f"{name}: way after {rounds} rounds", "weights", side.name, moved, 0.0, np.isfinite(moved)))
        if side.repeats:
            again = trained(recipe, smooth, side, rounds).path
            error, same = distance(again, found.path), np.array_equal(again, found.path)
            rows.append(Row(f"{name}: the same twice", "repeat", side.name, error, 0.0, same))
    return rows


class Trained(NamedTuple):
    gradients: dict[str, np.ndarray]  # of each player's first update; of captured rounds none, as nobody can look
    path: np.ndarray  # both players' weights at the end minus those at the start
    refused: str  # why rounds were not captured


def trained(recipe: Recipe, smooth: bool, side: Side, rounds: int) -> Trained:
    """Play some rounds from the same weights, batches and masks as every side."""
    gradients: dict[str, np.ndarray] = {}

    def watch(who: str) -> Callable[[Player], None]:
        def keep(player: Player) -> None:
            gradients.setdefault(who, to_host(player.grads.flat).astype(np.float64))

        return keep

    with (
        side.kernels(),
        start(recipe, digits(recipe), side.device, str(side.dtype), capture=side.captured) as match,
    ):
        state = match.state
        for who in ("g", "d"):
            player: Player = getattr(state, who)
            net = smoothed(player.net) if smooth else player.net
            observer = None if side.captured else watch(who.upper())
            setattr(state, who, dataclasses.replace(player, net=net, observer=observer))
        before = weights(state)
        for _ in range(rounds):
            match.play()
        refused = not_captured(match) if side.captured else ""
        return Trained(gradients, weights(state) - before, refused)


def weights(state: Any) -> np.ndarray:
    """Of both players, float64 on the host."""
    return np.concatenate([to_host(player.theta.flat).astype(np.float64) for player in (state.g, state.d)])


def smoothed(layer: nn.Layer) -> nn.Layer:
    """The network with tanh in the place of rectifiers, and of maxout's largest pieces; it has the same parameters."""
    if isinstance(layer, nn.Sequential):
        return nn.Sequential(*map(smoothed, layer.layers))
    if isinstance(layer, nn.Maxout):
        return nn.Sequential(Mean(layer.pieces), nn.Tanh())
    return nn.Tanh() if isinstance(layer, nn.ReLU | nn.LeakyReLU) else layer


@dataclass(frozen=True)
class Mean(nn.Layer):
    """The mean of the pieces in the place of the largest."""

    pieces: int

    def out_shape(self, in_shape: Shape) -> Shape:
        return (in_shape[0] // self.pieces,)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, None]:
        return x.reshape(len(x), -1, self.pieces).mean(axis=2), None

    def backward(self, theta: Views, dy: Array, cache: Any, grads: Grads, *, need_dx: bool = True) -> Array:
        return array_module(dy).repeat(dy / self.pieces, self.pieces, axis=1) if need_dx else None


def distance(y: np.ndarray, r: np.ndarray) -> float:
    """||y - r|| / ||r||."""
    return float(np.linalg.norm(y.astype(np.float64) - r) / max(float(np.linalg.norm(r)), 1e-300))


def last_places(y: np.ndarray, r: np.ndarray) -> float:
    """The largest difference, in units in the last place of the largest number of r in the precision of y."""
    unit = np.spacing(abs(r).max().astype(y.dtype))
    return float(abs(y.astype(np.float64) - r).max() / max(float(unit), 1e-300))


def cosine(y: np.ndarray, r: np.ndarray) -> float:
    """Of the angle between two vectors."""
    return float(y @ r / max(float(np.linalg.norm(y) * np.linalg.norm(r)), 1e-300))


def described(rows: list[Row], options: Options) -> str:
    """A table for operations, each with its worst shape, and one for networks."""
    operations = [row for row in rows if row.kind == "operation"]
    networks = [row for row in rows if row.kind != "operation"]
    texts = [
        _table("operation, its worst shape: error (last places)", operations, _operation),
        _table("network: error (1 - cosine)", networks, _network),
    ]
    told = f"Batches of {options.batch_size}, {options.threads} thread(s). An exclamation mark exceeds its bound."
    if not any(row.side.startswith("CuPy") for row in rows):
        told += " No GPU here: its columns are left out."
    return "\n\n".join([*texts, told])


def _table(title: str, rows: list[Row], cell: Callable[[Row], str]) -> str:
    """A line for each operation or comparison, of several shapes the worst; a column for each side."""
    names, lines = list(dict.fromkeys(row.side for row in rows)), []
    for what in dict.fromkeys(_short(row) for row in rows):
        line = [what]
        for name in names:
            found = [row for row in rows if _short(row) == what and row.side == name]
            worst = max(found, key=lambda row: (not row.ok, row.error), default=None)
            line.append("" if worst is None else cell(worst) + ("" if worst.ok else " !"))
        lines.append(line)
    return table([title, *names], lines)


def _short(row: Row) -> str:
    return row.what.partition(":")[0] if row.kind == "operation" else row.what


def _operation(row: Row) -> str:
    return f"{row.error:.1e} ({row.detail:.2g})"


def _network(row: Row) -> str:
    if row.kind == "repeat":
        return "yes" if row.ok else f"no: {row.error:.1e}"
    return f"{row.error:.1e} ({max(row.detail, 0):.0e})" if row.kind == "gradient" else f"{row.error:.1e}"


if __name__ == "__main__":
    sys.exit(cli.run(main))
