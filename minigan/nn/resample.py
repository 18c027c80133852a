"""Pooling, upsampling and PixelShuffle as layers; see functional.pooling, upsample and pixel_shuffle."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from minigan import ops
from minigan.nn.conv import Padding, Pair, check_image, geometry_for, pair
from minigan.nn.layer import Cache, Layer, LinearMap, ShapeError
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng, Shape

Mode = Literal["nearest", "bilinear"]


def check_factor(factor: int) -> None:
    """Raises ValueError unless the factor is a whole number from 1."""
    if not isinstance(factor, int | np.integer) or factor < 1:
        raise ValueError(f"the factor must be a whole number of at least 1, got {factor}")


@dataclass(frozen=True)
class _Pool(Layer):
    """A window that moves over the image; by default the windows lie side by side."""

    kernel: Pair
    stride: Pair | None = None  # None: the kernel
    padding: Padding = 0

    def __post_init__(self) -> None:
        self.geometry((1, 1))  # refuses settings that fit no image

    def geometry(self, size: tuple[int, ...]) -> ops.Geometry:
        return geometry_for(size, self.kernel, self.kernel if self.stride is None else self.stride, self.padding)

    def out_shape(self, in_shape: Shape) -> Shape:
        check_image(self, in_shape)
        geometry, (kh, kw) = self.geometry(in_shape[:2]), pair(self.kernel)
        if max(geometry.padding[:2]) >= kh or max(geometry.padding[2:]) >= kw:
            raise ShapeError(f"padding {self.padding} leaves windows of {kh, kw} outside the image; make it smaller")
        p, q = geometry.out_size(in_shape[:2], (kh, kw))
        if p < 1 or q < 1:
            raise ShapeError(f"a window of {pair(self.kernel)} does not fit into {in_shape}, padding {self.padding}")
        return p, q, in_shape[2]


@dataclass(frozen=True)
class AveragePool(LinearMap, _Pool):
    """The mean of each window (see functional.pooling); zeros outside the image count.

    kernel, stride (None: the kernel) and padding, which is less than the kernel, as of Conv2D: (H, W, C) gives
    (P, Q, C). Raises ValueError and ShapeError as Conv2D does.
    """

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return ops.average_pool(x, pair(self.kernel), self.geometry(x.shape[1:3]))

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        geometry = self.geometry(cache.size)
        return ops.average_pool_backward(dy, cache, pair(self.kernel), geometry) if need_dx else None


@dataclass(frozen=True)
class MaxPool(_Pool):
    """The maximum of each window (see functional.pooling), of those of its pixels that lie in the image.

    Arguments, shapes and errors as of AveragePool.
    """

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return ops.max_pool(x, pair(self.kernel), self.geometry(x.shape[1:3]))

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        geometry = self.geometry(cache.size)
        return ops.max_pool_backward(dy, cache, pair(self.kernel), geometry) if need_dx else None

    def double_backward(
        self, theta: Views, ddx: Array, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        geometry = self.geometry(cache.size)
        return ops.max_pool_double_backward(ddx, cache, pair(self.kernel), geometry), None


@dataclass(frozen=True)
class GlobalAveragePool(LinearMap):
    """The mean of each channel: an image (H, W, C) becomes a vector (C,)."""

    def out_shape(self, in_shape: Shape) -> Shape:
        check_image(self, in_shape)
        return in_shape[2:]

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return ops.global_average(x)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        return ops.global_average_backward(dy, cache) if need_dx else None


@dataclass(frozen=True)
class Upsample(LinearMap):
    """`factor` times as high and wide, by copies ("nearest") or linear interpolation ("bilinear")."""

    factor: int = 2
    mode: Mode = "nearest"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"unknown mode of upsampling {self.mode!r}: choose {', '.join(get_args(Mode))}")
        check_factor(self.factor)

    def out_shape(self, in_shape: Shape) -> Shape:
        check_image(self, in_shape)
        return in_shape[0] * self.factor, in_shape[1] * self.factor, in_shape[2]

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        rule = ops.upsample_nearest if self.mode == "nearest" else ops.upsample_bilinear
        return rule(x, self.factor), None

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        rule = ops.upsample_nearest_backward if self.mode == "nearest" else ops.upsample_bilinear_backward
        return rule(dy, self.factor) if need_dx else None


@dataclass(frozen=True)
class PixelShuffle(LinearMap):
    """(H, W, C r^2) becomes (r H, r W, C)."""

    factor: int

    def __post_init__(self) -> None:
        check_factor(self.factor)

    def out_shape(self, in_shape: Shape) -> Shape:
        check_image(self, in_shape)
        if in_shape[2] % self.factor**2:
            raise ShapeError(
                f"PixelShuffle({self.factor}) needs a multiple of {self.factor**2} channels, got {in_shape}"
            )
        return in_shape[0] * self.factor, in_shape[1] * self.factor, in_shape[2] // self.factor**2

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return ops.pixel_shuffle(x, self.factor), None

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        return ops.pixel_unshuffle(dy, self.factor) if need_dx else None


@dataclass(frozen=True)
class PixelUnshuffle(LinearMap):
    """(r H, r W, C) becomes (H, W, C r^2)."""

    factor: int

    def __post_init__(self) -> None:
        check_factor(self.factor)

    def out_shape(self, in_shape: Shape) -> Shape:
        check_image(self, in_shape)
        if in_shape[0] % self.factor or in_shape[1] % self.factor:
            raise ShapeError(f"PixelUnshuffle({self.factor}) needs multiples of {self.factor} pixels, got {in_shape}")
        return in_shape[0] // self.factor, in_shape[1] // self.factor, in_shape[2] * self.factor**2

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return ops.pixel_unshuffle(x, self.factor), None

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        return ops.pixel_shuffle(dy, self.factor) if need_dx else None
