"""The layer contract: what every layer promises, and why nothing is kept on ``self``.

A layer is a frozen dataclass of hyperparameters. Its parameters, its running statistics, what
backward needs, the mode and the randomness are arguments: D may run on real, then on generated
samples, and go back through both, then back through one again without touching D's gradients,
and nothing of the first pass can leak into the second.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from minigan.backend import CPU, Device
from minigan.nn.params import Grads, Params, Views
from minigan.typing import Array, Rng, Shape

# What one layer's forward hands to its backward: a small named tuple, documented beside the operation, or the input
# itself; None where backward needs nothing. It also tells backward in which mode forward ran.
Cache: TypeAlias = Any

PRECISIONS = (np.dtype(np.float32), np.dtype(np.float64))  # with fewer digits, the moments of an optimiser vanish


class ShapeError(ValueError):
    """A layer cannot take an input of this shape; the message says which layer and what would fit."""


class Layer:
    """One step of a network. Shapes given to the methods are those of one sample, without N."""

    @property
    def mixes_samples(self) -> bool:
        """Whether in training the output for one sample depends on the others in the batch."""
        return False

    @property
    def measures_batches(self) -> bool:
        """Whether it has statistics that `update_statistics` moves: two batches, one after the other, move them to
        another place than both joined in one.
        """
        return type(self).update_statistics is not Layer.update_statistics

    @property
    def condition(self) -> int:
        """How many of the last numbers or channels of its input are a condition, which is given and not made."""
        return 0

    def out_shape(self, in_shape: Shape) -> Shape:
        """Shape of one output sample. Raises ShapeError if the layer cannot take `in_shape`."""
        return in_shape

    def param_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        """Names and shapes of what training changes."""
        return {}

    def statistic_shapes(self, in_shape: Shape) -> dict[str, Shape]:
        """Names and shapes of what is measured rather than trained (running mean and variance)."""
        return {}

    def macs(self, in_shape: Shape) -> int:
        """Multiply-adds of the matrix products for one sample, forward; element-wise work is not counted."""
        return 0

    def random_numbers(self, in_shape: Shape) -> int:
        """How many random numbers forward takes for one sample in training."""
        return 0

    def init(self, theta: Views, rng: np.random.Generator) -> None:
        """Fill the parameters and statistics, on the host; what is not filled is zero."""

    def forward(self, theta: Views, x: Array, *, train: bool, rng: Rng = None) -> tuple[Array, Cache]:
        """Return the output and the cache; change nothing outside the return value.

        Only layers that are random in training (dropout) need `rng`.
        """
        raise NotImplementedError

    def backward(self, theta: Views, dy: Array, cache: Cache, grads: Grads, *, need_dx: bool = True) -> Array:
        """Add the parameter gradients into `grads` and return the input gradient.

        With ``grads=None`` no parameter gradient is kept, with ``need_dx=False`` None is returned
        instead of the input gradient; the costly parts that nobody asked for are skipped. The mode
        is that of the forward pass which made `cache`.
        """
        raise NotImplementedError

    def input_gradient(self, theta: Views, dy: Array, cache: Cache) -> tuple[Array, Any]:
        """dx alone, and what `double_backward` asks for: dy, of a network that of each layer."""
        return self.backward(theta, dy, cache, None), dy

    def double_backward(
        self, theta: Views, ddx: Array, dy: Any, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        r"""The adjoint of `input_gradient`: what a penalty R on dx asks of everything that dx depends on.

        .. math:: R(dx), \quad dx = dx(dy, x, \theta), \quad ddx = \partial R / \partial dx \quad\Longrightarrow\quad
                  \partial R / \partial dy, \quad \partial R / \partial x, \quad \partial R / \partial \theta

        Adds the last one into `grads`, and returns ddy, of dy's shape, and the gradient on x; None where dx depends on
        x nowhere but at kinks. dy is what `input_gradient` returned with dx. Raises NotImplementedError for a layer
        that has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no double_backward, which gradients of gradients need")

    def grads_double_backward(
        self, theta: Views, ddtheta: Views, dy: Any, cache: Cache, grads: Grads
    ) -> tuple[Array | None, Array | None]:
        r"""The adjoint of what `backward` adds to grads: what a number R that depends on it asks of dy, x and theta.

        .. math:: R(d\theta), \quad d\theta = d\theta(dy, x, \theta), \quad dd\theta = \partial R / \partial d\theta

        Returned and added are the same as by `double_backward`; None, too, in the place of a ddy that is zero, as that
        of a layer without parameters is. Raises NotImplementedError for a layer with parameters that has none.
        """
        if len(ddtheta):
            raise NotImplementedError(f"{type(self).__name__} has no grads_double_backward, which an unrolled D needs")
        return None, None

    def unfused(self) -> "Layer":
        """The same, each layer on its own, as `double_backward` asks for."""
        return self

    def update_statistics(self, theta: Views, cache: Cache) -> None:
        """Move the running statistics towards the batch that made `cache` (a training cache)."""

    def fused(self, after: "Layer") -> "Layer | None":
        """A layer with the parameters of this one that does the work of both; None if there is none."""
        return None


class LinearMap(Layer):
    """A layer without parameters that is linear in x: dx = J^T dy, so that ddy = J ddx is what it makes of ddx."""

    def double_backward(
        self, theta: Views, ddx: Array, dy: Any, cache: Cache, grads: Grads
    ) -> tuple[Array, Array | None]:
        return self.forward(theta, ddx, train=True)[0], None


def init_params(
    net: Layer,
    in_shape: Shape,
    rng: np.random.Generator,
    *,
    dtype: DTypeLike = np.float32,
    device: Device = CPU,
) -> Params:
    """Lay out the parameters of a network for one input shape and fill them.

    The numbers are drawn on the host and then moved, so that every device starts from the same.
    Raises ShapeError, naming the layer, if the layers do not fit together; for an image of a size
    that the network cannot take, it lists the nearest ones that it can. Raises TypeError for a `dtype` other than
    float32 and float64, and for an `rng` that is no generator.
    """
    if np.dtype(dtype) not in PRECISIONS:
        raise TypeError(f"parameters are float32 or float64, not {np.dtype(dtype)}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a generator, such as np.random.default_rng(0), got {rng!r}")
    if not isinstance(in_shape, tuple):
        raise TypeError(f"in_shape must be the shape of one sample, such as (784,) or (28, 28, 1), got {in_shape!r}")
    _check_fit(net, in_shape)  # reports the first layer that does not fit, before any memory is taken
    trainable, statistics = net.param_shapes(in_shape), net.statistic_shapes(in_shape)
    size = sum(map(math.prod, (trainable | statistics).values()))
    theta = Params(np.zeros(size, dtype), trainable, statistics, in_shape)
    net.init(theta, rng)
    theta.version = 0  # counts changes from here on
    return theta.to(device)


def _check_fit(net: Layer, in_shape: Shape) -> None:
    try:
        net.out_shape(in_shape)
    except ShapeError as err:
        sizes = fitting_sizes(net, in_shape) if len(in_shape) == 3 else []
        if not sizes:
            raise
        listed = ", ".join(f"{height} x {width}" for height, width in sizes)
        raise ShapeError(f"{err}; nearest to {in_shape[0]} x {in_shape[1]}, the network takes {listed}") from None


def fitting_sizes(net: Layer, in_shape: Shape) -> list[tuple[int, int]]:
    """The nearest heights and widths (H, W) of images that a network can take in the place of (H, W, C).

    Only one of the two is changed where that is enough. Empty if there is nothing up to twice the size (or 64 more).
    """
    height, width, channels = in_shape

    def fits(h: int, w: int) -> bool:
        try:
            net.out_shape((h, w, channels))
        except ShapeError:
            return False
        return True

    one_side = [(h, width) for h in _around(height, lambda h: fits(h, width))]
    one_side += [(height, w) for w in _around(width, lambda w: fits(height, w))]
    both = itertools.product(*(_around(side, lambda n: fits(n, n)) for side in (height, width)))
    return sorted(one_side or [(h, w) for h, w in both if fits(h, w)])


def _around(size: int, fits: Callable[[int], bool]) -> list[int]:
    """The size itself if it fits, else the nearest below and above that do, of those there are."""
    if size > 0 and fits(size):
        return [size]
    below = next((n for n in range(size - 1, 0, -1) if fits(n)), None)
    above = next((n for n in range(max(size, 0) + 1, max(2 * size, size + 64) + 1) if fits(n)), None)
    return [n for n in (below, above) if n is not None]
