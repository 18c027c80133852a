"""Dense layers with our own calls of cuBLAS, a single unit with a kernel (dense.cu); see `minigan.functional.dense`."""

import numpy as np

from minigan.backend import array_module
from minigan.cuda.aside import aside
from minigan.cuda.batchnorm import column_sums
from minigan.cuda.cublas import product
from minigan.cuda.launch import launch
from minigan.cuda.layout import contiguous
from minigan.functional.dense import DenseCache
from minigan.typing import Array

THREADS = 128  # of a block, which does a sample; a power of two


def dense(x: Array, w: Array, b: Array | None = None) -> tuple[Array, DenseCache]:
    """See `minigan.functional.dense.dense`."""
    if b is not None and b.shape == (1,) and w.shape == (*x.shape[1:], 1) and x.dtype == w.dtype == b.dtype:
        return _one_unit(x, w, b), DenseCache(x)
    y = product(x, w)
    if b is not None:
        y += b
    return y, DenseCache(x)


def _one_unit(x: Array, w: Array, b: Array) -> Array:
    """x (N, I) times w (I, 1) plus b (1,), as at the end of a discriminator: too small for a product of matrices."""
    y = array_module(x).empty((len(x), 1), x.dtype)
    if len(x):
        arguments = contiguous(x), contiguous(w), contiguous(b), y, np.int32(len(w))
        launch("dense", "one_unit", (len(x),), (THREADS,), *arguments)
    return y


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
