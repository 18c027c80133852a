"""Dense layers with our own calls of cuBLAS; see `minigan.functional.dense`."""

from minigan.cuda.aside import aside
from minigan.cuda.batchnorm import column_sums
from minigan.cuda.cublas import product
from minigan.functional.dense import DenseCache
from minigan.typing import Array


def dense(x: Array, w: Array, b: Array | None = None) -> tuple[Array, DenseCache]:
    """See `minigan.functional.dense.dense`."""
    y = product(x, w)
    if b is not None:
        y += b
    return y, DenseCache(x)


def dense_input_grad(dy: Array, w: Array) -> Array:
    """See `minigan.functional.dense.dense_input_grad`."""
    return product(dy, w.T)


def dense_weight_grad(dy: Array, cache: DenseCache, total: Array | None = None) -> Array:
    """See `minigan.functional.dense.dense_weight_grad`; the product itself adds to the total, maybe aside."""
    if total is None:
        return product(cache.x.T, dy)
    with aside(cache.x, dy):
        return product(cache.x.T, dy, total, add=True)


def dense_bias_grad(dy: Array, total: Array | None = None) -> Array:
    """See `minigan.functional.dense.dense_bias_grad`."""
    return column_sums(dy, total)
