"""Reshape each sample: no arithmetic, so the gradient is the inverse reshape."""

from typing import NamedTuple

from minigan.typing import Array, Shape


class ReshapeCache(NamedTuple):
    shape: Shape  # the input's shape, batch axis included


def reshape(x: Array, shape: Shape) -> tuple[Array, ReshapeCache]:
    """Give each of the N samples a new shape, in C order: x (N, ...) becomes (N, *shape)."""
    return x.reshape(len(x), *shape), ReshapeCache(x.shape)


def reshape_backward(dy: Array, cache: ReshapeCache) -> Array:
    """Entry k of dy is the gradient of entry k of x: only the shape changes back, from (N, *shape) to that of x."""
    return dy.reshape(cache.shape)
