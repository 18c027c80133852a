"""A bias, the activation behind it, and dropout behind both in one operation, for layers that multiply first."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from minigan import ops
from minigan.nn.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from minigan.nn.dropout import Dropout
from minigan.nn.layer import Cache, Layer
from minigan.nn.maxout import Maxout
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng, Shape


class ActivatedCache(NamedTuple):
    linear: Cache
    activation: Cache


@dataclass(frozen=True)
class Activated(Layer):
    """What a `Sequential` of the two layers computes, but the bias is added where the activation reads it."""

    linear: Layer  # with a bias
    product: Layer  # the same without
    activation: Layer
    operation: tuple[Any, ...]  # of the activation: its name among `ops`, and its numbers

    def out_shape(self, in_shape: Shape) -> Shape:
        return self.activation.out_shape(self.linear.out_shape(in_shape))

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, ActivatedCache]:
        a, linear = self.product.forward(theta, x, train=train, rng=rng)
        y, activation = ops.activated(a, theta["b"], *self.operation)
        return y, ActivatedCache(linear, activation)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        if grads is None and not need_dx:
            return None
        da = self.activation.backward(theta, dy, cache.activation, None)
        return self.linear.backward(theta, da, cache.linear, grads, need_dx=need_dx)

    def fused(self, after: Layer) -> Layer | None:
        if isinstance(after, Dropout) and after.form != "channel":  # so that there is a mask for each number
            return ActivatedDropout(self, after)
        return None


@dataclass(frozen=True)
class ActivatedDropout(Layer):
    """What an `Activated` and the `Dropout` behind it compute; in training one operation does both."""

    activated: Activated
    dropout: Dropout

    def out_shape(self, in_shape: Shape) -> Shape:
        return self.activated.out_shape(in_shape)

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, ActivatedCache]:
        if not train or not hasattr(rng, "random"):
            y, before = self.activated.forward(theta, x, train=train)
            y, after = self.dropout.forward(theta, y, train=train, rng=rng)  # which refuses to train without rng
            return y, ActivatedCache(before, after)
        a, linear = self.activated.product.forward(theta, x, train=train, rng=rng)
        numbers = self.dropout.rate, self.dropout.scale
        y, cache = ops.activated_dropout(a, theta["b"], rng, *numbers, *self.activated.operation)
        return y, ActivatedCache(linear, cache)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        if grads is None and not need_dx:
            return None
        if isinstance(cache.linear, ActivatedCache):  # used without randomness
            dy = self.dropout.backward(theta, dy, cache.activation, None)
            return self.activated.backward(theta, dy, cache.linear, grads, need_dx=need_dx)
        da = ops.activated_dropout_backward(dy, cache.activation)
        return self.activated.linear.backward(theta, da, cache.linear, grads, need_dx=need_dx)


def activated(linear: Any, after: Layer) -> Activated | None:
    """The two layers as one; None where there is no bias, or no such operation."""
    operation = _operation(after)
    if not linear.bias or operation is None:
        return None
    return Activated(linear, replace(linear, bias=False), after, operation)


def _operation(layer: Layer) -> tuple[Any, ...] | None:
    match layer:
        case ReLU():
            return ("relu",)
        case LeakyReLU(slope):
            return "leaky_relu", slope
        case Sigmoid():
            return ("sigmoid",)
        case Tanh():
            return ("tanh",)
        case Maxout(pieces):
            return "maxout", pieces
    return None
