"""Each operation of the recipes alone: time, work and traffic, beside the most that the machine can do.

    python -m benchmarks.layers [RECIPE ...] [--without-cpu] [--tf32] [--json FILE] [--write docs/benchmarks.md]

Plain and fast kernels take turns; where there is a GPU its plain operations (CuPy) and its fused kernels join. The
limits are measured first: the best matrix product and the copy of large arrays, by whichever kernels of that
processor. A GPU's plain operations are started by the host one by one; its fused kernels are played from graphs, as
in a captured round. GFLOP/s count two operations a multiply-add of the definition, so that a convolution with fewer
products can come out above the limit; GB/s count every array once, in and out.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import tyro

from benchmarks import timing
from benchmarks.machine import cores
from benchmarks.operations import Draw, Task, drawing, tasks
from benchmarks.report import Output, Report, Summary, milliseconds, table
from benchmarks.rounds import chosen
from benchmarks.timing import Place, timer
from minigan import cli, ops
from minigan.backend import CPU, GPUUnavailable, array_module, select_device, to_host
from minigan.cuda import implicit_gemm
from minigan.errors import UsageError, UserError
from minigan.runs.blas import compute

TF32_TOLERANCE = 2e-3
SETTLE = 0.15  # seconds in which threads of the place before, which wait by spinning, fall asleep
CONVOLUTIONS = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
ON_GPU = ("CuPy", "fused")  # the names of the places there
IN_TF32 = ("bands", "looked up")  # how a convolution's windows become factors of its products
# Sizes that are tried until one takes longer than `timing.ENOUGH`: sides of the matrices, of which the best product is
# taken, and numbers in the arrays that are copied, of which the largest count, as caches hold the others.
SIDES = tuple(1 << n for n in range(9, 14))
COPIED = tuple(1 << n for n in range(24, 29))


@dataclass(frozen=True)
class Options(Output):
    recipes: tyro.conf.Positional[tuple[str, ...]] = ("dcgan-64",)
    """names of recipes"""
    blocks: int = 7
    """measurements of each operation"""
    batch_size: int | None = None
    """images in a batch; without it the recipe's own"""
    set: tuple[str, ...] = ()
    """NAME=VALUE: other constants of the recipes, such as width=16"""
    threads: int | None = None
    """threads that compute; without it as many as there are cores"""
    without_cpu: bool = False
    """on a GPU: leave out the CPU's kernels"""
    tf32: bool = False
    """on a GPU, convolutions alone: in float32, and in TF32 by bands that are cut and by windows that are looked up"""

    def __post_init__(self) -> None:
        for name in ("blocks", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value} is out of range: the smallest is 1")


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.layers", description=__doc__ or "")
    recipes = chosen(options.recipes, options.set, options.batch_size)
    report, threads = Report("layers", argv, options), options.threads or cores()
    places = ways_in_tf32() if options.tf32 else contexts(threads, options.without_cpu)
    limits = {name: limits_of(place, options.blocks) for name, place in places.items()}
    results = [
        {"task": task.name, "shapes": task.shapes, "macs": task.macs, "numbers": task.numbers}
        | {"times": {name: asdict(Summary.of(times)) for name, times in measure(task, places, options.blocks).items()}}
        for task in tasks(recipes)
        if not options.tf32 or task.name in CONVOLUTIONS
    ]
    precision = "float32 and TF32" if options.tf32 else "float32"
    report.publish(described(results, limits, precision), results, threads=threads, limits=limits, precision=precision)
    return 0


def contexts(threads: int, without_cpu: bool = False) -> dict[str, Place]:
    """Where the operations run. Raises UsageError if that is nowhere."""
    plain, fast = partial(compute, "plain", threads, 0), partial(compute, "fast", threads, 0)
    places = {} if without_cpu else {"plain": Place(CPU, plain), "fast": Place(CPU, fast)}
    try:
        gpu = select_device("gpu")
    except GPUUnavailable as err:
        if without_cpu:
            raise UsageError(f"--without-cpu leaves nothing to measure: {err}") from err
        return places
    stream = gpu.xp.cuda.Stream(non_blocking=True)
    return places | {"CuPy": Place(gpu, nullcontext), "fused": Place(gpu, fast, stream)}


def ways_in_tf32() -> dict[str, Place]:
    """A GPU's fused kernels in float32, and both ways of a convolution in TF32. Raises UsageError without a GPU."""
    try:
        gpu = select_device("gpu")
    except GPUUnavailable as err:
        raise UsageError(f"--tf32 is for GPUs: {err}") from err

    @contextmanager
    def way(tf32: bool, looked_up: bool) -> Iterator[None]:
        takes = implicit_gemm.takes if looked_up else lambda *_, **__: False
        with (
            patch.dict("os.environ", CUPY_TF32=str(int(tf32))), patch.object(implicit_gemm, "takes", takes),
            compute("fast", None, 0),
        ):  # fmt: skip
            yield

    ways = {"fused": (False, False), "bands": (True, False), "looked up": (True, True)}
    stream = gpu.xp.cuda.Stream(non_blocking=True)
    return {name: Place(gpu, partial(way, *how), stream) for name, how in ways.items()}


def measure(task: Task, places: dict[str, Place], blocks: int) -> dict[str, list[float]]:
    """Seconds of one call in each place, which take turns. Raises UserError if their results differ."""
    ready: dict[str, Callable[[], float]] = {}
    expected: np.ndarray | None = None
    first = next(iter(places))
    for name, place in places.items():
        with place.kernels():
            call = task.prepare(drawing(place.device))
            made = first_array(call())
            ready[name] = timer(call, place)
        expected = made if expected is None else expected
        difference = float(np.linalg.norm(made - expected) / max(float(np.linalg.norm(expected)), 1e-30))
        if not difference <= (TF32_TOLERANCE if name in IN_TF32 else task.tolerance):  # also for NaN
            raise UserError(f"{task.name} of {task.shapes}: {name} differs from {first} by {difference:.1e}")
    times: dict[str, list[float]] = {name: [] for name in ready}
    settle = SETTLE if any(place.device is CPU for place in places.values()) else 0.0
    for _ in range(blocks):
        for name, place in places.items():
            with place.kernels():
                time.sleep(settle)
                ready[name]()
                times[name].append(ready[name]())
    return times


def first_array(result: Any) -> np.ndarray:
    """What an operation made, without its cache, on the host; nothing where it works in place."""
    array = result[0] if isinstance(result, tuple) else result
    return np.zeros(0) if array is None else to_host(array)


def limits_of(place: Place, blocks: int) -> dict[str, float]:
    """The most that a place can do: GFLOP/s of the best matrix product, GB/s of a large copy (read and written)."""
    draw, xp, products, copies = drawing(place.device), place.device.xp, [0.0], [0.0]

    def best(call: Callable[[], object]) -> float:
        run = timer(call, place)
        return min(run() for _ in range(blocks))

    with place.kernels():
        for side in SIDES:
            seconds = best(product(draw, side))
            products.append(2 * side**3 / seconds)
            if seconds > timing.ENOUGH:
                break
        for size in COPIED:
            source = xp.ones(size, np.float32)
            seconds = best(partial(ops.in_pieces, source.copy(), source, change=xp.copyto))
            copies.append(2 * source.nbytes / seconds)
            if seconds > timing.ENOUGH:
                break
    return {"gflops": max(products) / 1e9, "gbytes": copies[-1] / 1e9}


def product(draw: Draw, side: int) -> Callable[[], object]:
    """A product of two square matrices. Their numbers are random, as a GPU is faster with equal ones."""
    few = draw((2, SIDES[0], SIDES[0]))
    a, b = array_module(few).tile(few, (1, side // SIDES[0], side // SIDES[0]))
    return lambda: ops.dense(a, b)


def described(results: list[dict[str, Any]], limits: dict[str, dict[str, float]], precision: str) -> str:
    """The table: of products GFLOP/s, of the others GB/s, and the share of the limit."""
    rows = []
    for result in results:
        row = [f"{result['task']}: {result['shapes']}", "GFLOP/s" if result["macs"] else "GB/s"]
        for name, summary in result["times"].items():
            reached = f"{share(result, limits, name):.0%}"
            row += [milliseconds(summary["median"]), f"{rate(result, name):.3g}", reached]
        rows.append(row)
    head = ["operation", "rate in"]
    for name in limits:
        head += [f"{name}: ms", "rate", "of limit"]
    told = "; ".join(f"{name} {each['gflops']:.3g} GFLOP/s, {each['gbytes']:.3g} GB/s" for name, each in limits.items())
    return table(head, rows) + f"\n\nMedians, {precision}. The best matrix product and the largest copy: {told}."


def rate(result: dict[str, Any], name: str) -> float:
    """GFLOP/s of a product, GB/s of another operation."""
    work: int = 2 * result["macs"] or 4 * result["numbers"]
    return work / float(result["times"][name]["median"]) / 1e9


def share(result: dict[str, Any], limits: dict[str, dict[str, float]], name: str) -> float:
    """Of the limit that an operation reaches in a place."""
    unit = "gflops" if result["macs"] else "gbytes"
    return rate(result, name) / best_of({other: each[unit] for other, each in limits.items()}, name)


def best_of(limits: dict[str, float], name: str) -> float:
    """The limit of the processor that a place computes on: the better of both kinds of kernels."""
    there = (*ON_GPU, *IN_TF32)
    return max(limits[other] for other in limits if (other in there) == (name in there))


if __name__ == "__main__":
    sys.exit(cli.run(main))
