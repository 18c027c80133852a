"""What no stand-in can show: cuBLAS itself takes our calls, gives the right numbers, and lets itself be captured."""

from itertools import product as product_of
from unittest.mock import patch

import numpy as np
import pytest

from minigan import ops
from minigan.cuda import conv
from minigan.cuda.cublas import CublasError, _handle, product
from minigan.functional.patches import Geometry
from tests.cuda import test_implicit_gemm
from tests.kernels.twins import LAYOUTS, TWINS, draw, errors
from tests.strategies import normal

pytestmark = pytest.mark.gpu
NAMES = [name for name in TWINS if name.startswith(("conv2d", "dense"))]
TOLERANCE = 8  # units of the precision: see twins.errors. The stand-in's sums need 4, those of a GPU have another order


@pytest.mark.parametrize("name", NAMES)
def test_products_agree_with_the_host(gpu, monkeypatch, name):
    monkeypatch.setenv("CUPY_TF32", "0")
    for seed, (dtype, layout) in enumerate(product_of(2 * [np.float32, np.float64], LAYOUTS)):
        arrays, extra = draw(name, seed, dtype, layout)
        with ops.fast_kernels(1):
            results = TWINS[name].call({key: gpu.put(array) for key, array in arrays.items()}, extra)
        assert max(errors(name, [result.get() for result in results], arrays, extra)) <= TOLERANCE


@pytest.mark.parametrize("case", test_implicit_gemm.CASES, ids=str)
def test_convolutions_on_tensor_cores_agree_with_the_host(gpu, monkeypatch, case):
    """Factors are rounded, and nothing else: bands are out of reach."""
    monkeypatch.setenv("CUPY_TF32", "1")
    with ops.fast_kernels(1), patch.object(conv.Bands, "cut", None), patch.object(conv.Bands, "add_up", None):
        for order in test_implicit_gemm.ORDERS:
            found = test_implicit_gemm.results(gpu, case, 0, order)
            assert test_implicit_gemm.difference(found, case) <= test_implicit_gemm.TOLERANCE


def test_tf32_is_coarser_and_only_on_demand(gpu, monkeypatch):
    a, b = normal(0, 256, 512).astype(np.float32), normal(1, 512, 256).astype(np.float32)
    exact = a.astype(np.float64) @ b
    distance = {}
    for switch in "01":
        monkeypatch.setenv("CUPY_TF32", switch)
        difference = product(gpu.put(a), gpu.put(b)).get() - exact
        distance[switch] = np.linalg.norm(difference) / np.linalg.norm(exact)
    assert distance["0"] <= 1e-5
    assert distance["1"] <= 1.5e-3


def test_a_convolution_with_its_gradients_is_captured_and_replayed(gpu):
    geometry, rng = Geometry((2, 2), (1, 1, 1, 1)), np.random.default_rng(0)
    x, w, dy = (gpu.put(rng.standard_normal(s)) for s in ((4, 8, 8, 3), (4, 4, 3, 6), (4, 4, 4, 6)))

    def work():
        return (
            ops.conv2d(x, w, geometry),
            ops.conv2d_input_grad(dy, w, (8, 8), geometry),
            ops.conv2d_weight_grad(x, dy, (4, 4), geometry),
        )

    expected = [2 * result.get() for result in work()]
    stream, pool = gpu.xp.cuda.Stream(non_blocking=True), gpu.xp.cuda.MemoryPool()
    with stream, gpu.xp.cuda.using_allocator(pool.malloc), ops.fast_kernels(1):
        work()  # makes cuBLAS ready on this stream
        stream.begin_capture()
        results = work()
        graph = stream.end_capture()
        for array in (x, w, dy):
            array *= np.sqrt(2)
        graph.launch(stream)
        stream.synchronize()
    for ours, right in zip(results, expected, strict=True):
        np.testing.assert_allclose(ours.get(), right, rtol=1e-10, atol=1e-10)


def test_an_error_of_cublas_becomes_one_line(gpu):
    nothing = (None, 0, 1)  # address, type, leading dimension
    with pytest.raises(CublasError, match="cublasGemmEx failed"):
        _handle(gpu.xp).call("cublasGemmEx", 7, 7, 1, 1, 1, None, *nothing, *nothing, None, *nothing, 68, -1)
