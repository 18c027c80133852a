"""Activation layers; see functional.activations for the formulas."""

import math
from dataclasses import dataclass

from minigan import ops
from minigan.nn.layer import Cache, Layer
from minigan.nn.params import Grads, Views
from minigan.typing import Array, Rng


class Activation(Layer):
    """A layer y = f(x) without parameters: subclasses name the two operations."""

    def apply(self, x: Array) -> tuple[Array, Cache]:
        raise NotImplementedError

    def gradient(self, dy: Array, cache: Cache) -> Array:
        raise NotImplementedError

    def bend(self, ddx: Array, dy: Array, cache: Cache) -> Array | None:
        """f''(x) dy ddx; None for those whose pieces are straight."""
        return None

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        return self.apply(x)

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        return self.gradient(dy, cache) if need_dx else None

    def double_backward(
        self, theta: Views, ddx: Array, dy: Array, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        return self.gradient(ddx, cache), self.bend(ddx, dy, cache)


@dataclass(frozen=True)
class ReLU(Activation):
    """max(x, 0)."""

    def apply(self, x: Array) -> tuple[Array, Cache]:
        return ops.relu(x)

    def gradient(self, dy: Array, cache: Cache) -> Array:
        return ops.relu_backward(dy, cache)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """x if x > 0, else slope * x."""

    slope: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.slope < math.inf:  # backward tells the side of x from the sign of y
            raise ValueError(f"the slope of LeakyReLU must be finite and not negative, got {self.slope}")

    def apply(self, x: Array) -> tuple[Array, Cache]:
        return ops.leaky_relu(x, self.slope)

    def gradient(self, dy: Array, cache: Cache) -> Array:
        return ops.leaky_relu_backward(dy, cache, self.slope)


@dataclass(frozen=True)
class ELU(Activation):
    """x if x > 0, else alpha * (exp(x) - 1)."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.alpha <= 0:  # backward tells the side of x from the sign of y
            raise ValueError(f"alpha of ELU must be positive, got {self.alpha}")

    def apply(self, x: Array) -> tuple[Array, Cache]:
        return ops.elu(x, self.alpha)

    def gradient(self, dy: Array, cache: Cache) -> Array:
        return ops.elu_backward(dy, cache, self.alpha)

    def bend(self, ddx: Array, dy: Array, cache: Cache) -> Array:
        return ops.elu_double_backward(ddx, dy, cache, self.alpha)


@dataclass(frozen=True)
class Softplus(Activation):
    """log(1 + exp(x))."""

    def apply(self, x: Array) -> tuple[Array, Cache]:
        return ops.softplus(x)

    def gradient(self, dy: Array, cache: Cache) -> Array:
        return ops.softplus_backward(dy, cache)

    def bend(self, ddx: Array, dy: Array, cache: Cache) -> Array:
        return ops.softplus_double_backward(ddx, dy, cache)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    def apply(self, x: Array) -> tuple[Array, Cache]:
        return ops.sigmoid(x)

    def gradient(self, dy: Array, cache: Cache) -> Array:
        return ops.sigmoid_backward(dy, cache)

    def bend(self, ddx: Array, dy: Array, cache: Cache) -> Array:
        return ops.sigmoid_double_backward(ddx, dy, cache)


@dataclass(frozen=True)
class Tanh(Activation):
    """tanh(x)."""

    def apply(self, x: Array) -> tuple[Array, Cache]:
        return ops.tanh(x)

    def gradient(self, dy: Array, cache: Cache) -> Array:
        return ops.tanh_backward(dy, cache)

    def bend(self, ddx: Array, dy: Array, cache: Cache) -> Array:
        return ops.tanh_double_backward(ddx, dy, cache)


@dataclass(frozen=True)
class ScaledTanh(Activation):
    """1.7159 tanh(2x/3) (LeCun et al. 1998)."""

    def apply(self, x: Array) -> tuple[Array, Cache]:
        return ops.scaled_tanh(x)

    def gradient(self, dy: Array, cache: Cache) -> Array:
        return ops.scaled_tanh_backward(dy, cache)

    def bend(self, ddx: Array, dy: Array, cache: Cache) -> Array:
        return ops.scaled_tanh_double_backward(ddx, dy, cache)
