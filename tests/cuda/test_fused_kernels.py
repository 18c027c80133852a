"""Every twin on a GPU gives what the plain version gives; the CUDA sources run on the CPU (tests/strict_kernels.py)."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan import ops
from minigan.backend import to_host
from minigan.cuda import launch, pointwise
from minigan.functional.batchnorm import BatchNormCache
from tests import strict_cupy
from tests.cuda.gpu import LAYOUTS, fast_gpu, on_gpu, small_launches
from tests.kernels.twins import ALL_TWINS, OF_GENERATORS, draw, errors, misshapen, outcome
from tests.strategies import normal, seeds

pytestmark = pytest.mark.emulated

TWINS = sorted(ops._twins_in("cuda", ops.GPU_ROOMS).keys() - OF_GENERATORS)
every_twin = pytest.mark.parametrize("name", TWINS)
both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
some_examples = settings(max_examples=15)


@every_twin
@both_precisions
@some_examples
@given(seed=seeds, layout=st.sampled_from(list(LAYOUTS)))
def test_fast_agrees_with_plain(name, dtype, seed, layout):
    arrays, extra = draw(name, seed, dtype)
    with small_launches(), fast_gpu() as device:
        results = on_gpu(device, name, arrays, extra, layout)
    assert all(result.dtype == dtype for result in results)
    assert max(errors(name, results, arrays, extra)) <= ALL_TWINS[name].tolerance


@every_twin
@given(seed=seeds)
def test_shapes_that_plain_versions_refuse_are_refused(name, seed):
    """A kernel would read, or write, behind an array. What NumPy broadcasts may be refused, or agrees."""
    arrays, extra = misshapen(name, seed)
    expected = outcome(name, {key: array.copy() for key, array in arrays.items()}, extra)
    with small_launches(), fast_gpu() as device:
        try:
            found = on_gpu(device, name, arrays, extra)
        except (ValueError, IndexError):
            found = None
    if expected is None:
        assert found is None
    elif found is not None:
        assert max(errors(name, found, arrays, extra)) <= ALL_TWINS[name].tolerance


@every_twin
def test_at_full_sizes_too(name):
    arrays, extra = draw(name, 3, np.float32)
    with fast_gpu() as device:
        results = on_gpu(device, name, arrays, extra)
    assert max(errors(name, results, arrays, extra)) <= ALL_TWINS[name].tolerance


@pytest.mark.gpu
@every_twin
@both_precisions
@some_examples
@given(seed=seeds, layout=st.sampled_from(list(LAYOUTS)))
def test_a_real_gpu_agrees_with_plain(name, dtype, gpu, seed, layout):
    arrays, extra = draw(name, seed, dtype)
    given_there = {key: LAYOUTS[layout](key, gpu.put(array)) for key, array in arrays.items()}
    with ops.fast_kernels(1):
        results = [to_host(result) for result in ALL_TWINS[name].call(given_there, extra)]
    assert max(errors(name, results, arrays, extra)) <= ALL_TWINS[name].tolerance


@every_twin
@settings(max_examples=10)
@given(seed=seeds, value=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_stays_so(name, seed, value):
    arrays, extra = draw(name, seed, np.float32)
    rng = np.random.default_rng(seed)
    chosen = arrays[str(rng.choice(list(arrays)))]
    chosen.reshape(-1)[rng.integers(chosen.size)] = value
    with np.errstate(all="ignore"):
        expected = ALL_TWINS[name].call(arrays, extra)
        with small_launches(), fast_gpu() as device:
            found = on_gpu(device, name, arrays, extra)
    for ours, plain in zip(found, expected, strict=True):
        assert np.isfinite(plain).all() or not np.isfinite(ours).all()


@pytest.mark.parametrize("name", [*TWINS, *sorted(OF_GENERATORS)])
def test_a_twin_takes_what_the_plain_version_takes(name):
    twin = ops._twins_in("cuda", ops.GPU_ROOMS)[name]
    assert list(inspect.signature(twin).parameters) == list(inspect.signature(getattr(ops, name)).parameters)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (1, 1, 1, 1)], ids=str)
def test_activations_keep_the_shape_of_small_arrays(name, shape):
    with fast_gpu() as device:
        x = device.put(np.ones(shape))
        y, cache = getattr(ops, name)(x)
        assert y.shape == shape
        assert getattr(ops, f"{name}_backward")(x, cache).shape == shape


def test_steps_in_float32_make_nothing_of_float64():
    """Sums are float64 inside a kernel alone."""
    with fast_gpu() as device, strict_cupy.forbid_dtype("float64"):
        x, gamma = device.put(normal(0, 9, 3).astype("f")), device.put(np.ones(3, "f"))
        y, cache = ops.batchnorm(x, gamma, gamma, 1e-5)
        ops.batchnorm_backward(y, gamma, cache)
        ops.update_running_statistics(gamma, gamma.copy(), cache, 0.1)
        ops.discriminator_bce(x, x, 0.1, 0.5)


def launches_of(call, monkeypatch):
    launched = []
    with monkeypatch.context() as patch:
        patch.setattr(
            pointwise, "launch_each", lambda *of, **more: launched.append(of) or launch.launch_each(*of, **more)
        )
        return call(), len(launched)


def test_the_gradients_of_both_batches_are_one_array_already(monkeypatch):
    with fast_gpu() as device:
        real, fake = (device.put(normal(seed, n, 1)) for seed, n in enumerate((3, 5)))
        _, dreal, dfake = ops.discriminator_bce(real, fake)
        both, launched = launches_of(lambda: ops.concatenate(dreal, dfake), monkeypatch)
        assert (launched, both.shape, both.data.ptr) == (0, (8, 1), dreal.data.ptr)
        assert np.array_equal(both.get(), np.concatenate([dreal.get(), dfake.get()]))


@pytest.mark.parametrize(
    "case", ["the wrong order", "not all", "a gap", "another array", "not from the start", "turned"]
)
def test_what_is_no_whole_array_is_copied(case, monkeypatch):
    with fast_gpu() as device:
        x, y = device.put(normal(0, 8, 2)), device.put(normal(1, 8, 2))
        turned = device.xp.asfortranarray(device.put(normal(2, 2, 6))).T  # contiguous, but not what it is a view of
        first, second = {
            "the wrong order": (x[4:], x[:4]), "not all": (x[:4], x[4:7]), "a gap": (x[:3], x[4:]),
            "another array": (x[:4], y[4:]), "not from the start": (x[1:4], x[4:]),
            "turned": (turned[:3], turned[3:]),
        }[case]  # fmt: skip
        both, launched = launches_of(lambda: ops.concatenate(first, second), monkeypatch)
        assert launched == 1
        assert np.array_equal(both.get(), np.concatenate([first.get(), second.get()]))


def test_what_the_plain_version_refuses_is_refused_in_the_same_words():
    one = np.ones((1, 3))
    with fast_gpu() as device:
        for call in (
            lambda put: ops.batchnorm(put(one), put(one[0]), put(one[0]), 0.1),
            lambda put: ops.maxout(put(one), 2),
        ):
            with pytest.raises(ValueError, match=r"\d") as expected:
                call(np.asarray)
            with pytest.raises(ValueError, match=r"\d") as found:
                call(device.put)
            assert str(found.value) == str(expected.value)


def test_a_cache_of_the_plain_version_can_go_back_fast():
    x, gamma, dy = normal(0, 6, 3), normal(1, 3), normal(2, 6, 3)
    expected = ops.batchnorm_backward(dy, gamma, ops.batchnorm(x, gamma, gamma, 0.1)[1])
    with strict_cupy.installed() as device:
        cache = ops.batchnorm(*map(device.put, (x, gamma, gamma)), 0.1)[1]
        assert isinstance(cache, BatchNormCache)
        with ops.fast_kernels(1):
            found = ops.batchnorm_backward(device.put(dy), device.put(gamma), cache)
    for ours, plain in zip(found, expected, strict=True):
        assert np.array_equal(ours.get(), plain)


def test_other_precisions_are_left_to_plain_operations_and_refused_by_kernels():
    with fast_gpu() as device:
        x = device.put(np.array([-1, 2], np.float16))
        assert ops.relu(x)[0].get().tolist() == [0, 2]
        with pytest.raises(TypeError, match="float32 and float64, not in float16"):
            pointwise.relu(x)


def test_masks_of_other_shapes_take_the_plain_way():
    x, keep = normal(0, 4, 3, 2), np.array([[[True], [False], [True]]] * 4)
    with fast_gpu() as device:
        assert np.array_equal(ops.dropout(device.put(x), device.put(keep), 2.0)[0].get(), x * keep * 2)


def test_a_step_is_few_launches(monkeypatch):
    """One for each operation, three for batch normalisation each way."""
    launched = []
    kernel = launch._kernel
    monkeypatch.setattr(launch, "_kernel", lambda *of: launched.append(of[2]) or kernel(*of))
    with fast_gpu() as device:
        x, gamma = device.put(normal(0, 9, 4)), device.put(np.ones(4))
        y, cache = ops.batchnorm(x, gamma, gamma, 1e-5)
        ops.batchnorm_backward(y, gamma, cache)
        assert launched == [
            "moments", "statistics", "normalise", "gradient_sums", "parameter_gradients", "input_gradient",
        ]  # fmt: skip
        launched.clear()
        ops.maxout(x, 2), ops.tanh(x), ops.generator_minimax(x), ops.update_running_statistics(gamma, gamma, cache, 0.1)
        assert launched == ["maxout", "tanh_forward", "generator_minimax", "move_statistics"]
