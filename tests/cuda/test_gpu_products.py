"""Dense layers and convolutions of a GPU's arrays: our own products give what the plain versions give on the host."""

import inspect
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given

from minigan import ops
from tests import strict_cublas, strict_cupy
from tests.kernels.twins import LAYOUTS, TWINS, draw, errors
from tests.strategies import assert_agrees, convolutions, many_examples, seeds

NAMES = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "dense", "dense_input_grad", "dense_weight_grad"]
every_product = pytest.mark.parametrize("name", NAMES)


@contextmanager
def on_the_gpu():
    """The stand-in, with fast kernels, and CuPy's own products out of reach."""
    with strict_cupy.installed() as device, ops.fast_kernels(1), patch.object(strict_cupy.ndarray, "__matmul__", None):
        yield device


def gpu_results(name, arrays, extra):
    """What the twin gives, brought to the host; it must neither wait nor upload."""
    with on_the_gpu() as device:
        there = {key: device.put(array) for key, array in arrays.items()}
        with strict_cupy.counting() as counts, strict_cupy.forbid_dtype("float64" if _dtype(arrays) == "f" else "f"):
            results = TWINS[name].call(there, extra)
        assert (counts.synchronisations, counts.uploads) == (0, 0)
        for key, array in arrays.items():
            assert np.array_equal(there[key].get(), array), f"{key} was changed"
        return [result.get() for result in results]


def _dtype(arrays):
    (only,) = {array.dtype.char for array in arrays.values()}
    return only


@every_product
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
@given(seed=seeds)
def test_our_products_agree_with_the_plain_ones(name, dtype, layout, seed):
    arrays, extra = draw(name, seed, dtype, layout)
    results = gpu_results(name, arrays, extra)
    for result in results:
        assert result.dtype == dtype
    assert max(errors(name, results, arrays, extra)) <= TWINS[name].tolerance


@many_examples
@given(case=convolutions())
def test_convolutions_of_any_geometry_agree_on_the_gpu(case):
    x, w, dy, geometry = case
    size, kernel = x.shape[1:3], w.shape[:2]
    with on_the_gpu() as device:
        there = [device.put(array) for array in (x, w, dy)]
        found = [
            ops.conv2d(there[0], there[1], geometry),
            ops.conv2d_input_grad(there[2], there[1], size, geometry),
            ops.conv2d_weight_grad(there[0], there[2], kernel, geometry),
        ]
        assert all(array.flags.c_contiguous for array in found)
        found = [array.get() for array in found]
    assert_agrees(found[0], ops.conv2d(x, w, geometry))
    assert_agrees(found[1], ops.conv2d_input_grad(dy, w, size, geometry))
    assert_agrees(found[2], ops.conv2d_weight_grad(x, dy, kernel, geometry))


@every_product
def test_the_twin_stands_behind_the_door_and_takes_the_same(name):
    with on_the_gpu():
        twin = ops._gpu_twins[name]
    assert twin.__module__.startswith("minigan.cuda.")
    assert list(inspect.signature(twin).parameters) == list(inspect.signature(getattr(ops, name)).parameters)


@pytest.mark.parametrize("sizes", [(0, 3, 2), (2, 0, 3), (2, 3, 0), (1, 1, 1)], ids=str)
def test_dense_of_empty_axes_on_the_gpu(sizes):
    n, i, o = sizes
    with on_the_gpu() as device:
        x, w, dy, b = (device.xp.ones(shape) for shape in ((n, i), (i, o), (n, o), (o,)))
        y, cache = ops.dense(x, w, b)
        assert (y.get() == i + 1).all()
        assert (ops.dense_input_grad(dy, w).get() == o).all()
        assert (ops.dense_weight_grad(dy, cache).get() == n).all()


def test_dense_layers_multiply_three_times_and_copy_nothing():
    with on_the_gpu() as device, strict_cublas.installed() as library:
        xp = device.xp
        x, w, dy = xp.ones((4, 3)), xp.ones((3, 2)), xp.ones((4, 2))
        with patch.object(xp, "ascontiguousarray", None):
            _, cache = ops.dense(x, w)
            ops.dense_input_grad(dy, w)
            ops.dense_weight_grad(dy, cache)
    assert [name for name in library.calls if "Gemm" in name] == ["cublasGemmEx"] * 3
