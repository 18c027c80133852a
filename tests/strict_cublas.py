"""A stand-in for libcublas on the stand-in for CuPy: the same entry points, called through C, and NumPy behind them.

It is stricter than cuBLAS: every argument is checked against the documentation, every address must lie within the
memory of an array that is alive, streams and workspaces must be set as capturing demands. What is wrong is returned as
a status, and in words by ``cublasGetStatusString``. Written from NVIDIA's "cuBLAS Library" and its header
cublas_api.h, not from the binding that it tests; matrices lie column by column.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_double, c_float, c_int, c_longlong, c_size_t, c_void_p
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from minigan.cuda import cublas
from tests import strict_cupy, strict_graph

SUCCESS, NOT_INITIALIZED, INVALID_VALUE, NOT_SUPPORTED = 0, 1, 7, 15
TYPES = {0: (np.dtype(np.float32), c_float), 1: (np.dtype(np.float64), c_double)}  # cudaDataType_t
COMPUTE = {0: {68: False, 77: True}, 1: {70: False}}  # cublasComputeType_t for them, and whether it is TF32
ALIGNMENT = 256  # bytes, of a workspace
VERSION, PATH = (13, 1, 0), "/stand-in/libcublas.so.13"


class Refused(Exception):
    """A status other than success, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def require(condition: Any, why: str, status: int = INVALID_VALUE) -> None:
    if not condition:
        raise Refused(status, why)


class Matrices(NamedTuple):
    """Matrices that lie column by column: rows and columns as they lie, before any transposing."""

    name: str
    address: int | None
    kind: int
    leading: int
    step: int
    count: int
    rows: int
    columns: int

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """A view (count, rows, columns) of the memory itself, and the array that owns it."""
        require(self.address, f"{self.name} is a null pointer")
        require(self.kind in TYPES, f"{self.name} has type {self.kind}", NOT_SUPPORTED)
        dtype, c_type = TYPES[self.kind]
        require(self.address % dtype.itemsize == 0, f"{self.name} is not aligned")
        require(self.leading >= max(1, self.rows), f"ld{self.name} is {self.leading} for {self.rows} rows")
        require(self.step >= 0, f"stride{self.name} is {self.step}")
        number = (self.count - 1) * self.step + (self.columns - 1) * self.leading + self.rows
        owner = strict_cupy.owner_of(self.address, number * dtype.itemsize)
        require(owner is not None, f"{self.name} reaches over the memory of its array")
        flat = np.ctypeslib.as_array((c_type * number).from_address(self.address))
        strides = tuple(dtype.itemsize * n for n in (self.step, 1, self.leading))
        return np.lib.stride_tricks.as_strided(flat, (self.count, self.rows, self.columns), strides), owner


class Library:
    """What ``ctypes.CDLL("libcublas.so")`` gives: functions that know nothing of their arguments' types."""

    def __init__(self) -> None:
        self._name = PATH
        self.calls: list[str] = []  # the names of the entry points, as they were called
        self.workspaces: list[int] = []  # the addresses of those set
        self.multiplications = 0
        self._stream: int | None = None
        self._workspace: int | None = None
        self._created = False
        self._why = ctypes.create_string_buffer(b"the requested functionality is not supported", 1000)
        self._kept: list[Any] = []
        matrix, step = [c_void_p, c_int, c_int], [c_longlong]
        head = [c_void_p, c_int, c_int, c_int, c_int, c_int, c_void_p]
        self._export("cublasCreate_v2", self._create, c_void_p)
        self._export("cublasSetStream_v2", self._set_stream, c_void_p, c_void_p)
        self._export("cublasSetWorkspace_v2", self._set_workspace, c_void_p, c_void_p, c_size_t)
        self._export("cublasGemmEx", self._gemm, *head, *matrix, *matrix, c_void_p, *matrix, c_int, c_int)
        self._export(
            "cublasGemmStridedBatchedEx", self._batched,
            *head, *matrix, *step, *matrix, *step, c_void_p, *matrix, *step, c_int, c_int, c_int,
        )  # fmt: skip
        self._export("cublasGetProperty", self._property, c_int, c_void_p)
        words = ctypes.CFUNCTYPE(c_void_p, c_int)(lambda _: ctypes.addressof(self._why))
        self._export_pointer("cublasGetStatusString", words)

    def _export(self, name: str, function: Callable[..., None], *types: Any) -> None:
        def entry(*arguments: Any) -> int:
            self.calls.append(name)
            try:
                function(*arguments)
            except Refused as refusal:
                self._why.value = str(refusal).encode()
                return refusal.status
            except BaseException as err:  # none may leave a C function
                self._why.value = repr(err).encode()[:999]
                return INVALID_VALUE
            return SUCCESS

        self._export_pointer(name, ctypes.CFUNCTYPE(c_int, *types)(entry))

    def _export_pointer(self, name: str, callback: Any) -> None:
        """As a library has it: an address and no prototype, so that the caller's own must be right."""
        self._kept.append(callback)
        setattr(self, name, _Foreign(ctypes.cast(callback, c_void_p).value))

    def _property(self, part: int, value: int | None) -> None:
        require(value and 0 <= part < 3, f"the property is {part}")
        c_int.from_address(value).value = VERSION[part]

    def _create(self, handle: int | None) -> None:
        require(handle, "no place for the handle")
        strict_graph.refuse("cublasCreate")  # which allocates
        self._created = True
        c_void_p.from_address(handle).value = id(self)

    def _set_stream(self, handle: int | None, stream: int | None) -> None:
        self._known(handle)
        self._stream, self._workspace = stream or 0, None  # back to cuBLAS's own workspace

    def _set_workspace(self, handle: int | None, workspace: int | None, size: int) -> None:
        self._known(handle)
        require(workspace and workspace % ALIGNMENT == 0, f"the workspace is not aligned to {ALIGNMENT} bytes")
        require(size >= 32 << 20, f"a workspace of {size} bytes is less than what NVIDIA recommends")
        require(strict_cupy.owner_of(workspace, size) is not None, "the workspace is no memory of ours")
        self._workspace = workspace
        self.workspaces.append(workspace)

    def _known(self, handle: int | None) -> None:
        require(self._created and handle == id(self), "the handle is none of ours", NOT_INITIALIZED)

    def _ready(self, handle: int | None, algorithm: int) -> None:
        self._known(handle)
        current = sys.modules["cupy"].cuda.get_current_stream().ptr
        require(self._stream == current, f"the stream is {self._stream}, CuPy's is {current}")
        require(self._workspace, "no workspace was set after the stream")
        require(strict_cupy.owner_of(self._workspace, 32 << 20) is not None, "the workspace has been freed")
        require(algorithm == -1, f"the algorithm is {algorithm}")

    def _gemm(self, handle, ta, tb, m, n, k, alpha, a, at, lda, b, bt, ldb, beta, c, ct, ldc, compute, algorithm):
        self._batched(
            handle, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc, 0, 1, compute, algorithm
        )

    def _batched(
        self, handle, ta, tb, m, n, k, alpha, a, at, lda, sa, b, bt, ldb, sb, beta, c, ct, ldc, sc,
        count, compute, algorithm,
    ) -> None:  # fmt: skip
        self._ready(handle, algorithm)
        require(ta in (0, 1) and tb in (0, 1), f"the operations are {ta} and {tb}")
        require(min(m, n, k, count) >= 1, f"m, n, k = {m}, {n}, {k}, {count} times")
        require(at == bt == ct, f"the types are {at}, {bt} and {ct}", NOT_SUPPORTED)
        left = Matrices("a", a, at, lda, sa, count, *((k, m) if ta else (m, k)))
        right = Matrices("b", b, bt, ldb, sb, count, *((n, k) if tb else (k, n)))
        target = Matrices("c", c, ct, ldc, sc, count, m, n)
        behind, beside = sc >= ldc * (n - 1) + m, m <= sc and (count - 1) * sc + m <= ldc
        require(count == 1 or behind or beside, f"stridec is {sc}: the results overlap")
        require(compute in COMPUTE.get(at, ()), f"compute type {compute} for type {at}", NOT_SUPPORTED)
        self.multiplications += m * n * k * count
        launch((left, right, target), (ta, tb), (_scalar(alpha, at), _scalar(beta, at)), COMPUTE[at][compute])


class _Foreign(ctypes._CFuncPtr):  # type: ignore[name-defined]  # the class behind the functions of a CDLL
    _flags_ = ctypes._FUNCFLAG_CDECL  # type: ignore[attr-defined]
    _restype_ = c_int


def _scalar(address: int | None, kind: int) -> float:
    """alpha or beta, which lies on the host and is read at the launch."""
    require(address, "alpha or beta is a null pointer")
    require(kind in TYPES, f"type {kind}", NOT_SUPPORTED)
    return TYPES[kind][1].from_address(address).value


def launch(abc: tuple[Matrices, ...], transposed: tuple[int, int], scalars: tuple[float, float], tf32: bool) -> None:
    """C = alpha A B + beta C; C is not read if beta is 0."""
    (a, owner_a), (b, owner_b), (c, owner_c) = (matrices.read() for matrices in abc)
    alpha, beta = scalars
    require(not np.shares_memory(c, a) and not np.shares_memory(c, b), "c overlaps a factor")
    require(owner_c.flags.writeable, "c is not writeable")
    a, b = (m.swapaxes(1, 2) if turned else m for m, turned in zip((a, b), transposed, strict=True))

    def work() -> None:
        x, y = (_rounded(a), _rounded(b)) if tf32 else (a, b)
        result = alpha * np.matmul(x, y)
        c[...] = result if beta == 0 else result + beta * c

    work.memory = owner_a, owner_b, owner_c  # type: ignore[attr-defined]  # alive as long as it can be launched
    if not strict_graph.record(work):
        work()


def _rounded(numbers: np.ndarray) -> np.ndarray:
    """To TF32: 10 bits behind the point instead of 23."""
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    rounded = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(numbers), rounded, numbers)


@contextmanager
def installed() -> Iterator[Library]:
    """Let minigan's binding find the stand-in within the block, with no handle from before."""
    library = Library()
    with patch.object(cublas, "load", lambda _: library), patch.dict(cublas._handles, clear=True):
        yield library
