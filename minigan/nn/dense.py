"""The dense layer; see functional.dense for the mathematics."""

import operator
from dataclasses import dataclass

import numpy as np

from minigan import ops
from minigan.nn.activated import activated
from minigan.nn.initialisers import Constant, GlorotUniform, Initialiser
from minigan.nn.layer import Cache, Layer, ShapeError
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng, Shape


@dataclass(frozen=True)
class Dense(Layer):
    """y = x w + b with `units` outputs; `bias=False` leaves b out (BatchNorm would cancel it)."""

    units: int
    bias: bool = True
    w_init: Initialiser = GlorotUniform()
    b_init: Initialiser = Constant(0.0)

    def __post_init__(self) -> None:
        if operator.index(self.units) < 1:
            raise ValueError(f"a dense layer has at least one unit, got {self.units}")
        if not isinstance(self.bias, bool):
            raise TypeError(f"bias is True or False, got {self.bias!r}; the number of inputs is found by itself")

    def out_shape(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 1:
            raise ShapeError(
                f"Dense({self.units}) takes samples of shape (features,), got {in_shape}; put Flatten() before it"
            )
        return (self.units,)

    def param_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"w": (in_shape[0], self.units)}
        if self.bias:
            shapes["b"] = (self.units,)
        return shapes

    def macs(self, in_shape: Shape) -> int:
        return in_shape[0] * self.units

    def init(self, theta: Views, rng: np.random.Generator) -> None:
        theta["w"] = self.w_init(rng, theta["w"].shape)
        if self.bias:
            theta["b"] = self.b_init(rng, theta["b"].shape)

    def fused(self, after: Layer) -> Layer | None:
        return activated(self, after)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return ops.dense(x, theta["w"], theta["b"] if self.bias else None)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        if grads is not None:
            ops.dense_weight_grad(dy, cache, grads["w"])  # adds to it
            if self.bias:
                ops.dense_bias_grad(dy, grads["b"])  # likewise
        return ops.dense_input_grad(dy, theta["w"]) if need_dx else None

    def double_backward(
        self, theta: Views, ddx: Array, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        ddy, seen = ops.dense(ddx, theta["w"])  # ddx w: forward, without the bias
        if grads is not None:
            ops.dense_weight_grad(dy, seen, grads["w"])  # adds ddx^T dy
        return ddy, None

    def grads_double_backward(
        self, theta: Views, ddtheta: Views, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array | None, Array | None]:
        ddy = ops.dense(cache.x, ddtheta["w"], ddtheta["b"] if self.bias else None)[0]  # forward, with other weights
        return ddy, ops.dense_input_grad(dy, ddtheta["w"])  # and backward
