"""Layers that are told a condition, and tell it on; see functional.conditioning for the mathematics."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minigan import ops
from minigan.backend import array_module
from minigan.nn.layer import Cache, Layer, ShapeError
from minigan.nn.params import Grads, Views
from minigan.nn.sequential import Sequential, SequentialCache
from minigan.typing import Array, Rng, Shape


@dataclass(frozen=True, init=False, repr=False)
class Conditioned(Sequential):
    r"""Layers f in a row that are told y and tell it on (Mirza & Osindero 2014; Radford et al. 2016, for digits):

    .. math:: h = [x, y] \;\mapsto\; [f(h), y]

    y are the last `size` numbers of a vector, the last `size` channels of an image, the same at every place: of a class
    its one-hot code. What f makes of [x, y] may be a vector or an image of another size, y is put beside it again. So a
    G of such layers maps [z, y] to [image, y], a D takes that, and a game of both is played as any other: on pairs of
    an image and what it should show. The layers within have the names of a Sequential.

    Raises ValueError for a size below 1, and TypeError for what is no layer.
    """

    size: int

    def __init__(self, size: int, *layers: Layer) -> None:
        if operator.index(size) < 1:
            raise ValueError(f"a condition has at least one number, got {size}")
        object.__setattr__(self, "size", size)
        super().__init__(*layers)

    def __repr__(self) -> str:
        return f"Conditioned({', '.join(map(repr, (self.size, *self.layers)))})"

    @property
    def condition(self) -> int:
        return self.size

    def out_shape(self, in_shape: Shape) -> Shape:
        if not in_shape or in_shape[-1] < self.size:
            raise ShapeError(f"the condition is the last {self.size} numbers of a vector or pixel, got {in_shape}")
        *places, channels = self.made_shape(in_shape)
        return (*places, channels + self.size)

    def made_shape(self, in_shape: Shape) -> Shape:
        """Shape of what the layers make, without the condition."""
        return super().out_shape(in_shape)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, SequentialCache]:
        made, cache = super().forward(theta, x, train=train, rng=rng)
        h = self._told_on(made, x)
        return h, cache._replace(shapes=(*cache.shapes, h.shape))

    def _told_on(self, made: Array, x: Array) -> Array:
        return ops.with_condition(made, ops.condition_of(x, self.size))

    def _down(self, theta: Views, dy: Array, cache: SequentialCache, grads: Grads, *, need_dx: bool) -> Array:
        dmade, dcondition = ops.with_condition_backward(dy, self.size)
        dx = super()._down(theta, dmade, cache, grads, need_dx=need_dx)
        return ops.condition_of_backward(dcondition, dx) if need_dx else None

    def _down_to_input(self, theta: Views, dy: Array, cache: SequentialCache) -> tuple[Array, list[Any]]:
        dmade, dcondition = ops.with_condition_backward(dy, self.size)
        dx, kept = super()._down_to_input(theta, dmade, cache)
        return ops.condition_of_backward(dcondition, dx), kept

    def double_backward(
        self, theta: Views, ddx: Array, dy: list[Any], cache: SequentialCache, grads: Grads
    ) -> tuple[Array, Array | None]:
        """That of the layers; telling on is linear, so ddy has beside it what ddx has of the condition."""
        ddmade, on_x = super().double_backward(theta, ddx, dy, cache, grads)
        return self._told_on(ddmade, ddx), on_x

    def grads_double_backward(
        self, theta: Views, ddtheta: Views, dy: list[Any], cache: SequentialCache, grads: Grads
    ) -> tuple[Array | None, Array | None]:
        """That of the layers; what is told on has no part in it."""
        ddmade, on_x = super().grads_double_backward(theta, ddtheta, dy, cache, grads)
        if ddmade is not None:
            ddmade = ops.with_condition(ddmade, array_module(ddmade).zeros((len(ddmade), self.size), ddmade.dtype))
        return ddmade, on_x

    def trace(
        self, theta: Views, x: Array, *, train: bool, rng: Rng = None
    ) -> Iterator[tuple[str, Layer, Array, Cache]]:
        made = x
        for name, layer, made, cache in super().trace(theta, x, train=train, rng=rng):
            yield name, layer, made, cache
        yield "condition", self, self._told_on(made, x), None
