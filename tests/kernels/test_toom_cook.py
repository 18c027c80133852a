"""The matrices of F(m, r): an exact identity, in fractions."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from minigan.kernels.toom_cook import POINTS, toom_cook

every_form = pytest.mark.parametrize(("m", "r"), POINTS, ids=str)


def exact(matrix: np.ndarray) -> list[list[Fraction]]:
    """The fractions that a float64 matrix stands for; they have small denominators."""
    found = [[Fraction(float(value)).limit_denominator(1000) for value in row] for row in matrix]
    np.testing.assert_allclose(matrix, np.array(found, float), rtol=1e-15, atol=0)
    return found


@every_form
def test_it_is_filtering_exactly(m, r):
    """y_i = sum_k d_(i+k) g_k is bilinear: it holds for all d and g as it holds for unit vectors."""
    form = toom_cook(m, r)
    bt, g, at = exact(form.bt), exact(form.g), exact(form.at)
    n = m + r - 1
    for i, k, j in product(range(m), range(r), range(n)):
        assert sum(at[i][p] * g[p][k] * bt[p][j] for p in range(n)) == (j == i + k)


@every_form
def test_it_takes_m_plus_r_minus_1_products(m, r):
    form = toom_cook(m, r)
    n = m + r - 1
    assert (form.bt.shape, form.g.shape, form.at.shape) == ((n, n), (n, r), (m, n))
    assert len(set(POINTS[m, r])) == len(POINTS[m, r]) == n - 1


@every_form
def test_its_three_transposes_are_filtering_and_both_gradients(m, r):
    form, rng = toom_cook(m, r), np.random.default_rng(0)
    d, g, dy = rng.normal(size=m + r - 1), rng.normal(size=r), rng.normal(size=m)
    y = form.at @ ((form.g @ g) * (form.bt @ d))
    dd = form.bt.T @ ((form.at.T @ dy) * (form.g @ g))
    dg = form.g.T @ ((form.at.T @ dy) * (form.bt @ d))
    np.testing.assert_allclose(y, np.correlate(d, g), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dd, np.convolve(dy, g), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dg, np.correlate(d, dy), rtol=1e-12, atol=1e-12)


def test_the_first_form_is_the_one_derived_by_hand():
    """docs/performance.md: (d0 - d1) g0, d1 (g0 + g1), (d2 - d1) g1."""
    form = toom_cook(2, 2)
    assert form.bt.tolist() == [[-1, 1, 0], [0, 1, 0], [0, -1, 1]]
    assert form.g.tolist() == [[-1, 0], [1, 1], [0, 1]]
    assert form.at.tolist() == [[1, 1, 0], [0, 1, 1]]


def relative_error(m: int, r: int) -> float:
    """Of outputs in float32, as a root mean square over random tiles in two dimensions."""
    rng, form, n = np.random.default_rng(0), toom_cook(m, r), m + r - 1
    d, g = rng.standard_normal((2000, n, n, 8)), rng.standard_normal((r, r, 8))
    right = sum(d[:, a : a + m, b : b + m] @ g[a, b] for a, b in np.ndindex(r, r))
    bt, gg, at = (matrix.astype(np.float32) for matrix in (form.bt, form.g, form.at))
    u = np.einsum("ia,jb,abc->ijc", gg, gg, g.astype(np.float32))
    v = np.einsum("ia,jb,nabc->nijc", bt, bt, d.astype(np.float32))
    y = np.einsum("ia,jb,nab->nij", at, at, (u * v).sum(-1))
    return float(np.linalg.norm(y - right) / np.linalg.norm(right))


def test_the_points_keep_rounding_errors_small():
    """As the comment beside POINTS says, whichever way the sums are ordered."""
    assert all(relative_error(2, r) < 1e-6 for r in (2, 3))
    assert all(relative_error(4, r) < 3e-6 for r in (2, 3))


def test_worse_points_would_be_noticed(monkeypatch):
    monkeypatch.setitem(POINTS, (4, 3), (0.0, 1.0, 2.0, 3.0, 4.0))
    toom_cook.cache_clear()
    try:
        assert relative_error(4, 3) > 1e-5
    finally:
        toom_cook.cache_clear()
