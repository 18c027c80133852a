"""Matrix products by cuBLAS, called directly: CuPy does not call it while a stream is being captured.

cuBLAS reads matrices column by column, the rest of us row by row. The same numbers read the other way are the
transposed matrix, and :math:`C^\\top = B^\\top A^\\top`: exchanging the two factors is all it takes, nothing is copied.
Entry points and constants: NVIDIA, "cuBLAS Library", and the headers cublas_api.h and library_types.h of CUDA 12.9.
"""

import ctypes
import os
import threading
from ctypes import c_double, c_float, c_int, c_longlong, c_size_t, c_void_p
from importlib import import_module
from typing import Any, NamedTuple

from minigan.backend import GPUUnavailable, array_module
from minigan.errors import UserError
from minigan.typing import Array

WORKSPACE = 32 << 20  # bytes: what NVIDIA recommends for Hopper, and more than others need
LARGEST = 2**31 - 1  # cuBLAS takes sizes as 32-bit integers

_N, _T = 0, 1  # cublasOperation_t: as it lies in memory, or transposed
_ANY_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT: cuBLAS chooses
_TF32 = 77  # CUBLAS_COMPUTE_32F_FAST_TF32

_MATRIX, _STEP = [c_void_p, c_int, c_int], [c_longlong]  # address, type and leading dimension; distance in a batch
_SHAPE, _SCALAR = [c_void_p, *[c_int] * 5], [c_void_p]  # handle, two operations, m, n, k; alpha or beta
_SIGNATURES: dict[str, list[Any]] = {
    "cublasCreate_v2": [c_void_p],
    "cublasSetStream_v2": [c_void_p, c_void_p],
    "cublasSetWorkspace_v2": [c_void_p, c_void_p, c_size_t],
    "cublasGemmEx": [*_SHAPE, *_SCALAR, *_MATRIX, *_MATRIX, *_SCALAR, *_MATRIX, c_int, c_int],
    "cublasGemmStridedBatchedEx": [
        *_SHAPE, *_SCALAR, *_MATRIX, *_STEP, *_MATRIX, *_STEP, *_SCALAR, *_MATRIX, *_STEP, c_int, c_int, c_int
    ],
    "cublasGetStatusString": [c_int],
}  # fmt: skip


class CublasError(UserError):
    """cuBLAS gave another status than success."""


class _Numbers(NamedTuple):
    """What cuBLAS must know about a dtype."""

    kind: int  # cudaDataType_t
    compute: int  # cublasComputeType_t
    zero: Any  # alpha and beta, read by the host when the product is launched
    one: Any


_NUMBERS = {
    "float32": _Numbers(0, 68, c_float(0), c_float(1)),  # CUDA_R_32F, CUBLAS_COMPUTE_32F
    "float64": _Numbers(1, 70, c_double(0), c_double(1)),  # CUDA_R_64F, CUBLAS_COMPUTE_64F
}


def product(a: Array, b: Array, out: Array | None = None, *, add: bool = False) -> Array:
    r"""Multiply matrices: :math:`C = A B`, or :math:`C = C + A B` with `add`.

    Parameters: a (M, K), b (K, N) and out (M, N), or a (G, M, K), b (G, K, N) and out (G, M, N) for G products at once.
    All are float32, or all float64. Views are read where they lie if their rows or their columns are in one piece,
    others are copied; `out` must have its rows in one piece, and must not overlap the factors.
    With CUPY_TF32=1 in the environment, float32 is multiplied in TF32: 10 bits behind the point, sums in float32.
    Returns out, a new array if None was given. Raises ValueError for shapes that do not fit, TypeError for other
    dtypes, CublasError if cuBLAS refuses, GPUUnavailable where there is no cuBLAS.
    """
    xp = array_module(a, b)
    _check_factors(a, b)
    shape = (*a.shape[:-1], b.shape[-1])
    if out is None:
        if add:
            raise ValueError("add=True needs an array to add to")
        out = xp.empty(shape, dtype=a.dtype)
    elif out.shape != shape or out.dtype != a.dtype:
        raise ValueError(f"out is {out.dtype} {out.shape}, the product {a.dtype} {shape}")
    if out.size == 0 or a.shape[-1] == 0:  # no sums, or empty ones
        return out if add else _zero(out)
    _launch(xp, _matrix(xp, b), _matrix(xp, a), _target(out), out, a.shape[-1], add)
    return out


def _check_factors(a: Array, b: Array) -> None:
    if a.ndim not in (2, 3) or a.ndim != b.ndim or a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
        raise ValueError(f"no product of {a.shape} and {b.shape}: (M, K) and (K, N), or both with the same G before")
    if a.dtype != b.dtype or a.dtype.name not in _NUMBERS:
        raise TypeError(f"no product of {a.dtype} and {b.dtype}: both must be float32, or both float64")


def _zero(out: Array) -> Array:
    out.fill(0)
    return out


class _Matrix(NamedTuple):
    """Where a matrix, or each of a batch, lies in the GPU's memory."""

    array: Array  # the owner of that memory
    operation: int
    leading: int  # numbers from one row to the next, or from one column to the next if transposed
    step: int  # and from one matrix to the next


def _matrix(xp: Any, array: Array) -> _Matrix:
    """As it lies there if its rows or its columns are in one piece, else a copy."""
    return _as_it_lies(array) or _as_it_lies(xp.ascontiguousarray(array))  # type: ignore[return-value]


def _target(out: Array) -> _Matrix:
    found = _as_it_lies(out)
    if found is None or found.operation != _N:
        raise ValueError(f"out must have its rows in one piece, got shape {out.shape} with strides {out.strides}")
    return found


def _as_it_lies(array: Array) -> _Matrix | None:
    """An axis of length 1 may have any stride, so only those of longer axes count."""
    rows, columns = array.shape[-2:]
    *steps, down, right = (stride // array.itemsize for stride in array.strides)
    step = steps[0] if steps else 0
    if (columns == 1 or right == 1) and (rows == 1 or down >= columns):
        return _Matrix(array, _N, down if rows > 1 else columns, step)
    if (rows == 1 or down == 1) and (columns == 1 or right >= rows):
        return _Matrix(array, _T, right if columns > 1 else rows, step)
    return None


def _launch(xp: Any, left: _Matrix, right: _Matrix, target: _Matrix, out: Array, depth: int, add: bool) -> None:
    """Column by column: the transposed `out` is the transposed second factor times the transposed first."""
    numbers = _NUMBERS[out.dtype.name]
    compute = _TF32 if out.dtype.name == "float32" and in_tf32() else numbers.compute
    columns, rows = out.shape[-1], out.shape[-2]
    if max(columns, rows, depth, left.leading, right.leading, target.leading) > LARGEST:
        raise ValueError(f"cuBLAS takes sizes up to {LARGEST}, not {rows} x {depth} x {columns}")
    alpha, beta = ctypes.byref(numbers.one), ctypes.byref(numbers.one if add else numbers.zero)
    a, b, c = ([m.array.data.ptr, numbers.kind, m.leading] for m in (left, right, target))
    handle = _handle(xp)
    head = (left.operation, right.operation, columns, rows, depth, alpha)
    if out.ndim == 2 or len(out) == 1:
        handle.call("cublasGemmEx", *head, *a, *b, beta, *c, compute, _ANY_ALGORITHM)
    else:
        for matrix, m in zip((a, b, c), (left, right, target), strict=True):
            matrix.append(m.step)
        handle.call(
            "cublasGemmStridedBatchedEx", *head, *a, *b, beta, *c, len(out), compute, _ANY_ALGORITHM
        )  # fmt: skip


def in_tf32() -> bool:
    """The switch that CuPy has for its own products."""
    return os.environ.get("CUPY_TF32", "0") != "0"


# -- The library -----------------------------------------------------------------------------------------


class _Handle:
    """cuBLAS's context, which works on one stream at a time, in memory of ours.

    Setting a stream takes the workspace away, and with its own, cuBLAS would allocate during a capture. Two streams
    may be at work at the same time, so each has a workspace of its own, as long as the process lives: a captured
    graph goes on using it.
    """

    def __init__(self, xp: Any) -> None:
        self._cuda, self._library = xp.cuda, load(xp)
        for name, arguments in _SIGNATURES.items():
            getattr(self._library, name).argtypes = arguments
        self._library.cublasGetStatusString.restype = ctypes.c_char_p
        self._pointer = c_void_p()
        self._stream: int | None = None
        self._workspaces: dict[int, Any] = {}
        self._check("cublasCreate_v2", self._library.cublasCreate_v2(ctypes.byref(self._pointer)))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of cuBLAS on CuPy's current stream. Raises CublasError."""
        stream = self._cuda.get_current_stream().ptr
        if stream != self._stream:
            self._move(stream)
        self._check(name, getattr(self._library, name)(self._pointer, *arguments))

    def _move(self, stream: int) -> None:
        self._stream = None  # should one of the calls fail
        if stream not in self._workspaces:
            self._workspaces[stream] = self._cuda.Memory(WORKSPACE)  # of the driver, in no pool
        self._check("cublasSetStream_v2", self._library.cublasSetStream_v2(self._pointer, stream))
        workspace = self._workspaces[stream].ptr
        self._check("cublasSetWorkspace_v2", self._library.cublasSetWorkspace_v2(self._pointer, workspace, WORKSPACE))
        self._stream = stream

    def _check(self, name: str, status: int) -> None:
        if status != 0:
            why = self._library.cublasGetStatusString(status).decode()
            raise CublasError(f"{name} failed: {why} (status {status}); --kernels plain leaves the products to CuPy")


_handles: dict[tuple[int, int], _Handle] = {}  # by device and thread: two threads must not move one handle


def _handle(xp: Any) -> _Handle:
    key = (xp.cuda.runtime.getDevice(), threading.get_ident())
    if key not in _handles:
        _handles[key] = _Handle(xp)
    return _handles[key]


def load(xp: Any) -> Any:
    """libcublas as NVIDIA's pathfinder finds it, which CuPy from version 14 on uses too; else by its name."""
    try:
        path = import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublas").abs_path
    except (ImportError, RuntimeError):  # not installed; not found
        path = None
    major = xp.cuda.runtime.runtimeGetVersion() // 1000
    try:
        return ctypes.CDLL(path or (f"cublas64_{major}.dll" if os.name == "nt" else f"libcublas.so.{major}"))
    except OSError as err:
        raise GPUUnavailable(f"no cuBLAS ({err}); install it with: pip install nvidia-cublas-cu{major}") from err
