"""Dense layers on the workers: each computes some of the columns; see `minigan.functional.dense`."""

import numpy as np

from minigan.functional.dense import DenseCache
from minigan.kernels.workers import share

PRODUCTS = 1 << 21  # multiply-adds below which a second worker gains nothing


def dense(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, DenseCache]:
    """See `minigan.functional.dense.dense`."""
    y = _columns(x, w)
    if b is not None:
        y += b
    return y, DenseCache(x)


def dense_input_grad(dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    """See `minigan.functional.dense.dense_input_grad`; BLAS computes w dy^T a quarter faster than dy w^T."""
    return np.ascontiguousarray(_rows(w, dy.T).T)


def dense_weight_grad(dy: np.ndarray, cache: DenseCache) -> np.ndarray:
    """See `minigan.functional.dense.dense_weight_grad`."""
    return _columns(cache.x.T, dy) if dy.shape[1] >= cache.x.shape[1] else _rows(cache.x.T, dy)


def _columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product a b, some columns a worker."""
    product = np.empty((len(a), b.shape[1]), a.dtype)
    smallest = max(1, PRODUCTS // (a.size or 1))
    share(lambda i, j: np.matmul(a, b[:, i:j], out=product[:, i:j]), b.shape[1], smallest)
    return product


def _rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product a b, some rows a worker."""
    product = np.empty((len(a), b.shape[1]), a.dtype)
    smallest = max(1, PRODUCTS // (b.size or 1))
    share(lambda i, j: np.matmul(a[i:j], b, out=product[i:j]), len(a), smallest)
    return product
