"""Maxout as a layer; see functional.maxout for the mathematics."""

import operator
from dataclasses import dataclass

from minigan import ops
from minigan.nn.layer import Cache, Layer, ShapeError
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng, Shape


@dataclass(frozen=True)
class Maxout(Layer):
    """The largest of each `pieces` neighbouring features; put it after Dense(units * pieces)."""

    pieces: int

    def __post_init__(self) -> None:
        if operator.index(self.pieces) < 1:
            raise ValueError(f"maxout takes the largest of at least one piece, got {self.pieces}")

    def out_shape(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 1 or in_shape[0] % self.pieces:
            raise ShapeError(
                f"Maxout({self.pieces}) takes samples of shape (units * {self.pieces},), got {in_shape}; "
                f"make the layer before it Dense(units * {self.pieces})"
            )
        return (in_shape[0] // self.pieces,)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return ops.maxout(x, self.pieces)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        return ops.maxout_backward(dy, cache) if need_dx else None

    def double_backward(
        self, theta: Views, ddx: Array, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        return ops.maxout_double_backward(ddx, cache), None
