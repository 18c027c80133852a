"""Batch normalisation by moments: close numbers far from zero, and caches that live side by side."""

import numpy as np
import pytest

from minigan import ops
from tests.kernels.twins import fast, loops_there_are
from tests.strategies import normal

all_loops = pytest.mark.parametrize("loops", loops_there_are().values(), ids=loops_there_are())
EPS32 = float(np.finfo(np.float32).eps)


def far_from_zero(rows: int, spread: float) -> np.ndarray:
    return (1e4 + spread * normal(0, rows, 8)).astype(np.float32)


def normalised(x: np.ndarray) -> np.ndarray:
    ones = np.ones(x.shape[1], x.dtype)
    return ops.batchnorm(x, ones, 0 * ones, 0.0)[0]


@all_loops
@pytest.mark.parametrize("rows", [200, 5000])
@pytest.mark.parametrize("spread", [1.0, 0.1, 0.01])
def test_a_large_mean_costs_no_more_than_its_own_digits(loops, rows, spread):
    """A mean of 1e4 in float32 has an error of eps 1e4; in units of the deviation that is eps 1e4 / spread.

    Sums of 128 rows (or of a piece) have a few times as much. Squares minus the square of the mean would
    have eps (1e4 / spread)^2: nothing would be left.
    """
    x = far_from_zero(rows, spread)
    truth = normalised(x.astype(np.float64))
    with fast(2, loops):
        found = normalised(x)
    assert abs(found - truth).max() <= 4 * EPS32 * 1e4 / spread


@all_loops
def test_long_sums_are_better_than_row_after_row(loops):
    x = far_from_zero(5000, 1.0)
    truth = normalised(x.astype(np.float64))
    with fast(2, loops):
        ours = abs(normalised(x) - truth).max()
    centred = x - x.mean(axis=0)
    row_after_row = centred / np.sqrt((centred * centred).mean(axis=0))
    assert ours < abs(row_after_row - truth).max() / 2


@all_loops
def test_a_channel_without_variance(loops):
    x = np.full((6, 2), 3.0)
    with fast(2, loops):
        y, cache = ops.batchnorm(x, np.ones(2), np.full(2, 0.5), 1e-5)
        dx, dgamma, _ = ops.batchnorm_backward(normal(0, 6, 2), np.ones(2), cache)
    assert (y == 0.5).all()
    assert not cache.var.any()
    assert np.isfinite(dx).all()
    assert not dgamma.any()


@all_loops
def test_a_gradient_equal_for_all_samples_vanishes(loops):
    with fast(2, loops):
        _, cache = ops.batchnorm(normal(0, 9, 3), np.ones(3), np.zeros(3), 1e-5)
        dx, _, _ = ops.batchnorm_backward(np.full((9, 3), 0.7), np.ones(3), cache)
    assert abs(dx).max() < 1e-15
