"""The stand-in for CuPy refuses what CuPy refuses, counts what makes the host wait, and computes as NumPy does."""

import copy
import functools
import importlib
import inspect
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import backend
from tests import strict_cupy
from tests.strict_cupy import API, MODULE, Synchronised, counting, forbid_dtype, forbid_synchronisation

xp = MODULE
HOST = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def a():
    """A 2x3 float32 array, 0 to 5."""
    return xp.asarray(HOST)


def do(statement, a):
    """Execute one statement on the array `a` and the boolean array `mask`."""
    names = {"a": a, "mask": a > 2, "xp": xp, "np": np, "copy": copy, "functools": functools, "HOST": HOST}
    exec(statement, names)


# -- Installed as cupy ------------------------------------------------------------------------------------------


def test_minigan_finds_it_as_its_gpu():
    with strict_cupy.installed() as device:
        assert importlib.import_module("cupy") is device.xp
        assert backend.select_device("gpu") == device
        assert backend.select_device("auto") == device
        x = device.put(HOST)
        assert backend.array_module(x) is device.xp
        assert backend.array_module(backend.put_like(HOST, x)) is device.xp
        np.testing.assert_array_equal(backend.to_host(x), HOST)
        with pytest.raises(TypeError, match="different devices"):
            backend.array_module(x, HOST)
        with pytest.raises(backend.GPUUnavailable, match="no GPU number 1"):
            backend.select_device("gpu:1")
        with counting() as counts:
            device.synchronize()
        assert counts.waits == ["Stream.synchronize"]


@pytest.mark.parametrize("before", [None, "another module"])
def test_it_leaves_the_import_system_as_it_was(monkeypatch, before):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    if before is not None:
        monkeypatch.setitem(sys.modules, "cupy", before)
    with pytest.raises(ZeroDivisionError), strict_cupy.installed():
        raise ZeroDivisionError
    assert sys.modules.get("cupy") == before


# -- Names and arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["softplus", "errstate", "block", "vecdot", "__wrapped__"])
def test_module_has_no_name_that_cupy_lacks(name):
    with pytest.raises(AttributeError, match=name):
        getattr(xp, name)


@pytest.mark.parametrize("name", ["resize", "at", "ctypes", "setflags", "_hidden", "_data", "to_device"])
def test_arrays_have_no_name_that_cupy_lacks(a, name):
    with pytest.raises(AttributeError, match=name):
        getattr(a, name)


def test_arrays_take_no_new_attributes(a):
    with pytest.raises(AttributeError):
        a.note = 1


def test_linalg_has_no_name_that_cupy_lacks():
    with pytest.raises(AttributeError, match="logm"):
        xp.linalg.logm  # noqa: B018


def test_every_name_of_cupy_is_there():
    for name in API["module"]:
        getattr(xp, name)  # raises if it is not
    for name in API["linalg"]:
        getattr(xp.linalg, name)
    assert set(API["ndarray"]) <= set(dir(xp.ndarray))


def test_arrays_have_no_operator_that_cupy_lacks():
    class Nothing:
        """What any class has."""

    own = {name for name in vars(xp.ndarray) if name.startswith("__")} - set(vars(Nothing))
    assert own - set(API["operators"]) == set()
    assert {"__imatmul__", "__index__", "__round__", "__contains__"} & set(dir(xp.ndarray)) == set()


def test_hand_written_methods_take_what_cupy_takes():
    checked = 0
    for name, entry in API["ndarray"].items():
        method = vars(xp.ndarray)[name]
        if entry["is"] == "method" and inspect.isfunction(method) and name in method.__code__.co_name:
            parameters = list(inspect.signature(method).parameters.values())[1:]
            kinds = [(p.name, p.kind, p.default is not p.empty) for p in parameters]
            expected = strict_cupy.signature_of(entry).parameters.values()
            assert kinds == [(p.name, p.kind, p.default is not p.empty) for p in expected], name
            checked += 1
    assert checked == 7  # dot, fill, get, item, set, tobytes, tolist


@pytest.mark.parametrize("name", ["array", "asanyarray", "asarray", "asnumpy", "where"])
def test_hand_written_functions_take_what_cupy_takes(name):
    kinds = {p.name: p.kind for p in inspect.signature(getattr(xp, name)).parameters.values()}
    expected = {p.name: p.kind for p in strict_cupy.signature_of(API["module"][name]).parameters.values()}
    assert kinds == expected


def positional_names(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # older releases of NumPy hide the signatures of compiled functions
        return []
    return [p.name for p in parameters if p.kind < p.VAR_POSITIONAL]


def test_arguments_mean_the_same_by_position():
    """Calls pass positional arguments on to NumPy, so CuPy's order must be NumPy's wherever both have a name."""
    own = strict_cupy.INDEX_REDUCTIONS | strict_cupy.NOT_MODELLED | set(strict_cupy.SPECIAL)
    for name, entry in API["module"].items():
        if entry["is"] != "function" or name in own or not hasattr(np, name):
            continue
        theirs = positional_names(getattr(np, name))
        ours = [parameter for parameter, kind in entry["takes"].items() if kind[0] in "pa"]
        moved = [p for i, p in enumerate(ours) if p in theirs and theirs.index(p) != i]
        assert moved == [], name


REFUSED_CALLS = [
    "xp.exp(a, where=mask)",
    'xp.exp(a, order="C")',
    "xp.exp(a, subok=True)",
    "xp.exp(x=a)",
    "xp.exp(a, a, a)",
    "xp.matmul(a, a.T, xp.empty((2, 2)))",
    "xp.sum(a, where=mask)",
    "xp.sum(a, initial=0)",
    "xp.max(a, initial=0)",
    "xp.mean(a, where=mask)",
    "xp.var(a, correction=1)",
    "xp.clip(a, min=0)",
    "xp.reshape(a, shape=(3, 2))",
    'xp.zeros(3, device="cpu")',
    "xp.zeros_like(a, subok=False)",
    "xp.arange(3, like=a)",
    "xp.broadcast_to(a, (2, 2, 3), subok=True)",
    "xp.sort(a, stable=True)",
    'xp.take(a, xp.arange(2), mode="clip")',
    "a.sum(where=mask)",
    "a.sum(initial=0)",
    "a.max(initial=0)",
    'a.sort(kind="quicksort")',
    "a.item(0)",
    'a.copy("C", "F")',
    "xp.linalg.norm(a, where=mask)",
    "xp.add.reduce(a, initial=1)",
]


@pytest.mark.parametrize("call", REFUSED_CALLS)
def test_argument_that_cupy_does_not_take_is_refused(a, call):
    reasons = r"argument|positional.only|is not supported"
    with pytest.raises((TypeError, ValueError), match=reasons):
        do(call, a)


def test_ufuncs_reduce_and_scatter_only_where_cupy_can(a):
    np.testing.assert_array_equal(xp.add.reduce(a).get(), HOST.sum(axis=0))
    np.testing.assert_array_equal(xp.multiply.accumulate(a, axis=1).get(), np.multiply.accumulate(HOST, axis=1))
    xp.add.at(a, xp.asarray([0, 0]), xp.ones(3, dtype=np.float32))
    np.testing.assert_array_equal(a.get(), HOST + np.array([[2], [0]]))
    with pytest.raises(NotImplementedError, match="maximum"):
        xp.maximum.reduce(a)
    with pytest.raises(TypeError, match=r"subtract\.at"):
        xp.subtract.at(a, xp.asarray([0]), 1)
    with pytest.raises(TypeError, match=r"exp\.at"):
        xp.exp.at(a, xp.asarray([0]))
    with pytest.raises(AttributeError):
        xp.add.reduceat_  # noqa: B018


@pytest.mark.parametrize(
    "use",
    [
        'xp.ElementwiseKernel("T x", "T y", "y = x", "same")',
        "xp.random.normal()",
        "xp.fft.fft",
        "xp.mgrid[0:2]",
        "xp.put(a, 0, 1)",
        "a.flat",
        "a.cstruct",
        "xp.ndarray((2,), memptr=1)",
    ],
)
def test_what_is_not_modelled_says_so(a, use):
    with pytest.raises(NotImplementedError, match="does not imitate"):
        do(use, a)


def test_arrays_are_not_pickled(a):
    with pytest.raises(NotImplementedError, match="does not imitate"):
        pickle.dumps(a)


# -- No implicit conversion, no mixing --------------------------------------------------------------------------

CONVERSIONS = [
    "np.asarray(a)",
    "np.array(a)",
    "np.array([a, a])",
    "np.exp(a)",
    "np.add(a, HOST)",
    "np.exp(HOST, out=a)",
    "np.add.reduce(a)",
    "np.sum(a)",
    "np.concatenate([a, HOST])",
    "np.where(a, 1, 0)",
    "np.testing.assert_allclose(a, HOST)",
    "np.float32(a[0, 0])",
    "HOST[:] = a",
    "HOST[xp.asarray([0])]",
    "memoryview(a)",
    "range(xp.asarray(3))",
    "HOST[: xp.asarray(3)]",
]


@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_no_implicit_conversion(a, conversion):
    with counting() as counts, pytest.raises((TypeError, IndexError)):
        do(conversion, a)
    assert counts.synchronisations == 0


MIXTURES = [
    "a + HOST",
    "HOST + a",
    "a @ HOST.T",
    "HOST.T @ a",
    "a < HOST",
    "a == HOST",
    "a += HOST",
    "HOST += a",
    "a * np.array(2.0, dtype=np.float32)",
    "divmod(a, HOST)",
    "a + [1.0, 2.0, 3.0]",
    "a + None",
    "xp.maximum(a, HOST)",
    "xp.maximum(a, [1.0, 2.0, 3.0])",
    "xp.exp(HOST)",
    "xp.exp(a, out=np.empty_like(HOST))",
    "xp.exp(a, np.empty_like(HOST))",
    "xp.sum(HOST)",
    "xp.sum([1.0, 2.0])",
    "xp.sum((a, a))",
    "xp.sum(1.0)",
    "xp.sum(a, axis=0, out=np.empty(3, dtype=np.float32))",
    "xp.dot(a, HOST.T)",
    "xp.dot(a, [1.0, 2.0, 3.0])",
    "xp.where(a > 0, a, HOST)",
    "xp.where(HOST > 0, a, a)",
    "xp.where(True, a, a)",
    "xp.where(a > 0, a, [1.0, 2.0, 3.0])",
    "xp.concatenate([a, HOST])",
    "xp.concatenate([1.0, 2.0])",
    "xp.stack([HOST, HOST])",
    "xp.broadcast_arrays(a, HOST)",
    'xp.einsum("ij,ij->i", a, HOST)',
    "xp.clip(a, HOST, None)",
    "xp.copyto(a, HOST)",
    "xp.full((2, 3), HOST)",
    "xp.zeros(xp.asarray(3))",
    "xp.array([a, HOST])",
    "xp.array([a[0, 0], 1.0])",
    "a.dot(HOST.T)",
    "a.clip(HOST, None)",
    "a.sum(axis=0, out=np.empty(3, dtype=np.float32))",
    "a.set(a)",
    "a.get(out=a)",
    "a[np.array([0, 1])]",
    "a[HOST > 2]",
    "xp.add.at(a, np.array([0]), 1)",
    "xp.linalg.norm(HOST)",
]


@pytest.mark.parametrize("mixture", MIXTURES)
def test_numpy_arrays_and_lists_do_not_mix_with_device_arrays(a, mixture):
    reasons = (
        r"Unsupported type|expected a cupy|must be an array|from the host|numpy.ndarray|something else|__array_ufunc__"
    )
    with counting() as counts, pytest.raises(TypeError, match=reasons):
        do(mixture, a)
    assert counts.synchronisations == 0


@pytest.mark.parametrize("scalar", [True, 2, 2.5, np.float32(2.5), np.float64(2.5), np.int64(2), np.True_])
def test_scalars_mix_as_in_numpy(a, scalar):
    for compute in (lambda x: x * scalar, lambda x: scalar + x, lambda x: scalar / (x + 1), lambda x: x > scalar,
                    lambda x: scalar <= x):  # fmt: skip
        result, expected = compute(a), compute(HOST)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result.get(), expected)


@pytest.mark.parametrize("value", [HOST[0], [1.0, 2.0, 3.0], (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("method", ["setitem", "fill"])
def test_host_data_is_not_assigned(a, value, method):
    with pytest.raises(ValueError, match="non-scalar"):
        a.__setitem__(0, value) if method == "setitem" else a.fill(value)


@pytest.mark.parametrize("dtype", [object, "U3", np.longdouble, "datetime64[s]"])
def test_dtype_that_cupy_lacks_is_refused(dtype):
    with pytest.raises(ValueError, match="Unsupported dtype"):
        xp.zeros(2, dtype=dtype)


def test_repeated_places_are_not_written(a):
    places = xp.asarray([0, 0])
    with pytest.raises(ValueError, match="written twice"):
        a[places] = a
    a[places] = 7  # the same value everywhere: no conflict
    np.testing.assert_array_equal(a[0].get(), 7)


def test_fresh_memory_cannot_be_mistaken_for_zeros(a):
    assert np.isnan(xp.empty((2, 2)).get()).all()
    assert np.isnan(xp.empty_like(a).get()).all()
    assert (xp.empty(3, dtype=np.int8).get() == 127).all()
    assert xp.empty(3, dtype=bool).get().all()


def test_comparison_with_none_is_elementwise(a):
    assert not (a == None).get().any()  # noqa: E711
    assert (a != None).get().all()  # noqa: E711
    assert (a == None).shape == (a != None).shape == (2, 3)  # noqa: E711


def test_there_is_one_device():
    xp.cuda.Device(0).use()
    with pytest.raises(xp.cuda.runtime.CUDARuntimeError, match="invalid device"):
        xp.cuda.Device(1).use()


def test_arrays_are_not_hashable(a):
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)


# -- Counting ---------------------------------------------------------------------------------------------------

WAITING = [
    "float(a[0, 1])",
    "int(a[0, 1])",
    "complex(a[0, 1])",
    "bool(a[0, 1])",
    "1 if mask.any() else 0",
    "a[0, 1] and 1",
    "0.0 in a.ravel()",
    "max(a[0, 0], a[0, 1])",
    "a[0, 1].item()",
    "a.tolist()",
    "a.tobytes()",
    "bytes(a)",
    "a.get()",
    "a.get(blocking=False)",
    "a.get(out=np.empty_like(HOST))",
    "xp.asnumpy(a)",
    "repr(a)",
    "str(a)",
    'f"{a[0, 1]:.2f}"',
    "a[mask]",
    "a[mask] = 0.0",
    "a[mask[:, 0], 1:]",
    "a[[True, False]]",
    "xp.nonzero(a)",
    "a.nonzero()",
    "xp.flatnonzero(a)",
    "xp.argwhere(a)",
    "xp.where(mask)",
    "xp.unique(a)",
    "a.compress(mask[0], axis=1)",
    "xp.extract(mask, a)",
    "xp.repeat(a, xp.asarray([1, 2]), axis=0)",
    "xp.bincount(xp.arange(3))",
    "xp.average(a, weights=a)",
    "xp.array_equal(a, a, equal_nan=True)",
    "xp.nanmax(a)",
    "xp.asarray(HOST, blocking=True)",
    "xp.cuda.get_current_stream().synchronize()",
    "xp.cuda.Stream(non_blocking=True).synchronize()",
    "a.device.synchronize()",
    "xp.cuda.runtime.deviceSynchronize()",
]


@pytest.mark.parametrize("operation", WAITING)
def test_operation_that_waits_is_counted_and_can_be_forbidden(a, operation):
    with counting() as counts:
        do(operation, a)
    assert counts.synchronisations >= 1
    with forbid_synchronisation(), pytest.raises(Synchronised):
        do(operation, a)
    do(operation, a)  # allowed again


NOT_WAITING = [
    "((a + 1) * 2.0 - a / 3) ** 2 @ a.T",
    "xp.mean(a, axis=0) + a.sum() + a.max(axis=1).sum()",
    "xp.where(mask, a, 0.1 * a)",
    "xp.copyto(a, 0.0, where=mask)",
    "a * mask",
    "xp.argmax(a, axis=1)",
    "a[xp.arange(2), xp.argmax(a, axis=1)]",
    "a[xp.arange(2)] = 1.0",
    "a[::-1, 1:].reshape(-1)[None, :, None]",
    "a[0, 0] * a",
    "[row * 2 for row in a]",
    "len(a) + a.size + a.ndim + a.shape[0]",
    "(a == a).all() & xp.array_equal(a, a) & xp.allclose(a, a)",
    "a == None",
    "xp.repeat(a, 2, axis=0)",
    "xp.concatenate([a, a])[:, ::2]",
    "copy.deepcopy(a).astype(np.float16)",
    "xp.asarray(HOST)",
    "a *= functools.reduce(xp.add, [a, a, a])",
    "xp.zeros((0,)).size > 0",
    "a.T.flags.c_contiguous",
]


@pytest.mark.parametrize("operation", NOT_WAITING)
def test_operation_that_does_not_wait_is_not_counted(a, operation):
    with counting() as counts, forbid_synchronisation():
        do(operation, a)
    assert counts.synchronisations == 0


def test_refusals_do_not_wait(a):
    with forbid_synchronisation():
        with pytest.raises(ValueError, match="ambiguous"):
            bool(a)
        with pytest.raises(ValueError, match="size 1"):
            a.item()
        with pytest.raises(TypeError, match="iteration over a 0-d array"):
            iter(a[0, 0])


@pytest.mark.parametrize(
    ("operation", "uploads"),
    [
        ("xp.asarray(HOST)", 1),
        ("xp.array(HOST.astype(np.float64), dtype=np.float32)", 1),
        ("xp.asarray([1.0, 2.0])", 1),
        ("a.set(HOST)", 1),
        ("a[[0, 1]]", 1),
        ("xp.take(a, [0, 1], axis=0)", 1),
        ("xp.asarray(a)", 0),
        ("xp.array([a, a])", 0),
        ("xp.asarray(2.0)", 0),
        ("xp.zeros((2, 3)) + xp.arange(3)", 0),
        ("a + 1.0", 0),
        ("a.fill(3)", 0),
    ],
)
def test_uploads_are_counted(a, operation, uploads):
    with counting() as counts:
        do(operation, a)
    assert counts.uploads == uploads
    assert counts.synchronisations == 0


def test_counters_nest_and_say_what_happened(a):
    with counting() as outer:
        float(a[0, 0])
        with counting() as inner:
            a.get()
        xp.asarray(HOST)
    float(a[0, 0])
    assert inner.waits == ["get"]
    assert outer.waits == ["float", "get"]
    assert outer.copies == ["array"]


# -- Forbidden dtypes -------------------------------------------------------------------------------------------

LEAKS = [
    "a * np.float64(2)",
    "np.float64(2) * a",
    "a / np.sqrt(2.0)",
    "a *= np.float64(2)",
    "a > np.float64(2)",
    "xp.zeros(3)",
    "xp.ndarray((3,))",
    "xp.arange(3.0)",
    "xp.arange(3) / 2",
    "xp.arange(3).mean()",
    "a * xp.arange(3)",
    "xp.asarray(HOST.astype(np.float64))",
    "xp.asarray(2.0)",
    "xp.sqrt(2.0)",
    "a.astype(np.float64)",
    "xp.exp(a, dtype=np.float64)",
    "xp.where(a > 0, a, np.float64(0))",
    "xp.where(a > 0, 1.0, 0.0)",
    "xp.multiply(a, np.float64(2), out=a)",
    "xp.clip(a, np.float64(0), None)",
]


@pytest.mark.parametrize("leak", LEAKS)
def test_float64_is_found_where_it_starts(a, leak):
    with forbid_dtype("float64"), pytest.raises(TypeError, match="float64, which is forbidden"):
        do(leak, a)
    do(leak, a)  # allowed again


def test_float32_work_passes_where_float64_is_forbidden(a):
    with forbid_dtype("float64", "complex64", "complex128"):
        y = xp.where(a > 0.5, a, 0.2 * a) ** 2 / a.size
        y -= xp.mean(y, axis=0, keepdims=True)
        y = xp.asarray(HOST.astype(np.float64), dtype=np.float32) + y * np.float32(2) + xp.arange(3, dtype=np.float32)
        y *= y.std() + 1e-8
        y -= y.sum(axis=0, dtype="float64").astype(y.dtype)
    assert y.dtype == np.float32


def test_other_dtypes_can_be_forbidden_too(a):
    with forbid_dtype("complex64"), pytest.raises(TypeError, match="mul computes in complex64"):
        a * 1j


# -- Arrays behave as arrays ------------------------------------------------------------------------------------


def test_results_are_arrays_on_the_device(a):
    for result in (a.sum(), xp.mean(a), a[0, 0], xp.sqrt(2.0), xp.dot(a[0], a[0]), a[0] @ a[0], xp.allclose(a, a),
                   xp.count_nonzero(a), xp.asarray(2.0), -a[0, 0], *a[0]):  # fmt: skip
        assert type(result) is xp.ndarray
        assert result.shape == ()


def test_views_share_memory_and_copies_do_not(a):
    views = {
        "slice": lambda x: x[:, 1:],
        "element": lambda x: x[0, 0],
        "transpose": lambda x: x.T,
        "reshape": lambda x: x.reshape(3, 2),
        "ravel": lambda x: x.ravel(),
        "new axis": lambda x: x[:, None],
        "real": lambda x: x.real,
        "asarray": lambda x: xp.asarray(x),
        "iteration": lambda x: next(iter(x)),
    }
    copies = {
        "copy": lambda x: x.copy(),
        "reshape of a transpose": lambda x: x.T.reshape(2, 3),
        "integer array": lambda x: x[xp.arange(2)],
        "0-d integer array": lambda x: x[xp.asarray(0)],
        "array": lambda x: xp.array(x),
        "astype": lambda x: x.astype(np.float32),
        "flatten": lambda x: x.flatten(),
        "copy.copy": copy.copy,
    }
    for name, make in (views | copies).items():
        x = a.copy()
        make(x)[...] = 9.0
        assert (x.get() == 9.0).any() == (name in views), name


def test_uploads_and_downloads_are_copies():
    host = HOST.copy()
    x = xp.asarray(host)
    host[:] = 9.0
    x.get()[:] = 9.0
    np.testing.assert_array_equal(x.get(), HOST)


def test_same_array_comes_back_where_cupy_returns_it(a):
    out = xp.empty((2, 3), dtype=np.float32)
    assert xp.exp(a, out=out) is out
    assert xp.exp(a, out) is out
    assert xp.matmul(a, a.T, out=(square := xp.empty((2, 2), dtype=np.float32))) is square
    assert a.sum(axis=0, out=(row := xp.empty(3, dtype=np.float32))) is row
    assert xp.asarray(a) is a
    assert xp.ascontiguousarray(a) is a
    assert a.astype(np.float32, copy=False) is a
    row = a[0]
    assert row.T is row
    before = a
    a += 1
    a **= 2
    assert a is before


def test_matmul_in_place_makes_a_new_array(a):
    before = square = a[:, :2]
    square @= square
    assert square is not before


def test_shape_can_be_set_without_a_copy_only(a):
    a.shape = (3, 2)
    assert a.shape == (3, 2)
    transposed = a.T
    with pytest.raises(AttributeError, match="incompatible"):
        transposed.shape = (6,)


def test_set_and_get_check_shape_and_dtype(a):
    a.set(HOST + 1)
    out = np.empty_like(HOST)
    assert a.get(out=out) is out
    np.testing.assert_array_equal(out, HOST + 1)
    with pytest.raises(TypeError, match="float32"):
        a.set(HOST.astype(np.float64))
    with pytest.raises(ValueError, match="Shape mismatch"):
        a.set(HOST.T)
    with pytest.raises(ValueError, match="Shape mismatch"):
        a.get(out=np.empty((3, 2), dtype=np.float32))
    with pytest.raises(RuntimeError, match="non-contiguous"):
        a[:, ::2].set(HOST[:, ::2])


def test_flags_are_cupys(a):
    assert a.flags.c_contiguous
    assert a.T.flags.f_contiguous
    assert a.T.flags["F_CONTIGUOUS"]
    assert a.T.flags.fnc
    with pytest.raises(KeyError, match="WRITEABLE"):
        a.flags["WRITEABLE"]


def test_index_reductions_take_cupys_order_of_arguments(a):
    assert xp.argmax(a, 1, np.int32).dtype == np.int32
    assert a.argmax(1, None, np.int32).dtype == np.int32
    out = xp.empty(2, dtype=np.int64)
    assert a.argmin(1, out) is out
    np.testing.assert_array_equal(out.get(), [0, 0])
    np.testing.assert_array_equal(xp.argmax(a, axis=0, keepdims=True).get(), [[1, 1, 1]])


# -- The same numbers as NumPy ----------------------------------------------------------------------------------

OPERATIONS = [
    "m.exp(m.clip(x, -20.0, 20.0))",
    "m.tanh(x)",
    "m.sqrt(abs(x))",
    "x**2",
    "abs(x) ** 0.5",
    "m.where(x > 0, x, 0.2 * x)",
    "x.sum(axis=-1, keepdims=True)",
    "m.mean(x, axis=0)",
    "x.var(axis=0, keepdims=True)",
    "m.moveaxis(x, 0, -1).reshape(x.shape)",
    "x[::-1]",
    "m.sort(x, axis=-1)",
    "m.cumsum(x, axis=-1)",
    "m.floor_divide(x, 2.0)",
    "divmod(x, 3)[1]",
    "x[m.argmax(x, axis=0)] if x.ndim == 1 else x",
    "x + y",
    "x - y",
    "x * y",
    "x / (abs(y) + 1)",
    "m.maximum(x, y)",
    "m.hypot(x, y)",
    "m.where(x < y, x, y)",
    "m.matmul(x.reshape(-1, 1), m.ravel(y)[None, :2])",
    "m.stack([x.ravel()[:1], y.ravel()[:1]])",
    "m.tensordot(x.ravel()[:2], y.ravel()[:2], axes=0)",
]


@st.composite
def programs(draw):
    """Two small arrays of a float type and a few operations on them."""
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, y = (rng.standard_normal((2, *shape)) * 4).astype(dtype)
    return x, y, draw(st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=6))


def run(program, m, convert):
    """Each operation works on the newest array `x` and on the one before it, `y` (on `x` twice if shapes differ)."""
    older, newest, operations = convert(program[0]), convert(program[1]), program[2]
    for operation in operations:
        y = older if older.shape == newest.shape else newest
        older, newest = newest, eval(operation, {"m": m, "x": newest, "y": y})
        newest = newest if newest.ndim else newest.reshape(1)
    return newest


@given(programs())
def test_random_programs_give_numpys_bits(program):
    with np.errstate(all="ignore"):
        expected = run(program, np, np.array)
        with counting() as counts:
            result = run(program, xp, xp.asarray)
        assert counts.synchronisations == 0
    assert type(result) is xp.ndarray
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    assert result.get().tobytes() == np.ascontiguousarray(expected).tobytes()
