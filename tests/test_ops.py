"""The door: every name with a fast twin gives what the plain version gives, however arrays lie, on any threads."""

import inspect
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan import ops
from minigan.cuda import batchnorm as cuda_batchnorm
from minigan.functional.batchnorm import BatchNormCache
from minigan.functional.patches import Geometry
from minigan.kernels import batchnorm as fast_batchnorm
from minigan.kernels import loops as module
from minigan.kernels import workers
from tests.kernels.twins import (
    ALL_TWINS,
    LAYOUTS,
    OF_GENERATORS,
    TWINS,
    draw,
    errors,
    fast,
    loops_there_are,
    misshapen,
    outcome,
    plain_float64,
)
from tests.strategies import Convolution, convolutions, normal, seeds

every_twin = pytest.mark.parametrize("name", TWINS)
all_loops = pytest.mark.parametrize("loops", loops_there_are().values(), ids=loops_there_are())
both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
some_examples = settings(max_examples=20)
threads = st.sampled_from([1, 2, 3])  # 3: more than there may be cores
layouts = st.sampled_from(list(LAYOUTS))


def test_every_operation_with_a_twin_is_in_a_table():
    assert sorted(ops.WITH_TWINS) == sorted({*ALL_TWINS, *OF_GENERATORS})
    with ops.fast_kernels(1):
        assert sorted(ops._host_twins) == sorted({*TWINS, "draw_keep"})


# Fast against plain -------------------------------------------------------------------------------------
#
# Tolerances stand in the table, in units of the precision (1.2e-7 in float32, 2.2e-16 in float64) times what rounding
# errors scale with. Convolutions have 80 of them, 1e-5 in float32: sums on tiles are made of numbers some ten times as
# large as the result (docs/performance.md measures it). The others order their sums differently, at most. Backward
# through batch normalisation loses more than forward: differences of close numbers, divided by a deviation down to 0.3.


@every_twin
@all_loops
@both_precisions
@some_examples
@given(seed=seeds, layout=layouts, threads=threads)
def test_fast_agrees_with_plain(name, loops, dtype, seed, layout, threads):
    arrays, extra = draw(name, seed, dtype, layout)
    before = {key: array.copy() for key, array in arrays.items()}
    with fast(threads, loops):
        results = TWINS[name].call(arrays, extra)
    for result in results:
        assert result.dtype == dtype
        assert not any(np.shares_memory(result, array) for array in arrays.values())
    assert max(errors(name, results, arrays, extra)) <= TWINS[name].tolerance
    for key, array in arrays.items():
        assert np.array_equal(array, before[key]), f"{key} was changed"


@every_twin
@all_loops
@given(seed=seeds)
def test_shapes_that_plain_versions_refuse_are_refused(name, loops, seed):
    """A compiled loop would read, or write, behind an array. What NumPy broadcasts may be refused, or agrees."""
    arrays, extra = misshapen(name, seed)
    expected = outcome(name, {key: array.copy() for key, array in arrays.items()}, extra)
    with fast(2, loops):
        found = outcome(name, arrays, extra)
    if expected is None:
        assert found is None
    elif found is not None:
        assert max(errors(name, found, arrays, extra)) <= TWINS[name].tolerance


@all_loops
@some_examples
@given(case=convolutions(), threads=threads)
def test_convolutions_of_any_geometry_agree(loops, case: Convolution, threads):
    x, w, dy, geometry = case
    with fast(threads, loops):
        found = (
            ops.conv2d(x, w, geometry),
            ops.conv2d_input_grad(dy, w, x.shape[1:3], geometry),
            ops.conv2d_weight_grad(x, dy, w.shape[:2], geometry),
        )
    expected = (
        ops.conv2d(x, w, geometry),
        ops.conv2d_input_grad(dy, w, x.shape[1:3], geometry),
        ops.conv2d_weight_grad(x, dy, w.shape[:2], geometry),
    )
    for ours, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-12, atol=1e-12)


@every_twin
@both_precisions
def test_at_full_limits_too(name, dtype):
    """As in a run: limits as they are, and arrays large enough for two workers where that takes little."""
    arrays, extra = draw(name, 3, dtype)
    with ops.fast_kernels(2):
        results = TWINS[name].call(arrays, extra)
    assert max(errors(name, results, arrays, extra)) <= TWINS[name].tolerance


@every_twin
@all_loops
@some_examples
@given(seed=seeds, threads=threads)
def test_the_same_threads_give_the_same_bits(name, loops, seed, threads):
    arrays, extra = draw(name, seed, np.float32)
    with fast(threads, loops):
        once, again = (TWINS[name].call(arrays, extra) for _ in range(2))
    for first, second in zip(once, again, strict=True):
        assert first.tobytes() == second.tobytes()


# What a run must notice ---------------------------------------------------------------------------------


def poisoned(name, seed, value):
    """Arrays for a call, one of which has one such value."""
    arrays, extra = draw(name, seed, np.float32)
    rng = np.random.default_rng(seed)
    chosen = arrays[str(rng.choice(list(arrays)))]
    chosen.reshape(-1)[rng.integers(chosen.size)] = value
    return arrays, extra


@every_twin
@all_loops
@settings(max_examples=30)
@given(seed=seeds, value=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_stays_so(name, loops, seed, value):
    """Wherever the plain version gives something that is not finite, the same result of the fast one is not."""
    arrays, extra = poisoned(name, seed, value)
    with np.errstate(all="ignore"):
        expected = TWINS[name].call(arrays, extra)
        with fast(2, loops):
            found = TWINS[name].call(arrays, extra)
    for ours, plain in zip(found, expected, strict=True):
        assert np.isfinite(plain).all() or not np.isfinite(ours).all()


@every_twin
def test_most_of_those_examples_have_something_to_notice(name):
    results = [TWINS[name].call(*poisoned(name, seed, np.nan)) for seed in range(20)]
    assert sum(not all(np.isfinite(part).all() for part in parts) for parts in results) >= 5


def test_relu_makes_minus_infinity_visible():
    """The plain version gives 0 there."""
    with fast(1), np.errstate(invalid="ignore"):
        assert np.isnan(ops.relu(np.array([-np.inf]))[0]).all()


@pytest.mark.parametrize("name", [name for name, twin in TWINS.items() if twin.sums])
@all_loops
@some_examples
@given(seed=seeds)
def test_large_numbers_in_double_precision(name, loops, seed):
    arrays, extra = draw(name, seed)
    large = {key: array * 1e20 for key, array in arrays.items()}
    with fast(2, loops):
        results = TWINS[name].call(large, extra)
    assert max(errors(name, results, large, extra)) <= TWINS[name].tolerance


# Edges --------------------------------------------------------------------------------------------------


@all_loops
@pytest.mark.parametrize("geometry", [Geometry((2, 2), (1, 1, 1, 1)), Geometry((3, 1))], ids=["tiles", "windows"])
def test_no_images(loops, geometry):
    x, w = np.zeros((0, 8, 8, 3)), np.ones((4, 4, 3, 2))
    dy = np.zeros((0, *geometry.out_size((8, 8), (4, 4)), 2))
    with fast(2, loops):
        assert ops.conv2d(x, w, geometry).shape == dy.shape
        assert ops.conv2d_input_grad(dy, w, (8, 8), geometry).shape == x.shape
        assert not ops.conv2d_weight_grad(x, dy, (4, 4), geometry).any()
        assert not ops.conv2d_bias_grad(dy).any()


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (1, 1, 1, 1)], ids=str)
def test_activations_keep_the_shape_of_small_arrays(name, shape):
    with fast(2):
        y, cache = getattr(ops, name)(np.ones(shape))
        assert y.shape == shape
        if name != "sigmoid":
            assert getattr(ops, f"{name}_backward")(np.ones(shape), cache).shape == shape


@both_precisions
def test_the_fast_sigmoid_keeps_its_digits_in_both_tails(dtype):
    x = np.array([-1e4, -80, -20, -1e-3, 0, 1e-3, 20, 80, 1e4, -np.inf, np.inf], dtype)
    with fast(1):
        y, _ = ops.sigmoid(x)
    expected = ops.sigmoid(x.astype(np.float64))[0]
    np.testing.assert_allclose(y, expected, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("sizes", [(0, 3, 2), (2, 0, 3), (2, 3, 0), (1, 1, 1)], ids=str)
def test_dense_of_empty_axes(sizes):
    n, i, o = sizes
    x, w, dy = normal(0, n, i), normal(1, i, o), normal(2, n, o)
    with fast(2):
        y, cache = ops.dense(x, w, np.ones(o))
        np.testing.assert_allclose(y, x @ w + 1)
        np.testing.assert_allclose(ops.dense_input_grad(dy, w), dy @ w.T)
        np.testing.assert_allclose(ops.dense_weight_grad(dy, cache), x.T @ dy)


def message(call, *arguments):
    with pytest.raises(ValueError, match=r"\d") as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("conv2d", (np.ones((1, 2, 2, 3)), np.ones((3, 3, 3, 2)), Geometry())),
        ("conv2d", (np.ones((1, 2, 2, 3)), np.ones((5, 5, 3, 2)), Geometry())),
        ("conv2d_input_grad", (np.ones((1, 4, 3, 2)), np.ones((3, 3, 3, 2)), (5, 5), Geometry())),
        ("conv2d_weight_grad", (np.ones((1, 5, 5, 3)), np.ones((1, 4, 3, 2)), (3, 3), Geometry())),
        ("conv2d_weight_grad", (np.ones((1, 2, 2, 3)), np.ones((1, 0, 0, 2)), (3, 3), Geometry())),
        ("batchnorm", (np.ones((1, 3)), np.ones(3), np.ones(3), 0.1)),
    ],
)
def test_what_the_plain_version_refuses_is_refused_in_the_same_words(name, arguments):
    expected = message(getattr(ops, name), *arguments)
    with fast(2):
        assert message(getattr(ops, name), *arguments) == expected


# The door itself ----------------------------------------------------------------------------------------


@every_twin
def test_a_twin_takes_what_the_plain_version_takes(name):
    with ops.fast_kernels(1):
        twin = ops._host_twins[name]
    assert twin.__module__.startswith("minigan.kernels.")
    if name != "in_pieces":  # which takes any number of arrays
        assert list(inspect.signature(twin).parameters) == list(inspect.signature(getattr(ops, name)).parameters)


def test_twins_are_used_inside_the_context_only():
    x, gamma, beta = np.ones((4, 2)), np.ones(2), np.zeros(2)
    with ops.fast_kernels(2):
        assert isinstance(ops.batchnorm(x, gamma, beta, 0.1)[1], fast_batchnorm.BatchNormCache)
        assert workers.threads() == 2
        assert ops.kernels_in_use().startswith("fast kernels (")
        assert ops.kernels_in_use().endswith(") x2")
    assert isinstance(ops.batchnorm(x, gamma, beta, 0.1)[1], BatchNormCache)
    assert (workers.threads(), ops.kernels_in_use()) == (1, "plain kernels")


def test_an_error_inside_leaves_plain_kernels_behind():
    with pytest.raises(KeyError), ops.fast_kernels(2):
        raise KeyError
    assert ops.kernels_in_use() == "plain kernels"
    assert workers.threads() == 1


def test_a_gpu_s_arrays_take_its_own_twins_and_the_host_s_theirs(strict):
    arrays = [normal(0, 4, 3), np.ones(3), np.zeros(3)]
    with ops.fast_kernels(2):
        on_gpu = ops.batchnorm(*map(strict.put, arrays), 0.1)[1]
        on_host = ops.batchnorm(*arrays, 0.1)[1]
    assert isinstance(on_gpu, cuda_batchnorm.BatchNormCache)
    assert isinstance(on_host, fast_batchnorm.BatchNormCache)
    assert isinstance(ops.batchnorm(*map(strict.put, arrays), 0.1)[1], BatchNormCache)


def test_a_cache_of_the_plain_version_can_go_back_fast():
    x, gamma, dy = normal(0, 6, 3), normal(1, 3), normal(2, 6, 3)
    _, cache = ops.batchnorm(x, gamma, gamma, 0.1)
    expected = ops.batchnorm_backward(dy, gamma, cache)
    with fast(2):
        found = ops.batchnorm_backward(dy, gamma, cache)
    for ours, plain in zip(found, expected, strict=True):
        assert np.array_equal(ours, plain)


def test_the_measure_of_errors_would_notice():
    arrays, extra = draw("conv2d", 0, np.float32)
    results = [right.astype(np.float32) for right in plain_float64("conv2d", arrays, extra)]
    assert max(errors("conv2d", results, arrays, extra)) <= 1
    results[0].reshape(-1)[abs(results[0]).argmax()] *= 1.001
    assert max(errors("conv2d", results, arrays, extra)) > TWINS["conv2d"].tolerance


def test_fast_kernels_nest():
    with ops.fast_kernels(2):
        outer = ops.kernels_in_use()
        with ops.fast_kernels(3):
            assert ops.kernels_in_use() != outer
        assert ops.kernels_in_use() == outer
    assert ops.kernels_in_use() == "plain kernels"


def test_without_a_place_for_compiled_code_the_loops_are_numpys(monkeypatch):
    def refuse(name):
        if name.endswith("compiled"):
            raise RuntimeError("cannot cache function: no locator available")
        return import_module(name)

    monkeypatch.setattr(module, "import_module", refuse)
    assert module.choose()[0].__name__ == "minigan.kernels.blocks"


def test_a_second_thread_cannot_enter_and_threads_within_compute_the_same():
    x, w = normal(0, 40, 30).astype(np.float32), normal(1, 30, 20).astype(np.float32)
    with ThreadPoolExecutor(4) as pool:
        with ops.fast_kernels(2):
            ys = list(pool.map(lambda _: ops.dense(x, w)[0], range(8)))
            with pytest.raises(RuntimeError, match="another thread uses fast kernels"):
                pool.submit(ops.fast_kernels(1).__enter__).result()
            assert ops.kernels_in_use().endswith("x2")
        assert all(np.array_equal(y, ys[0]) for y in ys)
        assert ops.kernels_in_use() == "plain kernels"
        assert pool.submit(kernels_within).result().endswith("x1")


def kernels_within() -> str:
    with ops.fast_kernels(1):
        return ops.kernels_in_use()


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.uint8, ">f4"])
def test_of_numbers_that_twins_do_not_know_fast_is_plain(dtype):
    x = np.array([[-3, 5, -4], [2, 0, 1]]).astype(dtype)
    calls = [
        lambda: ops.leaky_relu(x, 0.2)[0], lambda: ops.dropout(x, x > 0, 1 / 0.6)[0], lambda: ops.tanh(x)[0],
        lambda: ops.batchnorm(x, np.ones(3), np.zeros(3), 0.1)[0], lambda: ops.dense(x, np.ones((3, 2)))[0],
    ]  # fmt: skip
    for call in calls:
        expected = call()
        with ops.fast_kernels(1):
            found = call()
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


def test_a_single_vector_is_no_batch_of_rows():
    x, w = normal(0, 4).astype(np.float32), normal(1, 4, 3).astype(np.float32)
    with ops.fast_kernels(1):
        assert ops.dense(x, w)[0].shape == (3,)


def test_no_threads_compute_nothing():
    with pytest.raises(ValueError, match="at least one thread, got 0"), ops.fast_kernels(0):
        pass
