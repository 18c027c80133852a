"""Batch normalisation with the rectifier behind it in one, against the two operations one after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan import ops
from minigan.cuda import batchnorm as fused
from tests.cuda.gpu import LAYOUTS, fast_gpu, small_launches
from tests.kernels.twins import draw
from tests.strategies import error, normal, seeds

pytestmark = pytest.mark.emulated


def apart(x, dy, gamma, beta, eps, slope):
    """y, dx, dgamma, dbeta by two operations."""
    v, cache = ops.batchnorm(x, gamma, beta, eps)
    y, cache_y = ops.leaky_relu(v, slope)
    return [y, *ops.batchnorm_backward(ops.leaky_relu_backward(dy, cache_y, slope), gamma, cache)]


def in_one(x, dy, gamma, beta, eps, slope, layout="C"):
    """The same on the stand-in for a GPU."""
    with fast_gpu() as device:
        arrays = {"x": x, "dy": dy, "gamma": gamma, "beta": beta}
        x, dy, gamma, beta = (LAYOUTS[layout](name, device.put(array)) for name, array in arrays.items())
        y, cache = ops.batchnorm_leaky(x, gamma, beta, eps, slope)
        return [each.get() for each in (y, *ops.batchnorm_leaky_backward(dy, gamma, cache, slope))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@settings(max_examples=30)
@given(seed=seeds, slope=st.sampled_from([0.0, 0.2, 1.0]), layout=st.sampled_from(list(LAYOUTS)))
def test_as_the_two_operations(dtype, seed, slope, layout):
    arrays, eps = draw("batchnorm_backward", seed, dtype)
    x, dy, gamma, beta = (arrays[key] for key in ("x", "dy", "gamma", "beta"))
    expected = apart(*(array.astype(np.float64) for array in (x, dy, gamma, beta)), eps, slope)
    with small_launches():
        found = in_one(x, dy, gamma, beta, eps, slope, layout)
    for ours, plain in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        assert error(ours, plain, floor=1.0) <= 64 * np.finfo(dtype).eps


@pytest.mark.parametrize("shape", [(2, 1), (100, 70), (3, 5, 7, 33), (513, 2)], ids=str)
def test_at_full_sizes(shape):
    """One row more than a block's, one channel more than its width, and less than both."""
    x, dy, gamma, beta = normal(0, *shape) + 3, normal(1, *shape), normal(2, shape[-1]), normal(3, shape[-1])
    for ours, plain in zip(in_one(x, dy, gamma, beta, 1e-5, 0.2), apart(x, dy, gamma, beta, 1e-5, 0.2), strict=True):
        assert error(ours, plain) <= 1e-12


def test_a_mean_far_from_zero_leaves_the_variance_its_digits():
    """Sums of squares of x itself would have lost all of them."""
    arrays = 1e8 + normal(0, 64, 3), normal(1, 64, 3), np.ones(3), np.zeros(3)
    for ours, plain in zip(in_one(*arrays, 1e-5, 0.2), apart(*arrays, 1e-5, 0.2), strict=True):
        assert error(ours, plain) <= 1e-6  # the mean itself is known to 1e-8


def test_shares_of_blocks_cover_every_row_once():
    for shape in [(2, 1), (100, 1200), (128, 32, 32, 64), (128, 4, 4, 512), (70000, 3), (4, 100000)]:
        split = fused.split(shape)
        assert (split.chunks - 1) * split.height < split.rows <= split.chunks * split.height
        columns = split.grid[0]
        assert (columns - 1) * fused.WIDTH < split.channels <= columns * fused.WIDTH
        assert split.chunks == 1 or split.chunks * columns <= fused.BLOCKS
