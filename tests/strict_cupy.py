"""A stand-in for CuPy that is stricter than CuPy, so that GPU code can be tested without a GPU.

``with installed() as device:`` puts it where ``import cupy`` finds it and yields a minigan Device. Its
arrays wrap NumPy arrays and compute with NumPy, so results equal NumPy's bit for bit. What differs:

* a name, argument or operator that CuPy lacks is refused (``cupy_api.json`` says what CuPy has);
* an array never turns into a NumPy array by itself, and the two never mix in one operation;
* whatever would make the host wait for the GPU is counted, and so are copies to the GPU:
  ``with counting() as counts: ...; assert counts.synchronisations == 0``, or forbidden:
  ``with forbid_synchronisation(): ...``;
* ``with forbid_dtype("float64"): ...`` finds the step where float32 became float64;
* minigan's own calls of cuBLAS go to the stand-in in ``tests/strict_cublas.py``, on addresses ``array.data.ptr``.
* CUDA sources are compiled for the CPU and run there: strict_kernels.

Stricter than CuPy itself: NumPy's functions on its arrays (CuPy takes over), NumPy arrays and
repeated places in an index, indices out of range (CuPy wraps around), reading fresh memory (NaN here).

Graphs are in strict_graph, through which every operation goes.

Not imitated: random numbers, rounding and order of summation on a GPU,
and memory order (CuPy's element-wise results are always C-contiguous, NumPy's keep their inputs' order).
"""

import inspect
import json
import operator
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from minigan.backend import Device
from tests import strict_graph, strict_kernels
from tests.strict_graph import CUDARuntimeError

API = json.loads((Path(__file__).parent / "cupy_api.json").read_text())

# -- What is counted and what is forbidden at the moment ------------------------------------------------


@dataclass
class Counts:
    """Names of what made the host wait for the GPU, and of what copied host data to it."""

    waits: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)

    @property
    def synchronisations(self) -> int:
        return len(self.waits)

    @property
    def uploads(self) -> int:
        return len(self.copies)


class Synchronised(AssertionError):
    """The host waited for the GPU where that was forbidden."""


_counters: list[Counts] = []
_forbidden_dtypes: list[str] = []
_no_waiting: list[bool] = []


@contextmanager
def counting() -> Iterator[Counts]:
    """Count the synchronisations and uploads within the block."""
    counts = Counts()
    _counters.append(counts)
    try:
        yield counts
    finally:
        _counters.pop()


@contextmanager
def forbid_synchronisation() -> Iterator[None]:
    """Raise Synchronised at the first operation within the block that waits for the GPU."""
    _no_waiting.append(True)
    try:
        yield
    finally:
        _no_waiting.pop()


@contextmanager
def forbid_dtype(*names: str) -> Iterator[None]:
    """Raise TypeError where an array of these dtypes is created or an operation computes in them."""
    before = len(_forbidden_dtypes)
    _forbidden_dtypes.extend(np.dtype(name).name for name in names)
    try:
        yield
    finally:
        del _forbidden_dtypes[before:]


def _waited(cause: str) -> None:
    strict_graph.refuse(cause)
    for counts in _counters:
        counts.waits.append(cause)
    if _no_waiting:
        raise Synchronised(f"{cause} waits for the GPU")


def _uploaded(cause: str) -> None:
    strict_graph.refuse(cause)
    for counts in _counters:
        counts.copies.append(cause)


def _check_dtype(dtype: np.dtype, name: str) -> None:
    if dtype.name in _forbidden_dtypes:
        raise TypeError(f"{name} computes in {dtype.name}, which is forbidden here")


# -- What the snapshot does not tell: read in the sources of CuPy 14.2 -----------------------------------


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions and methods that wait for the GPU whatever their arguments are,
ALWAYS_WAIT = _names(
    "argwhere asarray_chkfinite bincount choose compress cond delete diag_indices_from extract flatnonzero "
    "interp intersect1d ix_ nanmax nanmin nonzero place ravel_multi_index real_if_close setdiff1d setxor1d "
    "shares_memory trim_zeros union1d unique unique_all unique_counts unique_inverse unique_values "
    "unravel_index"
)
# and those that wait for some: the function gets the arguments by name.
WAIT_IF: dict[str, Callable[..., bool]] = {
    "array_equal": lambda equal_nan=False, **_: equal_nan,
    "average": lambda weights=None, **_: weights is not None,
    "cov": lambda fweights=None, aweights=None, **_: fweights is not None or aweights is not None,
    "gradient": lambda varargs=(), **_: any(isinstance(spacing, ndarray) for spacing in varargs),
    "pad": lambda pad_width=None, **_: isinstance(pad_width, ndarray),
    "percentile": lambda q=None, **_: isinstance(q, ndarray),
    "quantile": lambda q=None, **_: isinstance(q, ndarray),
    "repeat": lambda repeats=None, **_: not isinstance(repeats, int | np.integer),
}
# Parameters for which CuPy takes a list and copies it to the GPU.
LISTS_UPLOADED = {"repeat": "repeats", "take": "indices"}
# Functions that join arrays; the addresses of more than eight are copied to the GPU.
ADDRESSES_UPLOADED = _names("concat concatenate stack")
# What the first argument must be, where it is not one array.
HOST_FIRST = _names(
    "arange bartlett blackman broadcast_shapes diag_indices empty eye full hamming hanning identity indices "
    "kaiser linspace logspace ones tri tril_indices triu_indices zeros"
)
ANYTHING_FIRST = _names(
    "can_cast common_type einsum iscomplexobj isrealobj isscalar min_scalar_type ndim promote_types result_type shape"
)
SEQUENCE_FIRST = _names("column_stack concat concatenate dstack hstack row_stack select stack vstack")
# Parameters that are arrays or scalars, never lists, in whatever function they occur.
OPERANDS = _names("a1 a2 a_max a_min b condition fill_value max min v values where x x1 x2 y")
# Parameters of which CuPy takes only some values.
REFUSED: dict[str, Callable[[Any], bool]] = {
    "kind": lambda kind: kind not in (None, "stable"),
    "subok": lambda subok: subok is not None,
}
# CuPy leaves the answer on the device where NumPy returns a Python bool or int.
ANSWERS_ON_DEVICE = _names("allclose array_equal array_equiv count_nonzero")
# CuPy has `dtype` where NumPy has `out`, so the arguments go over by name.
INDEX_REDUCTIONS = _names("argmax argmin nanargmax nanargmin")
# The dtypes for which CuPy's ufuncs have `.at`; other ufuncs have none.
_ATOMIC = _names("int32 int64 uint32 uint64 float32 float64")
_BITWISE = _names("int32 int64 uint32 uint64")
AT_DTYPES = {
    "add": _ATOMIC | {"float16"},
    "subtract": frozenset({"int32", "uint32"}),
    "maximum": _ATOMIC,
    "minimum": _ATOMIC,
    "bitwise_and": _BITWISE,
    "bitwise_or": _BITWISE,
    "bitwise_xor": _BITWISE,
}
REDUCE = {"add": "sum", "multiply": "prod"}
ACCUMULATE = {"add": "cumsum", "multiply": "cumprod"}
# In CuPy and in NumPy, but with other rules or of no use in a layer: calling them raises NotImplementedError.
NOT_MODELLED = _names(
    "apply_along_axis array2string array_repr array_str frombuffer fromfile fromfunction fromiter fromstring "
    "from_dlpack genfromtxt histogram histogram2d histogramdd lexsort load loadtxt mask_indices piecewise put "
    "save savetxt savez savez_compressed show_config unpackbits"
)
NOT_MODELLED_ON_ARRAYS = _names(
    "base cstruct dump dumps flat mdspan put reduced_view scatter_add scatter_max scatter_min toDlpack tofile"
)
SUPPORTED_DTYPES = "?bBhHiIlLqQefdFD"
PYTHON_SCALARS = (bool, int, float, complex)


class _NotModelled:
    """Something that CuPy has and the stand-in does not imitate; mentioning it is fine, using it is not."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def _refuse(self, *_: object, **__: object) -> Any:
        raise NotImplementedError(f"cupy.{self.__name__} exists, but the stand-in does not imitate it")

    __call__ = __getitem__ = __getattr__ = _refuse


# -- From the device to the host and back, call by call ----------------------------------------------------------


class _Call:
    """The arguments and results of one operation.

    It remembers which array owns which memory, because CuPy returns the very array it was given where
    NumPy does (``out=``, ``asarray``, ``astype(copy=False)``).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.owners: dict[int, ndarray] = {}
        self.adds_wider = False  # a sum whose dtype was asked for: the kernel adds in it what it reads as it is

    def host(self, value: Any) -> Any:
        """Replace the stand-in's arrays by NumPy's; refuse NumPy arrays, which CuPy would not take."""
        if isinstance(value, ndarray):
            memory = _memory(value)
            self.owners[id(memory)] = value
            return memory
        if isinstance(value, np.ndarray):
            raise TypeError(f"{self.name}: Unsupported type {type(value)}")
        if isinstance(value, list):
            return [self.host(item) for item in value]
        if isinstance(value, tuple):
            return tuple(self.host(item) for item in value)
        if isinstance(value, dict):
            return {key: self.host(item) for key, item in value.items()}
        return value

    def device(self, result: Any) -> Any:
        """Wrap results; NumPy's scalars become 0-d arrays, as CuPy's results never leave the device."""
        if isinstance(result, np.ndarray | np.generic):
            owner = self.owners.get(id(result))
            return _wrap(np.asarray(result), self.name, not self.adds_wider) if owner is None else owner
        if isinstance(result, tuple) and hasattr(result, "_fields"):
            return type(result)(*map(self.device, result))
        if isinstance(result, list | tuple):
            return type(result)(map(self.device, result))
        return result


def _wrap(memory: np.ndarray, name: str, may_be_forbidden: bool = True) -> "ndarray":
    if memory.dtype.char not in SUPPORTED_DTYPES:
        raise ValueError(f"{name}: Unsupported dtype {memory.dtype}")
    if may_be_forbidden:
        _check_dtype(memory.dtype, name)
    array = object.__new__(ndarray)
    _set_memory(array, memory)
    return array


def _is_scalar(value: object) -> bool:
    return type(value) in PYTHON_SCALARS or isinstance(value, np.generic)


def _compute(name: str, function: Callable[..., Any], *operands: Any, outputs: tuple = (), **options: Any) -> Any:
    """Apply an operator or ufunc-like function to arrays and scalars; `outputs` and options may be arrays too."""
    for operand in operands:
        if not isinstance(operand, ndarray) and not _is_scalar(operand):
            raise TypeError(f"{name}: Unsupported type {type(operand)}")
    call = _Call(name)
    memories = call.host(operands)
    if _forbidden_dtypes:
        _check_dtype(np.result_type(*memories), name)  # also what is cast back afterwards: x32 *= float64
    return call.device(strict_graph.run(name, function, (*memories, *call.host(outputs)), call.host(options)))


_KINDS = {
    "p": inspect.Parameter.POSITIONAL_ONLY,
    "a": inspect.Parameter.POSITIONAL_OR_KEYWORD,
    "k": inspect.Parameter.KEYWORD_ONLY,
    "*": inspect.Parameter.VAR_POSITIONAL,
    "**": inspect.Parameter.VAR_KEYWORD,
}


def signature_of(entry: dict[str, Any]) -> inspect.Signature:
    """Turn an entry of the snapshot into a signature."""
    return inspect.Signature(
        [
            inspect.Parameter(
                name, _KINDS[kind.rstrip("?")], default=None if kind.endswith("?") else inspect.Parameter.empty
            )
            for name, kind in entry["takes"].items()
        ]
    )


def _bind(name: str, signature: inspect.Signature, args: tuple, kwargs: dict) -> dict[str, Any]:
    """Return the arguments by name, or raise the TypeError that CuPy's own function would raise."""
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as err:
        raise TypeError(f"cupy.{name}: {err}") from None


def _check_values(name: str, arguments: dict[str, Any]) -> None:
    for parameter, value in arguments.items():
        if parameter in REFUSED and REFUSED[parameter](value):
            raise ValueError(f"cupy.{name}: {parameter}={value!r} is not supported")
        if parameter in OPERANDS and isinstance(value, list | tuple):
            raise TypeError(f"cupy.{name}: {parameter} must be an array or a scalar, not a {type(value).__name__}")


def _check_first(name: str, entry: dict[str, Any], arguments: dict[str, Any]) -> None:
    """CuPy's functions take arrays, not lists of numbers, and shapes from the host, not from arrays."""
    first = next(iter(arguments.values()), None)
    if name in ANYTHING_FIRST:
        return
    if name in HOST_FIRST:
        if isinstance(first, ndarray):
            raise TypeError(f"cupy.{name}: a shape or a bound must come from the host")
        return
    takes_several = name in SEQUENCE_FIRST or next(iter(entry["takes"].values())) == "*"
    arrays = first if takes_several and isinstance(first, list | tuple) else [first]
    wrong = [array for array in arrays if not isinstance(array, ndarray)]
    if wrong:
        raise TypeError(f"cupy.{name}: expected a cupy.ndarray, got {type(wrong[0])}")


def _count(name: str, arguments: dict[str, Any]) -> None:
    if name in ALWAYS_WAIT or (name in WAIT_IF and WAIT_IF[name](**arguments)):
        _waited(name)
    if isinstance(arguments.get(LISTS_UPLOADED.get(name, "")), list | tuple):
        _uploaded(name)
    if name in ADDRESSES_UPLOADED and len(next(iter(arguments.values()))) > 8:
        _uploaded(name)


def _function(name: str, host_function: Callable[..., Any], entry: dict[str, Any]) -> Callable[..., Any]:
    """Make CuPy's function of that name out of NumPy's."""
    signature = signature_of(entry)

    def forward(*args: Any, **kwargs: Any) -> Any:
        arguments = _bind(name, signature, args, kwargs)
        _check_first(name, entry, arguments)
        _check_values(name, arguments)
        _count(name, arguments)
        if name in INDEX_REDUCTIONS:
            args, kwargs = (arguments.pop("a"),), arguments
        return _finish(_Call(name), host_function, args, kwargs)

    forward.__name__ = name
    return forward


def _finish(call: _Call, host_function: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
    dtype = kwargs.pop("dtype", None) if call.name in INDEX_REDUCTIONS else None
    call.adds_wider = call.name in ("sum", "mean") and "dtype" in kwargs

    def function(*memories: Any, **options: Any) -> Any:
        result = host_function(*memories, **options)
        if call.name in INDEX_REDUCTIONS | ANSWERS_ON_DEVICE:
            result = np.asarray(result)
        if call.name in ("empty", "empty_like"):
            result.fill(_poison(result.dtype))
        return result if dtype is None else result.astype(dtype)

    return call.device(strict_graph.run(call.name, function, call.host(args), call.host(kwargs)))


def _poison(dtype: np.dtype) -> Any:
    """What fresh memory holds: something that nobody can mistake for a zero."""
    if dtype.kind in "fc":
        return np.nan
    return True if dtype.kind == "b" else np.iinfo(dtype).max


# -- Arrays -----------------------------------------------------------------------------------------------------


class ndarray:  # noqa: N801  the name CuPy gives it
    """An array on the pretended GPU. Its memory is out of reach: only ``get()`` brings a copy to the host."""

    __module__ = "cupy"
    __slots__ = ("_hidden",)
    __array_ufunc__ = None  # NumPy's ufuncs refuse; NumPy scalars and arrays leave their operators to ours

    def __new__(cls, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"):
        if memptr is not None or strides is not None:
            _NotModelled("ndarray(memptr=..., strides=...)")()
        return MODULE.empty(shape, dtype, order)

    # Never implicitly to NumPy.
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{func.__name__} was called on a cupy.ndarray: take the function from xp")

    # Explicitly to the host: every one of these waits for the GPU.
    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        if out is not None and (not isinstance(out, np.ndarray) or out.dtype != self.dtype):
            raise TypeError(f"out must be a numpy.ndarray of dtype {self.dtype}")
        if out is not None and out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        if blocking or out is None:  # a copy to ordinary (not pinned) memory waits even with blocking=False
            _waited("get")
        if out is None:
            return _memory(self).copy(order=order)
        out[...] = _memory(self)
        return out

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return _read(self, "item").item()

    def tolist(self) -> Any:
        return _read(self, "tolist").tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return _read(self, "tobytes").tobytes(order)

    def __bool__(self) -> bool:
        if self.size > 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous.")
        return bool(_read(self, "bool"))

    def __int__(self) -> int:
        return int(_read(self, "int"))

    def __float__(self) -> float:
        return float(_read(self, "float"))

    def __complex__(self) -> complex:
        return complex(_read(self, "complex"))

    def __bytes__(self) -> bytes:
        return bytes(_read(self, "bytes"))

    def __repr__(self) -> str:
        return repr(_read(self, "repr"))

    def __str__(self) -> str:
        return str(_read(self, "str"))

    def __format__(self, format_spec: str) -> str:
        return format(_read(self, "format"), format_spec)

    # From the host.
    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray) or arr.dtype != self.dtype:
            raise TypeError(f"only a numpy.ndarray of dtype {self.dtype} can be set")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.forc:
            raise RuntimeError("Cannot set to non-contiguous array")
        _uploaded("set")
        _memory(self)[...] = arr

    def fill(self, value: Any) -> None:
        if not _is_scalar(value) and not (isinstance(value, ndarray) and value.ndim == 0):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        strict_graph.run("fill", np.ndarray.fill, (_memory(self), _Call("fill").host(value)))

    # Shape, layout, views.
    @property
    def shape(self) -> tuple[int, ...]:
        return _memory(self).shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        view = _memory(self).reshape(shape)
        if self.size and not np.shares_memory(view, _memory(self)):
            raise AttributeError("incompatible shape")
        _set_memory(self, view)

    @property
    def T(self) -> "ndarray":
        return self if self.ndim < 2 else _wrap(_memory(self).T, "T")

    @property
    def flags(self) -> "_Flags":
        return _Flags(_memory(self))

    @property
    def device(self) -> "_CudaDevice":
        return _CudaDevice(0)

    @property
    def base(self) -> "ndarray | None":  # CuPy gives the same object each time; by its address it is known here, too
        whole = _memory(self).base
        return _wrap(whole, "base") if isinstance(whole, np.ndarray) else None

    @property
    def data(self) -> "_MemoryPointer":
        return _MemoryPointer(_memory(self))

    def dot(self, b: Any, out: Any = None) -> "ndarray":
        return MODULE.dot(self, b, out)

    def __len__(self) -> int:
        return len(_memory(self))

    def __iter__(self) -> "Iterator[ndarray]":
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))  # 0-d arrays on the device: this alone does not wait

    def __copy__(self) -> "ndarray":
        return self.copy()

    def __deepcopy__(self, memo: dict) -> "ndarray":
        return self.copy()

    def __reduce__(self) -> Any:
        return _NotModelled("ndarray.__reduce__")()

    # Indexing. The Ellipsis makes NumPy return a 0-d view where it would return a scalar.
    def __getitem__(self, key: Any) -> "ndarray":
        places, has_arrays = _index(key)
        name = "take" if has_arrays else "getitem"  # a launch, or a view
        return _wrap(strict_graph.run(name, operator.getitem, (_memory(self), places)), name)

    def __setitem__(self, key: Any, value: Any) -> None:
        places, has_arrays = _index(key)
        if isinstance(value, np.ndarray | list | tuple):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if not isinstance(value, ndarray) and not _is_scalar(value):
            raise TypeError(f"setitem: Unsupported type {type(value)}")
        memory = _memory(self)
        if has_arrays and isinstance(value, ndarray) and value.size > 1:
            _refuse_repeated_places(memory, places)
        strict_graph.run("setitem", operator.setitem, (memory, places, _Call("setitem").host(value)))

    # Operators that are not made in the loops below.
    def __divmod__(self, other: Any) -> "tuple[ndarray, ndarray]":
        return _compute("divmod", divmod, self, other)

    def __rdivmod__(self, other: Any) -> "tuple[ndarray, ndarray]":
        return _compute("divmod", divmod, other, self)

    def __eq__(self, other: object) -> Any:
        if other is None:  # CuPy answers this one without comparing
            return MODULE.zeros(self.shape, dtype=bool)
        return _compute("eq", operator.eq, self, other)

    def __ne__(self, other: object) -> Any:
        if other is None:
            return MODULE.ones(self.shape, dtype=bool)
        return _compute("ne", operator.ne, self, other)


# The slot's descriptor is the only key to an array's memory, and only this module holds it.
_memory: Callable[[ndarray], np.ndarray] = ndarray._hidden.__get__  # type: ignore[attr-defined]
_set_memory: Callable[[ndarray, np.ndarray], None] = ndarray._hidden.__set__  # type: ignore[attr-defined]
del ndarray._hidden  # type: ignore[attr-defined]


class _MemoryPointer:
    """The address of an array, for libraries that are called without CuPy; `owner_of` knows then what lies there."""

    def __init__(self, memory: np.ndarray) -> None:
        self.ptr = memory.ctypes.data
        while isinstance(memory.base, np.ndarray):
            memory = memory.base
        if memory.size:
            _owners[memory.ctypes.data] = memory


_owners: "weakref.WeakValueDictionary[int, np.ndarray]" = weakref.WeakValueDictionary()


def owner_of(address: int, size: int) -> np.ndarray | None:
    """The living memory in which so many bytes from an address on lie, if there is any."""
    begins_there = _owners.get(address)
    if begins_there is not None and size <= begins_there.nbytes:  # nearly always
        return begins_there
    for start, memory in list(_owners.items()):
        if start <= address and address + size <= start + memory.nbytes:
            return memory
    return None


class _Flags:
    """Memory layout as CuPy shows it: fewer flags than NumPy has."""

    def __init__(self, memory: np.ndarray) -> None:
        flags = memory.flags
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.owndata, self.fnc, self.forc = flags.owndata, flags.fnc, flags.forc

    def __getitem__(self, name: str) -> bool:
        if name not in ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA"):
            raise KeyError(f"{name} is not defined for cupy.ndarray.flags")
        return getattr(self, name.lower())


def _read(array: ndarray, cause: str) -> np.ndarray:
    """The host waits here."""
    _waited(cause)
    return _memory(array)


def _index(key: Any) -> tuple[tuple, bool]:
    """Return the index for NumPy and whether it contains arrays."""
    items = key if isinstance(key, tuple) else (key,)
    places = tuple(map(_index_item, items))
    has_arrays = any(isinstance(place, np.ndarray) for place in places)
    return (places if any(place is Ellipsis for place in places) else (*places, ...)), has_arrays


def _index_item(item: Any) -> Any:
    if isinstance(item, ndarray):
        item = _memory(item)
    elif isinstance(item, np.ndarray):
        raise TypeError("index: a numpy.ndarray as index would be copied to the GPU each time")
    elif isinstance(item, list | tuple | bool | np.bool_):
        _uploaded("index")
        item = np.asarray(item, dtype=None if np.size(item) else np.int64)
    if isinstance(item, np.ndarray) and item.dtype == bool:
        _waited("boolean mask")  # reading and writing: CuPy asks the GPU how many entries are True
    return item


def _refuse_repeated_places(memory: np.ndarray, places: tuple) -> None:
    """With repeated places, NumPy keeps the last value and CuPy any of them."""
    written = np.arange(memory.size).reshape(memory.shape)[places]
    if np.unique(written).size != written.size:
        raise ValueError("setitem: a place is written twice, which CuPy leaves undefined")


def _binary(name: str) -> Callable[[ndarray, Any], Any]:
    function = getattr(operator, name)
    return lambda self, other: _compute(name, function, self, other)


def _reflected(name: str) -> Callable[[ndarray, Any], Any]:
    function = getattr(operator, name)
    return lambda self, other: _compute(name, function, other, self)


def _unary(name: str) -> Callable[[ndarray], Any]:
    function = getattr(operator, name)
    return lambda self: _compute(name, function, self)


# CuPy has no `@=` and no __index__, so neither has the stand-in: `a @= b` makes a new array, and an array
# is no bound for range() or a slice.
_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor")


def _add_operators() -> None:
    for name in (*_ARITHMETIC, "matmul"):
        python_name = f"{name}_" if name in ("and", "or") else name
        setattr(ndarray, f"__{name}__", _binary(python_name))
        setattr(ndarray, f"__r{name}__", _reflected(python_name))
    for name in _ARITHMETIC:
        setattr(ndarray, f"__i{name}__", _binary(f"i{name}"))
    for name in ("lt", "le", "gt", "ge"):
        setattr(ndarray, f"__{name}__", _binary(name))
    for name in ("neg", "pos", "abs", "invert"):
        setattr(ndarray, f"__{name}__", _unary(name))


def _method(name: str, entry: dict[str, Any]) -> Callable[..., Any]:
    """Make CuPy's array method of that name out of NumPy's."""
    signature, host_method = signature_of(entry), getattr(np.ndarray, name)

    def forward(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        arguments = _bind(f"ndarray.{name}", signature, args, kwargs)
        _check_values(f"ndarray.{name}", arguments)
        _count(name, arguments)
        if name in INDEX_REDUCTIONS:
            args, kwargs = (), arguments
        return _finish(_Call(name), host_method, (self, *args), kwargs)

    forward.__name__ = name
    return forward


def _property(name: str) -> property:
    def read(self: ndarray) -> Any:
        call = _Call(name)
        return call.device(getattr(call.host(self), name))

    return property(read)


def _add_members() -> None:
    """Give arrays every method and property that CuPy's have and that the class above does not define."""
    for name, entry in API["ndarray"].items():
        if name in vars(ndarray):
            continue
        if name in NOT_MODELLED_ON_ARRAYS or not hasattr(np.ndarray, name):
            setattr(ndarray, name, property(_NotModelled(f"ndarray.{name}")))
        elif entry["is"] == "method":
            setattr(ndarray, name, _method(name, entry))
        else:
            setattr(ndarray, name, _property(name))


_add_operators()
_add_members()


# -- Functions with rules of their own --------------------------------------------------------------------------


class _Ufunc:
    """An element-wise function: arrays and scalars in, no ``where=``, and only the methods CuPy's have."""

    def __init__(self, name: str, entry: dict[str, Any]) -> None:
        self.__name__ = name
        self._signature = signature_of(entry)
        self._host = getattr(np, name)
        self.nin = sum(kind == "p" for kind in entry["takes"].values())
        self.nout = sum(parameter.startswith("out") for parameter in entry["takes"] if parameter != "out") or 1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _bind(self.__name__, self._signature, args, kwargs)
        return _compute(self.__name__, self._host, *args[: self.nin], outputs=args[self.nin :], **kwargs)

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        """Add (or ...) at each place, also at places that occur twice."""
        if a.dtype.name not in AT_DTYPES.get(self.__name__, ()):
            raise TypeError(f"cupy.{self.__name__}.at does not support {a.dtype}")
        places, _ = _index(indices)
        strict_graph.run(self.__name__, self._host.at, (_memory(a), places, _Call(self.__name__).host(b)))

    def reduce(self, array: ndarray, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """CuPy reduces with add and multiply only."""
        return getattr(array, self._allowed(REDUCE))(axis, dtype, out, keepdims)

    def accumulate(self, array: ndarray, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        """CuPy accumulates with add and multiply only."""
        return getattr(array, self._allowed(ACCUMULATE))(axis, dtype, out)

    def _allowed(self, methods: dict[str, str]) -> str:
        if self.__name__ not in methods:
            raise NotImplementedError(f"cupy.{self.__name__} cannot reduce or accumulate")
        return methods[self.__name__]


def _array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str | None = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    """Make an array from host data (an upload), from an array, or from nested lists of arrays."""
    if subok:
        raise NotImplementedError("subok")
    if any(isinstance(leaf, ndarray) for leaf in _leaves(obj)):
        if not all(isinstance(leaf, ndarray) for leaf in _leaves(obj)):
            raise TypeError("array: a list of CuPy arrays and of something else")
        call = _Call("array")
        options = {"dtype": dtype, "copy": copy or None, "order": order, "ndmin": ndmin}
        return call.device(strict_graph.run("array", np.array, (call.host(obj),), options))
    memory = strict_graph.run("array", np.array, (obj,), {"dtype": dtype, "order": order, "ndmin": ndmin})
    if memory.ndim:  # a scalar travels with the kernel that writes it
        _uploaded("array")
    if blocking:
        _waited("array")
    return _wrap(memory, "array")


def _leaves(nested: Any) -> Iterator[Any]:
    if isinstance(nested, list | tuple):
        for item in nested:
            yield from _leaves(item)
    else:
        yield nested


def _asarray(
    a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    return _array(a, dtype, copy, order or "K", blocking=blocking)


def _asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    if isinstance(a, ndarray):
        return a.get(stream, order, out, blocking)
    return np.asarray(a, order=order)


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """The condition must be an array; the other two may be scalars."""
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return MODULE.nonzero(condition)
    if not isinstance(condition, ndarray):
        raise TypeError(f"cupy.where: expected a cupy.ndarray, got {type(condition)}")
    choose = _memory(condition)
    return _compute("where", lambda a, b: np.where(choose, a, b), x, y)


def _get_array_module(*args: Any) -> ModuleType:
    return MODULE if any(isinstance(array, ndarray) for array in args) else np


# -- The module --------------------------------------------------------------------------------------------------


class _CudaDevice:
    compute_capability = "90"

    def __init__(self, device: int = 0) -> None:
        self.id = device

    def use(self) -> None:
        if self.id != 0:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def synchronize(self) -> None:
        _waited("Device.synchronize")


class _Stream(strict_graph.Stream):
    def synchronize(self) -> None:
        _waited("Stream.synchronize")


class _DeviceMemory:
    """Memory from the driver, outside the pool."""

    def __init__(self, size: int) -> None:
        strict_graph.refuse("cudaMalloc")
        self.size, self._bytes = size, np.empty(size + 256, np.uint8)  # cudaMalloc aligns to 256 bytes
        self.ptr = -(-_MemoryPointer(self._bytes).ptr // 256) * 256


_CUDA = SimpleNamespace(
    Device=_CudaDevice,
    Event=strict_graph.Event,
    Graph=strict_graph.Graph,
    Memory=_DeviceMemory,
    MemoryPool=strict_graph.MemoryPool,
    Stream=_Stream,
    alloc_pinned_memory=strict_graph.alloc_pinned_memory,
    get_current_stream=lambda: strict_graph.current_stream() or _Stream(null=True),
    is_available=lambda: True,
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDevice=lambda: 0,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda _: {"name": b"stand-in for a GPU"},
        deviceSynchronize=lambda: _waited("deviceSynchronize"),
    ),
    using_allocator=strict_graph.using_allocator,
)


def _member(name: str, entry: dict[str, Any], host: Any) -> Any:
    """Make the thing of that name in a namespace of CuPy out of the one in the namespace `host` of NumPy."""
    if name in NOT_MODELLED or not hasattr(host, name):
        return _NotModelled(name)
    if entry["is"] in ("numpy", "constant"):
        return getattr(host, name)
    if entry["is"] == "ufunc":
        return _Ufunc(name, entry)
    if entry["is"] == "function":
        return _function(name, getattr(host, name), entry)
    return _NotModelled(name)


class _Linalg:
    """``cupy.linalg``; its routines do not wait for the GPU, as CuPy ignores their error codes by default."""

    def __getattr__(self, name: str) -> Any:
        if name not in API["linalg"]:
            raise AttributeError(f"module 'cupy.linalg' has no attribute {name!r}")
        return _member(name, API["linalg"][name], np.linalg)


class _Module(ModuleType):
    """``cupy``: the names of the snapshot and nothing else."""

    def __getattr__(self, name: str) -> Any:
        if name not in API["module"]:
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        value = SPECIAL[name] if name in SPECIAL else _member(name, API["module"][name], np)
        setattr(self, name, value)  # made once
        return value


SPECIAL: dict[str, Any] = {
    "RawModule": partial(strict_kernels.RawModule, _memory),
    "array": _array,
    "asanyarray": _asarray,
    "asarray": _asarray,
    "asnumpy": _asnumpy,
    "cuda": _CUDA,
    "get_array_module": _get_array_module,
    "is_available": lambda: True,
    "linalg": _Linalg(),
    "ndarray": ndarray,
    "ufunc": _Ufunc,
    "where": _where,
}
MODULE = _Module("cupy")
MODULE.__version__ = API["version"]


@contextmanager
def installed() -> Iterator[Device]:
    """Let ``import cupy`` find the stand-in within the block, and yield it as minigan's first GPU."""
    from tests import strict_cublas  # which needs the arrays of this module

    before = sys.modules.get("cupy")
    sys.modules["cupy"] = MODULE
    try:
        with strict_cublas.installed():
            yield Device("gpu:0", MODULE)
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
