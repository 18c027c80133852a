"""Sums over many rows keep their digits in float32; the gradients of two passes are added in place."""

import numpy as np
import pytest

from minigan import ops
from minigan.functional.sums import add_to, mean_rows, sum_rows

ROWS = 1 << 18  # 64 images of 64 x 64 pixels


def test_rows_are_added_in_double_precision():
    rows = np.full((ROWS, 2), 0.1, np.float32)
    assert mean_rows(rows) == pytest.approx(np.float32(0.1), rel=1e-7)
    assert sum_rows(rows) == pytest.approx(ROWS * float(np.float32(0.1)), rel=1e-7)
    assert mean_rows(rows).dtype == sum_rows(rows).dtype == np.float32


def test_statistics_and_gradients_of_many_pixels_are_those_in_double_precision():
    rng = np.random.default_rng(0)
    x, dy = 3 + rng.standard_normal((2, 64, 64, 64, 2), dtype=np.float32)
    dy += x  # else the gradient of gamma would be a small difference of large sums
    found = {}
    for dtype in (np.float32, np.float64):
        gamma, beta = np.ones(2, dtype), np.zeros(2, dtype)
        y, cache = ops.batchnorm(x.astype(dtype), gamma, beta, 1e-5)
        dx, dgamma, dbeta = ops.batchnorm_backward(dy.astype(dtype), gamma, cache)
        db = ops.conv2d_bias_grad(dy.astype(dtype))
        found[dtype] = y, cache.mean, cache.var, dx, dgamma, dbeta, db
    for ours, right in zip(found[np.float32], found[np.float64], strict=True):
        assert abs(ours - right).max() < 3e-6 * abs(right).max()


def test_the_first_gradient_is_the_total_and_others_are_added_in_place():
    total, more = np.ones(3), np.arange(3.0)
    assert add_to(None, more) is more
    assert add_to(total, more) is total
    assert list(total) == [1, 2, 3]
