"""Small products of dense layers: from which size on a second worker pays, and adding by BLAS rather than by NumPy.

    python -m benchmarks.products [--batch-size 100] [--json FILE] [--write docs/benchmarks.md]

Two layers of n units hand an array to each other, as the layers of a network do: what a worker multiplies has been
written by all of them a moment before. The second worker gets its part through a queue of Python's, or without Python's
lock. Weight gradients are added to those that are there, by one worker. `PRODUCTS`, `ERRAND` (minigan/kernels/dense.py)
and `SMALL` (minigan/kernels/blas.py) are chosen by these tables. All ways take turns.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from unittest.mock import patch

import numpy as np

from benchmarks.report import Output, Report, Summary, table
from benchmarks.timing import Place, timer
from minigan import cli
from minigan.backend import CPU
from minigan.errors import UsageError
from minigan.functional.dense import DenseCache
from minigan.kernels import blas, dense
from minigan.runs.blas import compute

UNITS = (64, 96, 128, 192, 256, 384, 512, 768, 1024)
NEVER, ALWAYS = 1 << 62, 0  # in the place of a threshold
THREADS = 2

Ways = dict[str, tuple[Callable[[], object], Place]]


@dataclass(frozen=True)
class Options(Output):
    batch_size: int = 100
    """samples in a batch"""
    blocks: int = 7
    """measurements of each"""

    def __post_init__(self) -> None:
        for name in ("batch_size", "blocks"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)} is out of range: the smallest is 1")


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.products", description=__doc__ or "")
    report = Report("products", argv, options)
    results = [
        {"units": units, "products": measured(shared(units, options.batch_size), options.blocks)}
        | {"gradients": measured(added(units, options.batch_size), options.blocks)}
        for units in UNITS
    ]
    report.publish(described(results, options.batch_size), results, threads=THREADS)
    return 0


@contextmanager
def kernels(products: int, errand: int, small: int) -> Iterator[None]:
    """Fast kernels with other thresholds."""
    with (
        patch.object(dense, "PRODUCTS", products), patch.object(dense, "ERRAND", errand),
        patch.object(blas, "SMALL", small), compute("fast", THREADS, 0),
    ):  # fmt: skip
        yield


def place(products: int = NEVER, errand: int = NEVER, small: int = NEVER) -> Place:
    """The CPU with these thresholds; without one, nobody does it that way."""
    return Place(CPU, partial(kernels, products, errand, small))


def shared(units: int, batch_size: int) -> Ways:
    """Two layers one after the other, by one worker and by two."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch_size, units), np.float32)
    first, second = rng.standard_normal((2, units, units), np.float32) / np.sqrt(units, dtype=np.float32)

    def both() -> np.ndarray:
        return dense.dense(dense.dense(x, first)[0], second)[0]

    ways = {"one worker": place(), "by the queue": place(products=ALWAYS), "without the lock": place(errand=ALWAYS)}
    return {name: (both, there) for name, there in ways.items()}


def added(units: int, batch_size: int) -> Ways:
    """A weight gradient that is added to what is there."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, batch_size, units), np.float32)
    total = np.zeros((units, units), np.float32)

    def gradient() -> np.ndarray:
        return dense.dense_weight_grad(dy, DenseCache(x), total)

    return {name: (gradient, there) for name, there in {"NumPy": place(), "BLAS": place(small=ALWAYS)}.items()}


def measured(ways: Ways, blocks: int) -> dict[str, dict[str, float]]:
    """Seconds of a call in each way."""
    ready: dict[str, Callable[[], float]] = {}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for name, (call, place) in ways.items():
        with place.kernels():
            ready[name] = timer(call, place)
    for _ in range(blocks):
        for name, (_, place) in ways.items():
            with place.kernels():
                times[name].append(ready[name]())
    return {name: asdict(Summary.of(each)) for name, each in times.items()}


def described(results: list[dict], batch_size: int) -> str:
    """Both tables in one: microseconds."""
    head = ["units", "multiply-adds", "one worker", "two, by the queue", "two, without the lock"]
    head += ["numbers of a gradient", "added by NumPy", "added by BLAS"]
    rows = []
    for result in results:
        units, row = result["units"], []
        for work, name in ((batch_size * units**2, "products"), (units**2, "gradients")):
            row += [f"{work:,}", *(f"{each['median'] * 1e6:.0f}" for each in result[name].values())]
        rows.append([str(units), *row])
    told = f"Microseconds, medians, float32, batches of {batch_size}; two layers, and one gradient."
    return f"{table(head, rows)}\n\n{told}"


if __name__ == "__main__":
    sys.exit(cli.run(main))
