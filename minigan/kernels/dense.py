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
    """See `minigan.functional.dense.dense_input_grad`; BLAS computes w dy^T faster than dy w^T."""
    dx = np.empty((len(dy), len(w)), dy.dtype)

    def part(i: int, j: int) -> None:
        dx[:, i:j] = np.matmul(w[i:j], dy.T).T

    share(part, len(w), _smallest(dy))
    return dx


def dense_weight_grad(dy: np.ndarray, cache: DenseCache) -> np.ndarray:
    """See `minigan.functional.dense.dense_weight_grad`."""
    return _columns(cache.x.T, dy) if dy.shape[1] >= cache.x.shape[1] else _rows(cache.x.T, dy)


def _columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product a b, some columns a worker."""
    product = np.empty((len(a), b.shape[1]), a.dtype)
    share(lambda i, j: np.matmul(a, b[:, i:j], out=product[:, i:j]), b.shape[1], _smallest(a))
    return product


def _rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product a b, some rows a worker."""
    product = np.empty((len(a), b.shape[1]), a.dtype)
    share(lambda i, j: np.matmul(a[i:j], b, out=product[i:j]), len(a), _smallest(b))
    return product


def _smallest(whole: np.ndarray) -> int:
    """Of the other factor's columns or rows, how many are worth a worker, who multiplies each by all of this one."""
    return max(1, PRODUCTS // (whole.size or 1))
