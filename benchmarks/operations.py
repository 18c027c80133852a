"""The operations of a recipe's layers and update rules, one by one: to be timed, or compared between processors."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from minigan import nn, ops
from minigan.backend import Device, array_module
from minigan.nn.activated import Activated, ActivatedDropout
from minigan.nn.batchnorm import BatchNormLeaky
from minigan.optim import Optimiser
from minigan.recipes import Recipe
from minigan.recipes.cost import networks
from minigan.typing import Array, Shape

TOLERANCE = 1e-4  # relative distance of two places' results, in float32
FLIPS = 1e-2  # where a number within rounding of 0 may be on either side of the rectifier
ACTIVATIONS: dict[type, str] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}


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
        xp, coefficients = array_module(theta.flat), rule.coefficients(1)
        if xp is not np:  # a captured update finds them on the device
            coefficients = tuple(xp.asarray(number, dtype=theta.flat.dtype) for number in coefficients)

        def call() -> None:
            grads.flat.fill(1e-3)
            rule.update(theta, grads, moments, 1, coefficients)

        return call

    # Reads theta, g and the moments; writes theta and the moments, and g twice.
    numbers = (5 + 2 * len(rule.moment_names)) * parameters
    return Task(type(rule).__name__, shown((parameters,)), 0, numbers, prepare)


def shown(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def drawing(device: Device, dtype: DTypeLike = np.float32) -> Draw:
    """Random arrays on a device, the same numbers on each and in each precision."""
    rng = np.random.default_rng(0)
    return lambda shape: device.put(rng.standard_normal(shape, dtype=np.float32).astype(dtype))
