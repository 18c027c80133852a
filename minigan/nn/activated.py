"""A bias and the activation behind it in one operation, for layers that multiply and then add a bias."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from minigan import ops
from minigan.nn.activations import LeakyReLU, ReLU, Sigmoid, Tanh
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
