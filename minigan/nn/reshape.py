"""Layers that only change the shape of each sample."""

import math
import operator
from dataclasses import dataclass

from minigan import ops
from minigan.nn.layer import Cache, LinearMap, ShapeError
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng, Shape


@dataclass(frozen=True)
class Reshape(LinearMap):
    """Give each sample the shape `shape`, in C order."""

    shape: Shape

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple) or not all(operator.index(size) > 0 for size in self.shape):
            raise ValueError(
                f"a sample's shape is a tuple of positive numbers, such as (4, 4, 512), got {self.shape!r}"
            )

    def out_shape(self, in_shape: Shape) -> Shape:
        if math.prod(in_shape) != math.prod(self.shape):
            raise ShapeError(
                f"Reshape{self.shape} makes samples of {math.prod(self.shape)} numbers, "
                f"got {in_shape} with {math.prod(in_shape)}"
            )
        return self.shape

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return ops.reshape(x, self.shape)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        return ops.reshape_backward(dy, cache) if need_dx else None


@dataclass(frozen=True)
class Flatten(LinearMap):
    """Make each sample a vector."""

    def out_shape(self, in_shape: Shape) -> Shape:
        return (math.prod(in_shape),)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return ops.reshape(x, (-1,))

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        return ops.reshape_backward(dy, cache) if need_dx else None
