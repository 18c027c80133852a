"""Products that are added to what is there: by NumPy's own library in every layout, and without it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.kernels import blas
from tests.strategies import normal, seeds

sizes = st.tuples(*[st.integers(1, 40)] * 3)
layouts = st.tuples(*[st.sampled_from(["rows", "columns", "part of rows", "part of columns", "every other"])] * 2)


def laid_out(matrix, layout):
    """The same matrix, otherwise in memory."""
    rows, columns = matrix.shape
    if layout.endswith("columns"):
        return laid_out(matrix.T, layout.replace("columns", "rows")).T
    if layout == "rows":
        return np.ascontiguousarray(matrix)
    step = 2 if layout == "every other" else 1
    larger = np.full((rows + 2, step * columns + 3), np.nan, matrix.dtype)
    part = larger[1 : rows + 1, 2 : step * columns + 2 : step]
    part[...] = matrix
    return part


@pytest.fixture(params=["library", "NumPy alone"])
def alone(request, monkeypatch):
    """With the library, where NumPy has brought it, and as where it has not."""
    monkeypatch.setattr(blas, "SMALL", 1)
    if request.param == "NumPy alone":
        monkeypatch.setattr(blas, "_gemm", lambda _: None)
    elif blas._gemm("f") is None:
        pytest.skip("NumPy computes by another library here")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("alone")
@given(sizes=sizes, layouts=layouts, seed=seeds)
def test_a_product_is_added_in_every_layout(dtype, sizes, layouts, seed):
    m, k, n = sizes
    a, b, there = (array.astype(dtype) for array in (normal(seed, m, k), normal(seed + 1, k, n), normal(seed, m, n)))
    out = laid_out(there, "part of rows")
    around = out.base.copy()
    blas.add_product(laid_out(a, layouts[0]), laid_out(b, layouts[1]), out)
    expected = there + a @ b
    assert abs(out - expected).max() <= 8 * k * np.finfo(dtype).eps * (1 + abs(expected).max())
    out[...] = there
    np.testing.assert_array_equal(out.base, around)  # and nothing was written beside it


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("make", [lambda: np.ones((3, 2)).T, lambda: np.ones((2, 6))[:, ::2]])
def test_other_totals_are_added_to_as_well(make):
    out = make()
    blas.add_product(np.ones((2, 4)), np.ones((4, 3)), out)
    assert (out == 5).all()


def test_a_library_that_computes_something_else_is_not_used(monkeypatch):
    class Wrong:
        def __call__(self, *_):
            return None

    class Library:
        scipy_cblas_sgemm64_ = Wrong()

    monkeypatch.setattr(blas, "_loaded", lambda _: Library())
    blas._gemm.cache_clear()
    try:
        assert blas._gemm("f") is None
        assert blas._gemm("e") is None
    finally:
        blas._gemm.cache_clear()


def test_a_library_that_is_gone_is_not_used():
    assert blas._loaded("/nowhere/at/all.so") is None


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("b", "out"),
    [(np.ones((3, 5)), np.ones((2, 5))), (np.ones((6, 5)), np.ones((2, 5))), (np.ones((4, 5)), np.ones((2, 6)))],
)
def test_what_does_not_fit_is_refused_and_nothing_is_read_beyond_the_end(b, out):
    before = out.copy()
    with pytest.raises(ValueError, match=r"mismatch|broadcast"):
        blas.add_product(np.ones((2, 4)), b, out)
    np.testing.assert_array_equal(out, before)


@pytest.mark.usefixtures("alone")
def test_what_may_not_be_written_is_not():
    out = np.ones((2, 5))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        blas.add_product(np.ones((2, 4)), np.ones((4, 5)), out)


@pytest.mark.usefixtures("alone")
def test_numbers_of_another_byte_order_are_numbers():
    a, b, out = (np.ones(shape, ">f8") for shape in ((2, 4), (4, 5), (2, 5)))
    blas.add_product(a, b, out)
    assert (out == 5).all()
