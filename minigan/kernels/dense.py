"""Dense layers on the workers: each computes some of the columns; see `minigan.functional.dense`."""

import numpy as np

from minigan.backend import expect_shape
from minigan.functional.dense import DenseCache
from minigan.kernels.blas import PART, add_product, multiply
from minigan.kernels.loops import loops
from minigan.kernels.workers import share, threads
from minigan.processor import cpuinfo

# Multiply-adds below which a second worker gains nothing. On Intel's processors of many cores a matrix that another one
# has just written arrives more slowly.
ERRAND = 2 * PART  # the same for products that workers compute without Python's lock
LARGE = 1 << 26  # from there on w dy^T, which has to be turned, is faster than dy w^T, which need not
PRODUCTS = 1 << (22 if cpuinfo()[0] == "GenuineIntel" else 21)


def dense(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, DenseCache]:
    """See `minigan.functional.dense.dense`."""
    if x.ndim != 2:
        return NotImplemented
    if b is not None:
        expect_shape("b", b, w.shape[1:])
    y = np.empty((len(x), w.shape[1]), x.dtype)
    if _worth_it(x, w.shape[1]) and multiply(x, w, y, columns=True):
        if b is not None:
            y += b
        return y, DenseCache(x)

    def part(i: int, j: int) -> None:
        np.matmul(x, w[:, i:j], out=y[:, i:j])
        if b is not None:
            y[:, i:j] += b[i:j]

    share(part, w.shape[1], _smallest(x))
    return y, DenseCache(x)


def dense_input_grad(dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    """See `minigan.functional.dense.dense_input_grad`; BLAS computes w dy^T faster than dy w^T.

    Behind D's one logit, where there is nothing to sum, NumPy multiplies several times as fast as BLAS.
    """
    dx = np.empty((len(dy), len(w)), dy.dtype)
    if dy.shape[1:] == w.shape[1:] == (1,):
        share(lambda i, j: np.multiply(dy, w[i:j].T, out=dx[:, i:j]), len(w), _smallest(dy))
        return dx
    if _worth_it(dy, len(w)) and dy.size * len(w) < LARGE and multiply(dy, w.T, dx, columns=True):
        return dx

    def part(i: int, j: int) -> None:
        dx[:, i:j] = np.matmul(w[i:j], dy.T).T

    share(part, len(w), _smallest(dy))
    return dx


def dense_weight_grad(dy: np.ndarray, cache: DenseCache, total: np.ndarray | None = None) -> np.ndarray:
    """See `minigan.functional.dense.dense_weight_grad`."""
    rows = cache.x.T  # (I, N), some of them a worker
    shape = len(rows), dy.shape[1]
    if total is not None:
        expect_shape("total", total, shape)
    dw = np.empty(shape, dy.dtype) if total is None else total
    if _worth_it(dy, len(rows)) and multiply(rows, dy, dw, columns=False, add=total is not None):
        return dw

    def part(i: int, j: int) -> None:
        if total is None:
            np.matmul(rows[i:j], dy, out=dw[i:j])
        else:
            add_product(rows[i:j], dy, dw[i:j])

    share(part, len(rows), _smallest(dy))
    return dw


def dense_bias_grad(dy: np.ndarray, total: np.ndarray | None = None) -> np.ndarray:
    """See `minigan.functional.dense.dense_bias_grad`."""
    if dy.ndim != 2 or not dy.flags.c_contiguous:
        return NotImplemented
    db = loops.column_sums(dy)  # in double precision
    if total is None:
        return db.astype(dy.dtype)
    total += db
    return total


def _worth_it(whole: np.ndarray, others: int) -> bool:
    """Whether a second worker saves more time than the way to it takes, for a product without Python's lock."""
    return threads() > 1 and whole.size * others >= ERRAND


def _smallest(whole: np.ndarray) -> int:
    """Of the other factor's columns or rows, how many are worth a worker, who multiplies each by all of this one."""
    return max(1, PRODUCTS // (whole.size or 1))
