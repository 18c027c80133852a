"""Convolution and transposed convolution as layers; see functional.conv for the mathematics."""

import math
import operator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from minigan import ops
from minigan.nn.activated import activated
from minigan.nn.initialisers import Constant, GlorotUniform, Initialiser
from minigan.nn.layer import Cache, Layer, ShapeError
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng, Shape

Pair: TypeAlias = int | tuple[int, int]  # one number for both axes, or (vertical, horizontal)
# Zeros around the image: one number, (vertical, horizontal), (top, bottom, left, right), or "same":
# as many as make the output ceil(size / stride), the odd one at the bottom and right (TensorFlow's rule).
Padding: TypeAlias = int | tuple[int, int] | tuple[int, int, int, int] | Literal["same"]


def pair(value: Pair) -> tuple[int, int]:
    """(vertical, horizontal) of a number or a pair."""
    return (value, value) if isinstance(value, int | np.integer) else value


def geometry_for(
    size: tuple[int, ...], kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = 1, groups: int = 1
) -> ops.Geometry:
    """The geometry of a window on an image of this size, which "same" depends on. Raises ValueError for a wrong one."""
    kernel, stride, dilation = pair(kernel), pair(stride), pair(dilation)
    if min(kernel) < 1:
        raise ValueError(f"a window must have at least one pixel, got {kernel}")
    if padding == "same":
        sides: list[int] = []
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            sides += [total // 2, total - total // 2]
        return ops.Geometry(stride, (sides[0], sides[1], sides[2], sides[3]), dilation, groups)
    if isinstance(padding, int | np.integer):
        padding = (padding, padding)
    if isinstance(padding, str) or len(padding) not in (2, 4):
        raise ValueError(f'padding is a number, two, four, or "same", got {padding!r}')
    if len(padding) == 2:
        padding = (padding[0], padding[0], padding[1], padding[1])
    return ops.Geometry(stride, padding, dilation, groups)


def check_image(layer: object, in_shape: Shape) -> None:
    """Raises ShapeError unless one sample is an image (H, W, C)."""
    if len(in_shape) != 3:
        raise ShapeError(
            f"{type(layer).__name__} takes images (H, W, C), got {in_shape}; put Reshape((H, W, C)) before it"
        )


def check_channels(channels: int) -> None:
    """Raises ValueError unless there is at least one channel."""
    if operator.index(channels) < 1:
        raise ValueError(f"an image has at least one channel, got {channels}")


@dataclass(frozen=True)
class Conv2D(Layer):
    """A convolution (see functional.conv) to `channels` channels: w (kh, kw, I/groups, O), b (O,).

    kernel, stride, dilation: one number, or (vertical, horizontal). padding, zeros around the image: one number,
    (vertical, horizontal), (top, bottom, left, right), or "same", which makes the output ceil(size / stride), with an
    odd zero at the bottom and right as in TensorFlow. groups: convolutions side by side, each with its share of the
    channels. Images are (H, W, C), and give (P, Q, `channels`).

    Raises ValueError for settings that fit no image, ShapeError (out_shape) for images that they do not fit.
    """

    channels: int
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    w_init: Initialiser = GlorotUniform()
    b_init: Initialiser = Constant(0.0)

    def __post_init__(self) -> None:
        self.geometry((1, 1))  # refuses settings that fit no image
        check_channels(self.channels)

    def geometry(self, size: tuple[int, ...]) -> ops.Geometry:
        return geometry_for(size, self.kernel, self.stride, self.padding, self.dilation, self.groups)

    def out_shape(self, in_shape: Shape) -> Shape:
        check_image(self, in_shape)
        if in_shape[2] % self.groups or self.channels % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {in_shape[2]} channels in and {self.channels} out")
        p, q = self.geometry(in_shape[:2]).out_size(in_shape[:2], pair(self.kernel))
        if p < 1 or q < 1:
            raise ShapeError(f"a window of {pair(self.kernel)} does not fit into {in_shape}, padding {self.padding}")
        return p, q, self.channels

    def param_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"w": (*pair(self.kernel), in_shape[2] // self.groups, self.channels)}
        if self.bias:
            shapes["b"] = (self.channels,)
        return shapes

    def macs(self, in_shape: Shape) -> int:
        p, q, _ = self.out_shape(in_shape)
        return p * q * math.prod(self.param_shapes(in_shape)["w"])

    def init(self, theta: Views, rng: np.random.Generator) -> None:
        theta["w"] = self.w_init(rng, theta["w"].shape)
        if self.bias:
            theta["b"] = self.b_init(rng, theta["b"].shape)

    def fused(self, after: Layer) -> Layer | None:
        return activated(self, after)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        y, seen = ops.conv2d_and_seen(x, theta["w"], self.geometry(x.shape[1:3]))
        if self.bias:
            y += theta["b"]
        return y, seen

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        size = cache.shape[1:3]
        if grads is not None:
            ops.conv2d_weight_grad(cache, dy, pair(self.kernel), self.geometry(size), grads["w"])  # adds to it
            if self.bias:
                ops.conv2d_bias_grad(dy, grads["b"])  # likewise
        return ops.conv2d_input_grad(dy, theta["w"], size, self.geometry(size)) if need_dx else None

    def double_backward(
        self, theta: Views, ddx: Array, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        geometry = self.geometry(ddx.shape[1:3])
        ddy, seen = ops.conv2d_and_seen(ddx, theta["w"], geometry)  # forward, without the bias
        if grads is not None:
            ops.conv2d_weight_grad(seen, dy, pair(self.kernel), geometry, grads["w"])  # adds to it
        return ddy, None

    def grads_double_backward(
        self, theta: Views, ddtheta: Views, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array | None, Array | None]:
        size = cache.shape[1:3]
        ddy, _ = self.forward(ddtheta, ops.image_of(cache), train=True)  # with other weights
        return ddy, ops.conv2d_input_grad(dy, ddtheta["w"], size, self.geometry(size))


@dataclass(frozen=True)
class ConvTranspose2D(Layer):
    """The input gradient of a convolution, used forwards: w (kh, kw, O/groups, I), b (O,).

    Images (P, Q, I) give (H, W, `channels`), with H = (P - 1) stride - (padding above + below) + dilation (k - 1) + 1
    + output_padding: a convolution of an image of that height would give P, and `output_padding` chooses among the
    heights that do. Where it is larger than the padding below and on the right, the last rows and columns hold the
    bias alone. Arguments and errors are those of Conv2D, but for "same".
    """

    channels: int
    kernel: Pair
    stride: Pair = 1
    padding: int | tuple[int, int] | tuple[int, int, int, int] = 0
    output_padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    w_init: Initialiser = GlorotUniform()
    b_init: Initialiser = Constant(0.0)

    def __post_init__(self) -> None:
        if isinstance(self.padding, str):
            raise ValueError("ConvTranspose2D needs its padding in numbers: the input does not tell what was padded")
        self.geometry()  # refuses settings that fit no image
        check_channels(self.channels)

    def geometry(self) -> ops.Geometry:
        return geometry_for((0, 0), self.kernel, self.stride, self.padding, self.dilation, self.groups)

    def _size(self, size: tuple[int, ...]) -> tuple[int, int]:
        geometry = self.geometry()
        borders = (sum(geometry.padding[:2]), sum(geometry.padding[2:]))
        axes = (size, geometry.stride, borders, geometry.dilation, pair(self.kernel), pair(self.output_padding))
        height, width = ((n - 1) * s - b + d * (k - 1) + 1 + o for n, s, b, d, k, o in zip(*axes, strict=True))
        return height, width

    def out_shape(self, in_shape: Shape) -> Shape:
        check_image(self, in_shape)
        if in_shape[2] % self.groups or self.channels % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {in_shape[2]} channels in and {self.channels} out")
        size = self._size(in_shape[:2])
        if min(size) < 1:
            raise ShapeError(f"the output {size} of {in_shape} would be empty; make the padding smaller")
        if self.geometry().out_size(size, pair(self.kernel)) != in_shape[:2]:
            raise ShapeError(f"output_padding {self.output_padding} must be less than the stride {self.stride}")
        return *size, self.channels

    def param_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"w": (*pair(self.kernel), self.channels // self.groups, in_shape[2])}
        if self.bias:
            shapes["b"] = (self.channels,)
        return shapes

    def macs(self, in_shape: Shape) -> int:
        return in_shape[0] * in_shape[1] * math.prod(self.param_shapes(in_shape)["w"])

    def init(self, theta: Views, rng: np.random.Generator) -> None:
        kh, kw, outputs, inputs = theta["w"].shape  # outputs of a group, inputs of all
        drawn = self.w_init(rng, (kh, kw, inputs // self.groups, outputs * self.groups))  # as initialisers count fans
        theta["w"] = drawn.reshape(kh, kw, inputs, outputs).swapaxes(2, 3)
        if self.bias:
            theta["b"] = self.b_init(rng, theta["b"].shape)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        y = ops.conv2d_input_grad(x, theta["w"], self._size(x.shape[1:3]), self.geometry())
        if self.bias:
            y = y + theta["b"]  # a new array: y is a window of the padded image, whose border need not stay
        return y, x

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        dx, seen = ops.conv2d_and_seen(dy, theta["w"], self.geometry()) if need_dx else (None, dy)
        if grads is not None:
            ops.conv2d_weight_grad(seen, cache, pair(self.kernel), self.geometry(), grads["w"])  # adds to it
            if self.bias:
                ops.conv2d_bias_grad(dy, grads["b"])  # likewise
        return dx

    def double_backward(
        self, theta: Views, ddx: Array, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        if grads is not None:
            ops.conv2d_weight_grad(dy, ddx, pair(self.kernel), self.geometry(), grads["w"])  # adds to it
        return ops.conv2d_input_grad(ddx, theta["w"], dy.shape[1:3], self.geometry()), None  # forward, without the bias

    def grads_double_backward(
        self, theta: Views, ddtheta: Views, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array | None, Array | None]:
        ddy, _ = self.forward(ddtheta, cache, train=True)  # with other weights
        return ddy, ops.conv2d(dy, ddtheta["w"], self.geometry())
