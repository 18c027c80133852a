r"""Products that are added to what is there, :math:`C = C + A B`, by the OpenBLAS that comes with NumPy.

NumPy's matmul replaces C. To add by it, the product goes to memory of its own, and C is read and written once more: a
quarter of the time of a weight gradient over a hundred samples. The library itself adds while it writes.
Source of names and constants: cblas.h of OpenBLAS; NumPy's own copy takes sizes of 64 bits.
"""

import ctypes
import math
from ctypes import c_double, c_float, c_int, c_int64, c_void_p
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from minigan.kernels.workers import multiply as share_product
from minigan.kernels.workers import run_errands, scratch

PART = 1 << 20  # multiply-adds that are worth a worker
SMALL = 1 << 17  # numbers in C: fewer are added faster than the call is prepared, for which workers take turns

_ROW_MAJOR, _AS_IT_LIES, _TRANSPOSED = 101, 111, 112
# By NumPy's letter for the numbers, which is found sooner than their name.
_NAMES = {"f": ("scipy_cblas_sgemm64_", c_float), "d": ("scipy_cblas_dgemm64_", c_double)}


def add_product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Add ``a @ b`` to `out`, in place: a (M, K), b (K, N), out (M, N), which overlaps neither."""
    gemm = _gemm(out.dtype.char) if out.size >= SMALL and _fit(a, b, out) else None
    (way_a, step_a), (way_b, step_b), (way, step) = map(_layout, (a, b, out))
    if gemm is None or not (way_a and way_b and way == _AS_IT_LIES):
        out += np.matmul(a, b, out=scratch("product", out.shape, out.dtype))
        return
    factors = (a.ctypes.data, step_a, b.ctypes.data, step_b)
    gemm(_ROW_MAJOR, way_a, way_b, *out.shape, a.shape[1], 1.0, *factors, 1.0, out.ctypes.data, step)


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray, columns: bool, add: bool = False) -> bool:
    """Put ``a @ b`` into `out`, or add it, by all workers: each computes some of its columns, or of its rows.

    Parameters as of `add_product`. Returns whether it was done: not where workers have no letterboxes, or the library's
    product cannot be called.
    """
    if not run_errands() or not _fit(a, b, out):
        return False
    (way_a, step_a), (way_b, step_b), (way, step) = map(_layout, (a, b, out))
    if not (way_a and way_b and way == _AS_IT_LIES) or not (address := _address(out.dtype.char)):
        return False
    sizes = out.shape[0], out.shape[1], a.shape[1]
    c = out.ctypes.data, step
    job = [0, address, out.itemsize == 8, way_a, way_b, *sizes, a.ctypes.data, step_a, b.ctypes.data, step_b, add, *c]
    share_product(np.array(job, np.int64), columns, max(2, math.prod(sizes) // PART))
    return True


@cache
def _address(dtype: str) -> int:
    """Where the library's product lies; 0 if it cannot be called."""
    gemm = _gemm(dtype)
    return 0 if gemm is None else ctypes.cast(gemm, c_void_p).value or 0


def _fit(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> bool:
    """What the library does not ask: it would read and write beyond the end. NumPy has a word for what does not fit."""
    of_one_kind = a.dtype == b.dtype == out.dtype and out.dtype.isnative and out.flags.writeable
    return of_one_kind and a.shape[1] == len(b) and out.shape == (len(a), b.shape[1])


def _layout(matrix: np.ndarray) -> tuple[int, int]:
    """How a matrix lies in memory, and the distance of its rows or, transposed, its columns; (0, 0) if otherwise."""
    (rows, columns), (down, across), size = matrix.shape, matrix.strides, matrix.itemsize
    if down % size or across % size or not matrix.size:
        return 0, 0
    if across == size and down >= columns * size:
        return _AS_IT_LIES, down // size
    if down == size and across >= rows * size:
        return _TRANSPOSED, across // size
    return 0, 0


@cache  # to look through all libraries of the process takes milliseconds
def _gemm(dtype: str) -> Any:
    """The library's product; None where NumPy has another one, or where it does not compute what it should."""
    if dtype not in _NAMES:
        return None
    name, number = _NAMES[dtype]
    for library in threadpool_info():
        if library["internal_api"] == "openblas" and (gemm := getattr(_loaded(library["filepath"]), name, None)):
            matrix = [c_void_p, c_int64]
            gemm.argtypes = [*[c_int] * 3, *[c_int64] * 3, number, *matrix, *matrix, number, *matrix]
            gemm.restype = None
            return gemm if _computes(gemm, dtype) else None
    return None


def _loaded(path: str) -> Any:
    """A library that is in the process already; None if it cannot be asked."""
    try:
        return ctypes.CDLL(path)
    except OSError:
        return None


def _computes(gemm: Any, dtype: str) -> bool:
    """Whether 1 + (1, 2) (3, 4)^T is 12, with the second factor in either layout."""
    a, b, out = np.array([[1, 2]], dtype), np.array([[3], [4]], dtype), np.ones((1, 2), dtype)
    for way, step, place in ((_AS_IT_LIES, 1, 0), (_TRANSPOSED, 2, 1)):
        there = out.ctypes.data + place * out.itemsize
        gemm(_ROW_MAJOR, _AS_IT_LIES, way, 1, 1, 2, 1.0, a.ctypes.data, 2, b.ctypes.data, step, 1.0, there, 1)
    return out.tolist() == [[12, 12]]
