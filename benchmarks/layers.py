"""Each operation of the recipes alone: time, work and traffic, beside the most that the machine can do.

    python -m benchmarks.layers [RECIPE ...] [--threads T] [--tf32] [--json FILE] [--write docs/benchmarks.md]

Plain and fast kernels take turns; where there is a GPU its plain operations (CuPy) and its fused kernels join. The
limits are measured first: the best matrix product and the best copy of large arrays, by whichever kernels of that
processor. GFLOP/s count two operations a multiply-add of the definition, so that a convolution with fewer products can
come out above the limit; GB/s count every array once, in and out.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import tyro
from numpy.typing import DTypeLike

from benchmarks.machine import cores
from benchmarks.report import Output, Report, Summary, milliseconds, table
from benchmarks.rounds import chosen
from minigan import cli, nn, ops
from minigan.backend import CPU, Device, GPUUnavailable, select_device, to_host
from minigan.cuda import implicit_gemm
from minigan.errors import UsageError, UserError
from minigan.nn.activated import Activated, ActivatedDropout
from minigan.nn.batchnorm import BatchNormLeaky
from minigan.optim import Optimiser
from minigan.recipes import Recipe
from minigan.recipes.cost import networks
from minigan.runs.blas import compute
from minigan.typing import Array, Shape

TOLERANCE = 1e-4  # relative distance of two places' results, in float32
TF32_TOLERANCE = 2e-3
FLIPS = 1e-2  # where a number within rounding of 0 may be on either side of the rectifier
ENOUGH = 0.02  # seconds that one measurement takes at least
SETTLE = 0.15  # seconds in which threads of the place before, which wait by spinning, fall asleep
CONVOLUTIONS = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
ACTIVATIONS: dict[type, str] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
ON_GPU = ("CuPy", "fused")  # the names of the places there
IN_TF32 = ("bands", "looked up")  # how a convolution's windows become factors of its products
SQUARES = (512, 1024, 2048)  # sides of the matrices, of which the best product is taken
LARGE = 1 << 24  # numbers in the arrays of the best copy: 64 MiB, more than a cache holds


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
    tf32: bool = False
    """on a GPU, convolutions alone: in float32, and in TF32 by bands that are cut and by windows that are looked up"""

    def __post_init__(self) -> None:
        for name in ("blocks", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value} is out of range: the smallest is 1")


@dataclass(frozen=True)
class Task:
    """One operation on arrays of fixed shapes."""

    name: str  # of the operation in minigan.ops, or of the update rule
    shapes: str  # for people
    macs: int  # multiply-adds, by the definition
    numbers: int  # that go in and out
    prepare: Callable[["Draw"], Callable[[], object]]  # makes the arrays; what it returns computes once
    tolerance: float = TOLERANCE


Draw = Callable[[Shape], Array]  # random arrays of a shape, where the operation will run


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.layers", description=__doc__ or "")
    recipes = chosen(options.recipes, options.set, options.batch_size)
    report, threads = Report("layers", argv, options), options.threads or cores()
    places = ways_in_tf32() if options.tf32 else contexts(threads)
    limits = {name: limits_of(device, kernels, options.blocks) for name, (device, kernels) in places.items()}
    results = [
        {"task": task.name, "shapes": task.shapes, "macs": task.macs, "numbers": task.numbers}
        | {"times": {name: asdict(Summary.of(times)) for name, times in measure(task, places, options.blocks).items()}}
        for task in tasks(recipes)
        if not options.tf32 or task.name in CONVOLUTIONS
    ]
    precision = "float32 and TF32" if options.tf32 else "float32"
    report.publish(described(results, limits, precision), results, threads=threads, limits=limits, precision=precision)
    return 0


Kernels = Callable[[], AbstractContextManager[None]]


def contexts(threads: int) -> dict[str, tuple[Device, Kernels]]:
    """Where the operations run: the device, and what chooses the kernels."""
    places: dict[str, tuple[Device, Kernels]] = {
        "plain": (CPU, lambda: compute("plain", threads, 0)),
        "fast": (CPU, lambda: compute("fast", threads, 0)),
    }
    try:
        gpu = select_device("gpu")
    except GPUUnavailable:
        return places
    return places | {"CuPy": (gpu, nullcontext), "fused": (gpu, lambda: compute("fast", threads, 0))}


def ways_in_tf32() -> dict[str, tuple[Device, Kernels]]:
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
    return {name: (gpu, partial(way, *how)) for name, how in ways.items()}


def tasks(recipes: list[Recipe]) -> Iterator[Task]:
    """The operations of all layers, and the update of each network; every one once."""
    seen = set()
    for recipe in recipes:
        image_shape = (*(recipe.image_size or (28, 28)), recipe.list_channels)
        for (net, in_shape), rule in zip(networks(recipe, image_shape), recipe.optimisers(1), strict=True):
            found, shape = [], in_shape
            for _, layer in net.steps if isinstance(net, nn.Sequential) else ():
                found += of_layer(layer, recipe, shape, layer.out_shape(shape))
                shape = layer.out_shape(shape)
            for task in [*found, update(rule, sum(map(math.prod, net.param_shapes(in_shape).values())))]:
                if (task.name, task.shapes) not in seen:
                    seen.add((task.name, task.shapes))
                    yield task


def of_layer(layer: nn.Layer, recipe: Recipe, before: Shape, after: Shape) -> list[Task]:
    """The operations of a layer's forward and backward, for a whole batch."""
    x, y = (recipe.batch_size, *before), (recipe.batch_size, *after)
    macs = recipe.batch_size * layer.macs(before)
    if isinstance(layer, Activated):  # a GPU adds the bias with the activation, which is not timed by itself
        between = layer.linear.out_shape(before)
        return of_layer(layer.linear, recipe, before, between) + of_layer(layer.activation, recipe, between, after)
    if isinstance(layer, ActivatedDropout):  # likewise
        kept = layer.out_shape(before)
        return of_layer(layer.activated, recipe, before, kept) + of_layer(layer.dropout, recipe, kept, kept)
    if isinstance(layer, nn.Conv2D):
        bias = bias_grad(y) if layer.bias else []
        return convolutions(x, y, layer.param_shapes(before)["w"], layer.geometry(before[:2]), macs) + bias
    if isinstance(layer, nn.ConvTranspose2D):  # a convolution from its output to its input
        bias = bias_grad(y) if layer.bias else []
        return convolutions(y, x, layer.param_shapes(before)["w"], layer.geometry(), macs) + bias
    if isinstance(layer, nn.Dense):
        return dense(x, y, macs)
    if isinstance(layer, BatchNormLeaky):
        return batchnorm_leaky(x, layer.norm.eps, layer.slope)
    if isinstance(layer, nn.LeakyReLU):
        return pointwise("leaky_relu", x, layer.slope)
    if isinstance(layer, nn.Maxout):
        return maxout(x, layer.pieces)
    if isinstance(layer, nn.Upsample) and layer.mode == "nearest":
        return upsample_nearest(x, y, layer.factor)
    if isinstance(layer, nn.Dropout) and layer.form != "channel":
        return dropout(x, layer.rate)
    return pointwise(ACTIVATIONS[type(layer)], x) if type(layer) in ACTIVATIONS else []


def convolutions(x: Shape, y: Shape, w: Shape, geometry: ops.Geometry, macs: int) -> list[Task]:
    """The three primitives of a convolution from x to y."""
    numbers = math.prod(x) + math.prod(y) + math.prod(w)
    shapes = f"{shown(x)}, window {w[0]} x {w[1]} / {geometry.stride[0]}, {shown(y)}"

    def forward(draw: Draw) -> Callable[[], object]:
        image, weights = draw(x), draw(w)
        return lambda: ops.conv2d(image, weights, geometry)

    def input_grad(draw: Draw) -> Callable[[], object]:
        dy, weights = draw(y), draw(w)
        return lambda: ops.conv2d_input_grad(dy, weights, (x[1], x[2]), geometry)

    def weight_grad(draw: Draw) -> Callable[[], object]:
        image, dy = draw(x), draw(y)
        return lambda: ops.conv2d_weight_grad(image, dy, (w[0], w[1]), geometry)

    return [
        Task("conv2d", shapes, macs, numbers, forward),
        Task("conv2d_input_grad", shapes, macs, numbers, input_grad),
        Task("conv2d_weight_grad", shapes, macs, numbers, weight_grad),
    ]


def bias_grad(y: Shape) -> list[Task]:
    """The sums of an image's channels."""

    def sums(draw: Draw) -> Callable[[], object]:
        dy = draw(y)
        return lambda: ops.conv2d_bias_grad(dy)

    return [Task("conv2d_bias_grad", shown(y), 0, math.prod(y), sums)]


def dense(x: Shape, y: Shape, macs: int) -> list[Task]:
    """The three products of a dense layer."""
    w = (x[1], y[1])
    shapes, numbers = f"{shown(x)}, {shown(y)}", math.prod(x) + math.prod(y) + math.prod(w)

    def forward(draw: Draw) -> Callable[[], object]:
        rows, weights, b = draw(x), draw(w), draw(w[1:])
        return lambda: ops.dense(rows, weights, b)

    def input_grad(draw: Draw) -> Callable[[], object]:
        dy, weights = draw(y), draw(w)
        return lambda: ops.dense_input_grad(dy, weights)

    def weight_grad(draw: Draw) -> Callable[[], object]:
        dy, (_, cache) = draw(y), ops.dense(draw(x), draw(w), None)
        return lambda: ops.dense_weight_grad(dy, cache)

    return [
        Task("dense", shapes, macs, numbers, forward),
        Task("dense_input_grad", shapes, macs, numbers, input_grad),
        Task("dense_weight_grad", shapes, macs, numbers, weight_grad),
    ]


def batchnorm_leaky(x: Shape, eps: float, slope: float) -> list[Task]:
    """Both directions of batch normalisation with the rectifier after it; no recipe has one without the other."""

    def forward(draw: Draw) -> Callable[[], object]:
        image, gamma, beta = draw(x), draw(x[-1:]), draw(x[-1:])
        return lambda: ops.batchnorm_leaky(image, gamma, beta, eps, slope)

    def backward(draw: Draw) -> Callable[[], object]:
        dy, gamma = draw(x), draw(x[-1:])
        _, cache = ops.batchnorm_leaky(draw(x), gamma, draw(x[-1:]), eps, slope)
        return lambda: ops.batchnorm_leaky_backward(dy, gamma, cache, slope)

    size = math.prod(x)
    return [
        Task("batchnorm_leaky", shown(x), 0, 2 * size, forward),
        Task("batchnorm_leaky_backward", shown(x), 0, 3 * size, backward, FLIPS),
    ]


def pointwise(name: str, x: Shape, *constants: float) -> list[Task]:
    """Both directions of an activation, ``ops.NAME`` and ``ops.NAME_backward``."""
    there, back = getattr(ops, name), getattr(ops, f"{name}_backward")

    def forward(draw: Draw) -> Callable[[], object]:
        image = draw(x)
        return lambda: there(image, *constants)

    def backward(draw: Draw) -> Callable[[], object]:
        (y, cache) = there(draw(x), *constants)
        dy = draw(y.shape)
        return lambda: back(dy, cache, *constants)

    size = math.prod(x)
    return [Task(name, shown(x), 0, 2 * size, forward), Task(f"{name}_backward", shown(x), 0, 3 * size, backward)]


def maxout(x: Shape, pieces: int) -> list[Task]:
    """Both directions; which number is the largest is a byte for each."""

    def forward(draw: Draw) -> Callable[[], object]:
        rows = draw(x)
        return lambda: ops.maxout(rows, pieces)

    def backward(draw: Draw) -> Callable[[], object]:
        y, cache = ops.maxout(draw(x), pieces)
        dy = draw(y.shape)
        return lambda: ops.maxout_backward(dy, cache)

    numbers = math.prod(x) * 5 // 4 + math.prod(x) // pieces
    return [
        Task("maxout", shown(x), 0, numbers, forward),
        Task("maxout_backward", shown(x), 0, numbers, backward),
    ]


def upsample_nearest(x: Shape, y: Shape, factor: int) -> list[Task]:
    """Both directions of repeating every pixel."""

    def forward(draw: Draw) -> Callable[[], object]:
        image = draw(x)
        return lambda: ops.upsample_nearest(image, factor)

    def backward(draw: Draw) -> Callable[[], object]:
        dy = draw(y)
        return lambda: ops.upsample_nearest_backward(dy, factor)

    numbers = math.prod(x) + math.prod(y)
    return [
        Task("upsample_nearest", shown(x), 0, numbers, forward),
        Task("upsample_nearest_backward", shown(x), 0, numbers, backward),
    ]


def dropout(x: Shape, rate: float) -> list[Task]:
    """Both directions with a given mask, of which a number is a byte."""

    def forward(draw: Draw) -> Callable[[], object]:
        image, keep = draw(x), draw(x) > 0
        return lambda: ops.dropout(image, keep, 1 / (1 - rate))

    def backward(draw: Draw) -> Callable[[], object]:
        dy, (_, cache) = draw(x), ops.dropout(draw(x), draw(x) > 0, 1 / (1 - rate))
        return lambda: ops.dropout_backward(dy, cache)

    numbers = math.prod(x) * 9 // 4
    return [
        Task("dropout", shown(x), 0, numbers, forward),
        Task("dropout_backward", shown(x), 0, numbers, backward),
    ]


def update(rule: Optimiser, parameters: int) -> Task:
    """One update of a flat vector, and the gradient made anew: after an update it is zero.

    Of zeros alone the moments would soon be denormal numbers, which take a processor many times as long.
    """

    def prepare(draw: Draw) -> Callable[[], object]:
        theta = nn.Params(draw((parameters,)), {"w": (parameters,)}, {}, ())
        grads, moments = theta.gradients(), rule.init_moments(theta)

        def call() -> None:
            grads.flat.fill(1e-3)
            rule.update(theta, grads, moments, 1)

        return call

    # Reads theta, g and the moments; writes theta and the moments, and g twice.
    numbers = (5 + 2 * len(rule.moment_names)) * parameters
    return Task(type(rule).__name__, shown((parameters,)), 0, numbers, prepare)


def shown(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def measure(task: Task, places: dict[str, tuple[Device, Kernels]], blocks: int) -> dict[str, list[float]]:
    """Seconds of one call in each place, which take turns. Raises UserError if their results differ."""
    ready: dict[str, Callable[[], float]] = {}
    expected: np.ndarray | None = None
    first = next(iter(places))
    for name, (device, kernels) in places.items():
        with kernels():
            call = task.prepare(drawing(device))
            made = first_array(call())
            ready[name] = timer(call, device)
        expected = made if expected is None else expected
        difference = float(np.linalg.norm(made - expected) / max(float(np.linalg.norm(expected)), 1e-30))
        if not difference <= (TF32_TOLERANCE if name in IN_TF32 else task.tolerance):  # also for NaN
            raise UserError(f"{task.name} of {task.shapes}: {name} differs from {first} by {difference:.1e}")
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(blocks):
        for name, (_, kernels) in places.items():
            with kernels():
                time.sleep(SETTLE)
                ready[name]()
                times[name].append(ready[name]())
    return times


def first_array(result: Any) -> np.ndarray:
    """What an operation made, without its cache, on the host; nothing where it works in place."""
    array = result[0] if isinstance(result, tuple) else result
    return np.zeros(0) if array is None else to_host(array)


def drawing(device: Device, dtype: DTypeLike = np.float32) -> Draw:
    """Random arrays on a device, the same numbers on each and in each precision."""
    rng = np.random.default_rng(0)
    return lambda shape: device.put(rng.standard_normal(shape, dtype=np.float32).astype(dtype))


def timer(call: Callable[[], object], device: Device) -> Callable[[], float]:
    """What measures the mean seconds of a call, over as many as take long enough; it warms up here."""

    def seconds(calls: int) -> float:
        device.synchronize()
        began = time.perf_counter()
        for _ in range(calls):
            call()
        device.synchronize()
        return (time.perf_counter() - began) / calls

    seconds(1)  # compiles, allocates
    calls = max(1, math.ceil(ENOUGH / seconds(1)))
    return lambda: seconds(calls)


def limits_of(device: Device, kernels: Kernels, blocks: int) -> dict[str, float]:
    """The most that a place can do: GFLOP/s of the best matrix product, GB/s of the best copy (read and written)."""
    draw, best = drawing(device), 0.0
    with kernels():
        for size in SQUARES:
            run = timer(product(draw, size), device)
            best = max(best, 2 * size**3 / min(run() for _ in range(blocks)))
        source = draw((LARGE,))
        target = source.copy()
        run = timer(lambda: ops.in_pieces(target, source, change=device.xp.copyto), device)
        copied = 2 * source.nbytes / min(run() for _ in range(blocks))
    return {"gflops": best / 1e9, "gbytes": copied / 1e9}


def product(draw: Draw, size: int) -> Callable[[], object]:
    """A product of two square matrices."""
    a, b = draw((size, size)), draw((size, size))
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
    return table(head, rows) + f"\n\nMedians, {precision}. The best matrix product and the best copy: {told}."


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
