"""One flat vector with named views into it."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import nn
from minigan.backend import CPU, to_host
from minigan.nn import BatchNorm, Dense, Params, Sequential
from tests.strategies import normal
from tests.strict_cupy import forbid_synchronisation

TRAINABLE = {"dense1.w": (2, 3), "dense1.b": (3,), "norm1.gamma": (3,), "dense10.w": (3, 1)}
STATISTICS = {"norm1.mean": (3,), "norm1.var": (3,)}
TRAINED, MEASURED = 15, 6  # how many numbers these are


@pytest.fixture
def theta(device):
    """0, 1, 2, ... on a device."""
    return Params(device.put(np.arange(TRAINED + MEASURED, dtype=np.float32)), TRAINABLE, STATISTICS, (2,))


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
layouts = st.lists(shapes, max_size=6).map(lambda found: {f"layer{i}.w": shape for i, shape in enumerate(found)})


# The vector and its views -------------------------------------------------------------------------------


@given(trainable=layouts, measured=st.lists(shapes, max_size=3))
def test_the_views_divide_the_vector_without_gap_or_overlap(trainable, measured):
    statistics = {f"layer{i}.mean": shape for i, shape in enumerate(measured)}
    size = sum(int(np.prod(shape)) for shape in (*trainable.values(), *measured))
    theta = Params(np.arange(size, dtype=np.float64), trainable, statistics, (1,))
    assert {name: view.shape for name, view in theta.items()} == trainable | statistics
    in_order = [view.ravel() for view in theta.values()]
    assert np.array_equal(np.concatenate([np.zeros(0), *in_order]), np.arange(size))


def test_parameters_come_before_statistics(theta):
    assert list(theta) == [*TRAINABLE, *STATISTICS]
    assert theta.trainable_size == TRAINED
    assert to_host(theta.trainable).tolist() == list(range(TRAINED))
    assert to_host(theta["norm1.mean"]).tolist() == [15, 16, 17]


def test_a_view_and_the_vector_are_one_memory(theta):
    theta["dense1.b"][...] = -1
    assert to_host(theta.flat)[6:9].tolist() == [-1, -1, -1]
    theta.flat.fill(7)
    assert all((to_host(view) == 7).all() for view in theta.values())
    theta.trainable.fill(8)
    assert (to_host(theta["dense1.w"]) == 8).all()
    assert (to_host(theta["norm1.var"]) == 7).all()


def test_adding_to_a_view_needs_no_copy_and_changes_nothing_else(theta, device):
    views = {name: theta[name] for name in theta}
    before = to_host(theta.flat).copy()
    theta["dense1.w"] += device.put(np.full((2, 3), 100, np.float32))
    theta.scope("norm1")["gamma"] += 50
    assert all(theta[name] is views[name] for name in theta)
    expected = before.copy()
    expected[:6] += 100
    expected[9:12] += 50
    assert np.array_equal(to_host(theta.flat), expected)


def test_adding_to_a_view_writes_it_once(strict, monkeypatch):
    """Python assigns the result of += to the name: that must not copy the view onto itself."""
    theta = Params(strict.put(np.zeros(TRAINED + MEASURED)), TRAINABLE, STATISTICS, (2,))
    copied = []
    monkeypatch.setattr(strict.xp.ndarray, "__setitem__", lambda *_: copied.append("copy"))
    theta["dense1.w"] += 1
    assert copied == []
    theta["dense1.w"] = theta["dense1.w"] + 1
    assert copied == ["copy"]


def test_assigning_to_a_name_writes_into_the_vector(theta):
    view = theta["dense1.b"]
    theta["dense1.b"] = view * 2
    assert theta["dense1.b"] is view
    assert to_host(theta.flat)[6:9].tolist() == [12, 14, 16]


def test_assigning_another_shape_is_refused(theta, device):
    with pytest.raises(ValueError, match="broadcast"):
        theta["dense1.b"] = device.put(np.zeros(4, np.float32))


@pytest.mark.parametrize("size", [0, TRAINED + MEASURED - 1, TRAINED + MEASURED + 1])
def test_a_vector_of_another_size_is_refused(size, device):
    with pytest.raises(ValueError, match=f"the views need 21 numbers, the vector has {size}"):
        Params(device.put(np.zeros(size)), TRAINABLE, STATISTICS, (2,))


# Names --------------------------------------------------------------------------------------------------


def test_the_scope_of_a_layer_has_its_views_under_short_names(theta):
    scope = theta.scope("dense1")
    assert list(scope) == ["w", "b"]
    assert scope["w"] is theta["dense1.w"]
    assert scope.owner is theta
    assert list(theta.scope("dense10")) == ["w"]
    assert list(theta.scope("norm1")) == ["gamma", "mean", "var"]


def test_scopes_nest():
    theta = Params(np.zeros(2), {"g.dense1.w": (1, 1), "g.dense1.b": (1,)}, {}, (1,))
    assert theta.scope("g").scope("dense1")["b"] is theta["g.dense1.b"]
    assert theta.scope("g").scope("dense1").owner is theta


def test_a_vector_goes_with_the_last_who_knows_it_whatever_scopes_were_asked_for():
    """Not when Python's collector comes by, until when a round's copies of a large network would pile up."""
    theta = Params(np.zeros(2), {"g.dense1.w": (1, 1), "g.dense1.b": (1,)}, {}, (1,))
    theta.scope("g").scope("dense1")["w"] = 1.0
    gone, numbers = weakref.ref(theta), weakref.ref(theta.flat)
    gc.disable()
    try:
        del theta
        assert gone() is None
        assert numbers() is None
    finally:
        gc.enable()


def test_the_scope_of_a_layer_without_parameters_is_empty(theta):
    assert not theta.scope("relu1")


@pytest.mark.parametrize(
    ("wrong", "meant"), [("dense1.W", "dense1.w"), ("dens1.b", "dense1.b"), ("norm.var", "norm1.var")]
)
def test_a_misspelt_name_gets_a_suggestion(theta, wrong, meant):
    with pytest.raises(KeyError, match=rf"no parameter '{wrong}'; did you mean '{meant}'\? There are: dense1\.w, "):
        theta[wrong]
    with pytest.raises(KeyError, match="did you mean"):
        theta[wrong] = 1.0


def test_an_unknown_name_gets_the_list(theta):
    with pytest.raises(KeyError, match=r"no parameter 'xyzzy'.* There are: w, b"):
        theta.scope("dense1")["xyzzy"]
    with pytest.raises(KeyError, match="There are: none"):
        theta.scope("relu1")["w"]


# Gradients, copies, devices -----------------------------------------------------------------------------


def test_gradients_are_zero_and_have_the_names_of_what_is_trained(theta):
    grads = theta.gradients()
    assert {name: view.shape for name, view in grads.items()} == TRAINABLE
    assert type(grads.flat) is type(theta.flat)
    assert grads.flat.dtype == theta.flat.dtype
    assert grads.flat.shape == (TRAINED,)
    assert not to_host(grads.flat).any()
    assert grads.in_shape == theta.in_shape


def test_gradients_are_new_ones_each_time(theta):
    first = theta.gradients()
    first.flat.fill(5)
    assert not to_host(theta.gradients().flat).any()
    assert to_host(theta.flat).tolist() == list(range(TRAINED + MEASURED))


def test_a_copy_is_independent_and_of_the_same_version(theta):
    theta.version = 3
    copy = theta.copy()
    theta["dense1.w"].fill(-5)
    theta.version += 1
    assert to_host(copy.flat).tolist() == list(range(TRAINED + MEASURED))
    assert copy.version == 3
    assert copy.owner is copy
    assert copy.scope("dense1").owner is copy
    assert {name: view.shape for name, view in copy.items()} == TRAINABLE | STATISTICS
    assert copy.trainable_size == TRAINED
    assert copy.in_shape == (2,)


def test_the_same_numbers_on_another_device(device):
    theta = Params(np.arange(TRAINED + MEASURED, dtype=np.float64), TRAINABLE, STATISTICS, (2,), version=4)
    there = theta.to(device)
    assert isinstance(there.flat, device.xp.ndarray)
    assert np.array_equal(to_host(there.flat), theta.flat)
    assert there.flat.dtype == np.float64
    assert there.version == 4
    assert list(there) == list(theta)
    assert there["dense1.w"].shape == (2, 3)


def test_the_same_numbers_back_on_the_cpu(theta):
    back = theta.to(CPU)
    assert isinstance(back.flat, np.ndarray)
    assert np.array_equal(back.flat, np.arange(TRAINED + MEASURED))


def test_nothing_waits_for_the_gpu(strict):
    host = Params(np.zeros(TRAINED + MEASURED, np.float32), TRAINABLE, STATISTICS, (2,))
    with forbid_synchronisation():
        theta = host.to(strict)
        theta.copy().gradients()["dense1.w"] += 1


# Starting a network -------------------------------------------------------------------------------------

NET = nn.Sequential(nn.Dense(4), nn.BatchNorm(), nn.Tanh(), nn.Dense(2, bias=False))


def test_a_network_starts_on_every_device_from_the_same_numbers(device):
    on_host = nn.init_params(NET, (3,), np.random.default_rng(0))
    there = nn.init_params(NET, (3,), np.random.default_rng(0), device=device)
    assert isinstance(there.flat, device.xp.ndarray)
    assert np.array_equal(to_host(there.flat), on_host.flat)
    assert there.version == 0
    assert there.in_shape == (3,)


def test_a_network_starts_in_both_precisions_from_the_same_draws():
    single, double = (nn.init_params(NET, (3,), np.random.default_rng(0), dtype=dtype) for dtype in (np.float32, float))
    assert single.flat.dtype == np.float32
    assert np.array_equal(single.flat, double.flat.astype(np.float32))


def test_every_number_of_a_new_network_is_set():
    theta = nn.init_params(NET, (3,), np.random.default_rng(0))
    assert (theta["dense1.w"] != 0).all()
    assert (theta["dense2.w"] != 0).all()
    values = {name: set(theta[name]) for name in theta if theta[name].ndim == 1}
    assert values == {
        "dense1.b": {0}, "batchnorm1.gamma": {1}, "batchnorm1.beta": {0}, "batchnorm1.mean": {0}, "batchnorm1.var": {1}
    }  # fmt: skip


def test_layers_that_do_not_fit_are_refused_before_any_memory_is_taken():
    too_large_for_any_machine = (2**40,)
    net = nn.Sequential(nn.Dense(2**20), nn.Reshape((3, 3)))
    with pytest.raises(nn.ShapeError, match="layer reshape1"):
        nn.init_params(net, too_large_for_any_machine, np.random.default_rng(0))


@given(seed=st.integers(0, 2**32 - 1))
def test_the_numbers_depend_on_the_generator_alone(seed):
    first, again = (nn.init_params(NET, (3,), np.random.default_rng(seed)).flat for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, nn.init_params(NET, (3,), np.random.default_rng([seed, 1])).flat)


def test_normal_values_survive_the_way_to_a_device_and_back(device):
    values = normal(0, TRAINED + MEASURED)
    assert np.array_equal(to_host(Params(values, TRAINABLE, STATISTICS, (2,)).to(device).flat), values)


# Copies, as Python makes them ---------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda theta: pickle.loads(pickle.dumps(theta))])
def test_the_views_of_a_copy_lie_in_its_own_vector(duplicate):
    theta = nn.init_params(Sequential(Dense(3), BatchNorm()), (2,), np.random.default_rng(0))
    theta.version = 5
    other = duplicate(theta)
    assert (list(other), other.version, other.in_shape) == (list(theta), 5, (2,))
    other.flat[...] = 7
    assert all((view == 7).all() for view in other.values())
    assert not (theta.flat == 7).any()
    other.gradients()


def test_another_vector_is_copied_into_the_one_that_the_views_share():
    theta = nn.init_params(Sequential(Dense(3)), (2,), np.random.default_rng(0))
    vector, view = theta.flat, theta["dense1.w"]
    loaded = np.arange(9, dtype=np.float32)
    theta.flat = loaded
    assert theta.flat is vector
    assert (theta.version, view.tolist()) == (1, [[0, 1, 2], [3, 4, 5]])
    theta.flat *= 2
    assert (theta.version, view[1, 2]) == (2, 10)
    assert loaded[5] == 5
    with pytest.raises(ValueError, match=r"shape \(9,\), got \(1,\)"):
        theta.flat = np.ones(1, np.float32)


def test_what_was_shared_is_shared_in_a_deep_copy():
    theta = nn.init_params(Dense(3), (2,), np.random.default_rng(0))
    first, second = copy.deepcopy([theta, theta])
    assert first is second


def test_another_precision_is_a_copy():
    theta = nn.init_params(Dense(3), (2,), np.random.default_rng(0))
    there = theta.astype(np.float64)
    assert there["w"].dtype == np.float64
    assert np.array_equal(there.flat, theta.flat)
    assert theta.astype(np.float32).flat is not theta.flat


def test_parameters_show_their_names_and_shapes():
    theta = nn.init_params(Sequential(Dense(3)), (2,), np.random.default_rng(0))
    assert repr(theta) == "Params(dense1.w (2, 3), dense1.b (3,))"
    assert repr(theta.scope("dense1")) == "Views(w (2, 3), b (3,))"


@pytest.mark.parametrize(
    ("in_shape", "rng", "dtype", "words"),
    [
        ((2,), np.random.default_rng(0), np.float16, "float32 or float64, not float16"),
        ((2,), np.random.default_rng(0), int, "float32 or float64, not int64"),
        ((2,), 5, np.float32, r"default_rng\(0\), got 5"),
        (2, np.random.default_rng(0), np.float32, "the shape of one sample.*got 2"),
    ],
)
def test_what_cannot_start_a_network_is_refused(in_shape, rng, dtype, words):
    with pytest.raises(TypeError, match=words):
        nn.init_params(Dense(3), in_shape, rng, dtype=dtype)
