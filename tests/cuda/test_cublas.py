"""Our own calls of cuBLAS: whatever lies how in memory, on whatever stream, and what is refused."""

import ctypes
import gc
import threading
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import backend
from minigan.cuda import cublas
from minigan.cuda.cublas import CublasError, product
from tests import strict_cublas, strict_cupy
from tests.planted_bugs import Bug, planted
from tests.strategies import assert_agrees, normal, seeds

xp = strict_cupy.MODULE
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
dtypes = st.sampled_from([np.float32, np.float64])
sizes = st.integers(1, 6)

# How a matrix of the GPU may lie there, as views of something larger; and whether cuBLAS can read it without a copy.
LAYOUTS = {
    "rows": (lambda m: m, True),
    "columns": (lambda m: xp.ascontiguousarray(m.swapaxes(-1, -2)).swapaxes(-1, -2), True),
    "some columns of more": (lambda m: xp.concatenate([m, m, m], axis=-1)[..., : m.shape[-1]], True),
    "some rows of more": (lambda m: xp.concatenate([m, m], axis=-2)[..., : m.shape[-2], :], True),
    "every other row": (lambda m: xp.repeat(m, 2, axis=-2)[..., ::2, :], True),
    "every other number": (lambda m: xp.repeat(m, 2, axis=-1)[..., ::2], False),
    "backwards": (lambda m: xp.ascontiguousarray(m[..., ::-1, ::-1])[..., ::-1, ::-1], False),
}
layouts = st.sampled_from(list(LAYOUTS))
batches = st.sampled_from([(), (1,), (3,)])


@pytest.fixture(autouse=True)
def library():
    """The stand-in for CuPy with its cuBLAS, and no TF32 unless a test asks for it."""
    with strict_cupy.installed(), strict_cublas.installed() as found:
        yield found


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.delenv("CUPY_TF32", raising=False)


def put(array, layout="rows"):
    return LAYOUTS[layout][0](xp.asarray(np.ascontiguousarray(array)))


# Products -----------------------------------------------------------------------------------------------


@given(size=st.tuples(sizes, sizes, sizes), batch=batches, lie=st.tuples(layouts, layouts), dtype=dtypes, seed=seeds)
def test_it_multiplies_whatever_lies_how(size, batch, lie, dtype, seed):
    m, k, n = size
    a, b = normal([seed, 0], *batch, m, k).astype(dtype), normal([seed, 1], *batch, k, n).astype(dtype)
    with strict_cupy.counting() as counts:
        factors = put(a, lie[0]), put(b, lie[1])
        uploads = counts.uploads
        found = product(*factors)
    assert found.dtype == dtype
    assert (counts.synchronisations, counts.uploads) == (0, uploads)
    assert_agrees(found.get(), a @ b, TOLERANCE[found.dtype.name] * k)
    np.testing.assert_array_equal(factors[0].get(), a)
    np.testing.assert_array_equal(factors[1].get(), b)


@given(size=st.tuples(sizes, sizes, sizes), more=st.integers(0, 3), batch=batches, add=st.booleans(), seed=seeds)
def test_it_writes_into_rows_of_something_larger_and_nowhere_else(size, more, batch, add, seed):
    m, k, n = size
    a, b = normal([seed, 0], *batch, m, k), normal([seed, 1], *batch, k, n)
    whole = normal([seed, 2], *batch, m + 1, n + more)
    around = put(whole)
    out = around[..., 1:, :n]
    assert product(put(a), put(b), out, add=add) is out
    whole[..., 1:, :n] = a @ b + (whole[..., 1:, :n] if add else 0)
    assert_agrees(around.get(), whole, 1e-13)


def test_without_add_what_was_there_does_not_matter():
    out = xp.full((2, 2), np.nan)
    product(xp.ones((2, 3)), xp.ones((3, 2)), out)
    assert (out.get() == 3).all()


@pytest.mark.parametrize(("m", "k", "n"), [(0, 2, 3), (2, 0, 3), (2, 3, 0), (0, 0, 0)])
@pytest.mark.parametrize("batch", [(), (2,), (0,)], ids=str)
def test_empty_axes_give_empty_sums(library, m, k, n, batch):
    a, b = xp.ones((*batch, m, k)), xp.ones((*batch, k, n))
    found = product(a, b)
    assert found.shape == (*batch, m, n)
    assert not found.get().any()
    before = xp.ones(found.shape)
    assert (product(a, b, before, add=True).get() == 1).all()
    assert not any("Gemm" in name for name in library.calls)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_copied_that_cublas_can_read(monkeypatch, layout):
    copies = []
    copy = xp.ascontiguousarray
    a, b = put(normal(0, 3, 4), layout), put(normal(1, 4, 5), layout)
    monkeypatch.setattr(xp, "ascontiguousarray", lambda array: copies.append(1) or copy(array))
    product(a, b)
    assert bool(copies) is not LAYOUTS[layout][1]


def test_transposed_views_are_multiplied_without_a_copy():
    x, dy = put(normal(0, 5, 3)), put(normal(1, 5, 2))
    with patch.object(xp, "ascontiguousarray", None):
        dw = product(x.T, dy)
    assert_agrees(dw.get(), x.get().T @ dy.get())


def test_products_in_tf32_are_asked_for_by_the_switch_of_cupy(monkeypatch):
    a, b = normal(0, 8, 64).astype(np.float32), normal(1, 64, 8).astype(np.float32)
    exact = a.astype(np.float64) @ b

    def distance():
        return abs(product(put(a), put(b)).get() - exact).max() / abs(exact).max()

    assert distance() < 1e-6
    monkeypatch.setenv("CUPY_TF32", "1")
    assert 1e-5 < distance() < 1.5e-3
    wide = product(put(a.astype(np.float64)), put(b.astype(np.float64)))  # of float64 there is no such form
    assert_agrees(wide.get(), exact)


# What is refused ----------------------------------------------------------------------------------------


def test_factors_that_do_not_fit_are_refused():
    for a, b in [((2, 3), (2, 3)), ((2, 3), (1, 3, 2)), ((2, 2, 3), (1, 3, 2)), ((3,), (3, 2)), ((3, 2), (2,))]:
        with pytest.raises(ValueError, match="no product of"):
            product(xp.ones(a), xp.ones(b))


@pytest.mark.parametrize(("one", "other"), [("float32", "float64"), ("float16", "float16"), ("int32", "int32")])
def test_other_dtypes_are_refused(one, other):
    with pytest.raises(TypeError, match="both must be float32, or both float64"):
        product(xp.ones((2, 2), dtype=one), xp.ones((2, 2), dtype=other))


def test_an_out_that_cannot_hold_the_result_is_refused():
    a, b = xp.ones((2, 3)), xp.ones((3, 4))
    with pytest.raises(ValueError, match="the product float64"):
        product(a, b, xp.ones((4, 2)))
    with pytest.raises(ValueError, match="the product float64"):
        product(a, b, xp.ones((2, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="rows in one piece"):
        product(a, b, xp.ones((4, 2)).T)
    with pytest.raises(ValueError, match="an array to add to"):
        product(a, b, add=True)


def test_sizes_beyond_32_bits_are_refused(library):
    with patch.object(cublas, "LARGEST", 3), pytest.raises(ValueError, match="not 2 x 4 x 2"):
        product(xp.ones((2, 4)), xp.ones((4, 2)))
    assert not any("Gemm" in name for name in library.calls)


def test_a_host_array_is_refused():
    with pytest.raises(TypeError, match="different devices"):
        product(xp.ones((2, 2)), np.ones((2, 2)))


def test_a_status_becomes_one_clear_line():
    out = xp.ones((4, 4))
    with pytest.raises(CublasError) as caught:
        product(out, out[:, :2], out[:, 2:])  # cuBLAS would multiply what it has just written
    assert "\n" not in str(caught.value)
    for words in ("cublasGemmEx", "overlaps", "status 7", "--kernels plain"):
        assert words in str(caught.value)


def test_a_library_that_does_not_start_becomes_one_clear_line():
    asleep = patch.object(strict_cublas.Library, "_create", side_effect=strict_cublas.Refused(1, "not initialized"))
    words = r"cublasCreate_v2 failed: not initialized \(status 1\)"
    with asleep, strict_cublas.installed(), pytest.raises(CublasError, match=words):
        product(xp.ones((2, 2)), xp.ones((2, 2)))


# Streams, workspaces, threads ---------------------------------------------------------------------------


class Stream:
    def __init__(self, ptr):
        self.ptr = ptr


@pytest.fixture
def on_stream(monkeypatch):
    """A function that makes a stream of that address CuPy's current one."""
    return lambda ptr: monkeypatch.setattr(strict_cupy._CUDA, "get_current_stream", lambda: Stream(ptr))


def test_the_workspace_is_set_after_each_change_of_the_stream_and_only_then(library, on_stream):
    x = xp.ones((2, 2))
    product(x, x)
    product(x, x)
    start = ["cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx", "cublasGemmEx"]
    assert library.calls == start
    on_stream(5)
    product(x, x)
    product(x, x)
    on_stream(0)
    product(x, x)
    move = ["cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx"]
    assert library.calls == [*start, *move, "cublasGemmEx", *move]
    first, second, again = library.workspaces
    assert first == again != second  # a captured graph goes on using the memory that it was captured with


def test_a_failed_change_of_the_stream_is_tried_again(library, on_stream):
    x = xp.ones((2, 2))
    product(x, x)
    on_stream(5)
    with patch.object(strict_cupy._CUDA, "Memory", side_effect=MemoryError), pytest.raises(MemoryError):
        product(x, x)
    assert (product(x, x).get() == 2).all()
    assert library.calls[-3:] == ["cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx"]


def test_each_thread_has_a_handle_of_its_own(library):
    x = xp.ones((2, 2))
    product(x, x)
    thread = threading.Thread(target=product, args=(x, x))
    thread.start()
    thread.join()
    assert library.calls.count("cublasCreate_v2") == len(cublas._handles) == 2


# The library --------------------------------------------------------------------------------------------


VERSION_12 = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(runtimeGetVersion=lambda: 12090)))
load = cublas.load  # the real one: the stand-in takes its place in the tests


def test_the_library_is_the_one_that_pathfinder_finds():
    with patch.object(cublas, "import_module") as importing, patch.object(ctypes, "CDLL") as cdll:
        find = importing.return_value.load_nvidia_dynamic_lib
        assert load(VERSION_12) is cdll.return_value
    importing.assert_called_once_with("cuda.pathfinder")
    find.assert_called_once_with("cublas")
    cdll.assert_called_once_with(find.return_value.abs_path)


@pytest.mark.parametrize("trouble", [ImportError, RuntimeError])
def test_without_pathfinder_the_library_is_searched_by_name(trouble):
    with patch.object(cublas, "import_module", side_effect=trouble), patch.object(ctypes, "CDLL") as cdll:
        assert load(VERSION_12) is cdll.return_value
    cdll.assert_called_once_with("libcublas.so.12")


def test_without_a_library_the_error_says_what_to_install():
    found = patch.object(cublas, "import_module", side_effect=ImportError)
    missing = patch.object(ctypes, "CDLL", side_effect=OSError("cannot open"))
    words = r"no cuBLAS \(cannot open\); install it with: pip install nvidia-cublas-cu12"
    with found, missing, pytest.raises(backend.GPUUnavailable, match=words):
        load(VERSION_12)


# A checker that cannot fail is no checker ---------------------------------------------------------------


BUGS = [
    Bug("factors not exchanged", product, "_matrix(xp, b), _matrix(xp, a)", "_matrix(xp, a), _matrix(xp, b)"),
    Bug("rows for columns", cublas._launch, "columns, rows = out", "rows, columns = out"),
    Bug("never transposed", cublas._as_it_lies, "_T,", "_N,"),
    Bug("always dense", cublas._as_it_lies, "_N, down if rows > 1 else columns", "_N, columns"),
    Bug("the step of a batch forgotten", cublas._as_it_lies, "steps[0] if steps else 0", "0"),
    Bug("always added", cublas._launch, "numbers.one if add else", "numbers.one if True else"),
    Bug("never added", cublas._launch, "numbers.one if add else", "numbers.zero if add else"),
    Bug("always in TF32", cublas._launch, "and in_tf32()", "and True"),
    Bug("the workspace before the stream", cublas._Handle._move, '"cublasSetWorkspace_v2", self._library.cublasSetWorkspace_v2(self._pointer, workspace, WORKSPACE)',
        '"cublasSetStream_v2", self._library.cublasSetStream_v2(self._pointer, stream)'),
    Bug("the stream never changes", cublas._Handle.call, "stream != self._stream", "self._stream is None"),
    Bug("an address instead of where it leads", cublas._Handle.call, "self._pointer,", "ctypes.byref(self._pointer),"),
    Bug("copies that nobody keeps", cublas._matrix, "_as_it_lies(array) or _as_it_lies(xp.ascontiguousarray(array))",
        "_as_it_lies(array) or _as_it_lies(array.copy().swapaxes(-1, -2))"),
    Bug("statuses not read", cublas._Handle._check, "status != 0", "False"),
]  # fmt: skip


def is_caught(on_stream):
    """Whether a product is now wrong, or refused by the stand-in."""
    wide = xp.asarray(normal(9, 3, 8).astype(np.float32))
    cases = [
        (put(normal(0, 2, 3)), put(normal(1, 3, 4)), None),
        (put(normal(0, 2, 3), "columns"), put(normal(1, 3, 4), "columns"), None),
        (put(normal(0, 5, 2, 3)), put(normal(1, 5, 3, 4)), None),
        (wide[:, :3], wide[:, 4:], None),
        (put(normal(0, 2, 3), "backwards"), put(normal(1, 3, 4), "backwards"), None),
        (put(normal(0, 2, 3)), put(normal(1, 3, 4)), xp.ones((2, 4))),
    ]
    for stream, (a, b, out) in enumerate(cases):
        on_stream(stream % 3)
        truth = a.get().astype(np.float64) @ b.get() + (0 if out is None else 1)
        try:
            found = product(a, b, out, add=out is not None).get()
            product(xp.ones((2, 3)), xp.ones((3, 2)), full := xp.full((2, 2), np.nan))
            if abs(found - truth).max() > TOLERANCE[found.dtype.name] or not (full.get() == 3).all():
                return True
            product(full, full, full)
            return True  # aliased: must have been refused
        except CublasError as refusal:
            if "overlaps" not in str(refusal):
                return True
    return False


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.story)
def test_a_planted_bug_is_caught(bug, on_stream):
    with planted(bug):
        assert is_caught(on_stream)


def test_without_a_bug_nothing_is_caught(on_stream):
    assert not is_caught(on_stream)


def test_the_stand_in_knows_the_memory_of_living_arrays():
    x = xp.ones((64, 64))
    product(x, x)
    address = x.data.ptr
    assert strict_cupy.owner_of(address, 64 * 64 * 8) is not None
    assert strict_cupy.owner_of(address, 64 * 64 * 8 + 1) is None
    del x
    gc.collect()
    assert strict_cupy.owner_of(address, 64 * 64 * 8) is None


def test_a_product_is_captured_and_replayed_on_the_memory_of_the_capture():
    stream, pool = xp.cuda.Stream(non_blocking=True), xp.cuda.MemoryPool()
    a, out = xp.ones((2, 2)), xp.zeros((2, 2))
    with stream, xp.cuda.using_allocator(pool.malloc):
        product(a, a)  # warms up
        stream.begin_capture()
        product(a, a, out, add=True)
        product(out, product(a, a), fresh := xp.empty((2, 2)))
        graph = stream.end_capture()
        assert not out.get().any()
        for value in (1.0, 2.0):
            a.fill(value)
            out.fill(1)
            graph.launch()
            assert (out.get() == 1 + 2 * value**2).all()
            assert (fresh.get() == (1 + 2 * value**2) * 4 * value**2).all()


def test_a_first_product_within_a_capture_is_refused():
    """Making a handle allocates."""
    stream, x, out = xp.cuda.Stream(non_blocking=True), xp.ones((2, 2)), xp.ones((2, 2))
    with stream:
        stream.begin_capture()
        with pytest.raises((CublasError, strict_cupy.CUDARuntimeError), match="not permitted while capturing"):
            product(x, x, out)
        stream.end_capture()
