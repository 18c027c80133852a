"""Layers in a row: names, shapes, refusals, and how far backward goes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import nn, ops
from minigan.backend import to_host
from minigan.nn import BatchNorm, Dense, Dropout, Flatten, Maxout, ReLU, Reshape, Sequential, ShapeError, Tanh
from minigan.nn.initialisers import Constant
from tests.strategies import normal


def start(net, in_shape, device=None, dtype=np.float64):
    """Parameters of a network, drawn from one seed."""
    options = {} if device is None else {"device": device}
    return nn.init_params(net, in_shape, np.random.default_rng(0), dtype=dtype, **options)


# Names and shapes ---------------------------------------------------------------------------------------


def test_layers_are_named_by_kind_and_number():
    net = Sequential(Dense(4), ReLU(), Dense(3), BatchNorm(), nn.LeakyReLU(), ReLU(), Dense(1))
    assert net.names == ("dense1", "relu1", "dense2", "batchnorm1", "leakyrelu1", "relu2", "dense3")


def test_parameters_are_named_by_layer():
    theta = start(Sequential(Dense(4, bias=False), BatchNorm(), ReLU(), Dense(1)), (3,))
    assert {name: view.shape for name, view in theta.items()} == {
        "dense1.w": (3, 4),
        "batchnorm1.gamma": (4,),
        "batchnorm1.beta": (4,),
        "dense2.w": (4, 1),
        "dense2.b": (1,),
        "batchnorm1.mean": (4,),
        "batchnorm1.var": (4,),
    }


def test_networks_nest():
    block = Sequential(Dense(3), Tanh())
    net = Sequential(block, block, Dense(1))  # one layer object twice: parameters are of the place, not of the object
    theta = start(net, (2,))
    assert list(theta.trainable_shapes) == [
        "sequential1.dense1.w", "sequential1.dense1.b", "sequential2.dense1.w", "sequential2.dense1.b",
        "dense1.w", "dense1.b",
    ]  # fmt: skip
    assert theta["sequential1.dense1.w"].shape == (2, 3)
    assert theta["sequential2.dense1.w"].shape == (3, 3)


def test_the_shapes_of_all_layers_are_known_beforehand():
    net = Sequential(Flatten(), Dense(12), Maxout(2), Reshape((3, 2)), ReLU())
    assert [(name, inner, outer) for name, _, inner, outer in net.shapes((2, 2, 1))] == [
        ("flatten1", (2, 2, 1), (4,)),
        ("dense1", (4,), (12,)),
        ("maxout1", (12,), (6,)),
        ("reshape1", (6,), (3, 2)),
        ("relu1", (3, 2), (3, 2)),
    ]
    assert net.out_shape((2, 2, 1)) == (3, 2)


@given(in_shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), units=st.integers(1, 5))
def test_the_output_has_the_shape_that_was_told(in_shape, units):
    net = Sequential(Flatten(), Dense(units), Sequential(Tanh(), Dense(2 * units), Maxout(2)))
    y, _ = net.forward(start(net, in_shape), normal(0, 3, *in_shape), train=False)
    assert y.shape == (3, *net.out_shape(in_shape)) == (3, units)


def test_the_network_shows_its_layers():
    assert repr(Sequential(ReLU(), Sequential(Maxout(2)))) == "Sequential(ReLU(), Sequential(Maxout(pieces=2)))"


# Refusals -----------------------------------------------------------------------------------------------

MISFITS = [
    (
        Sequential(ReLU(), Dense(5)), (4, 3),
        r"layer dense1: Dense\(5\) takes .*\(features,\), got \(4, 3\); put Flatten\(\) before it",
    ),
    (
        Sequential(Dense(7), Maxout(3)), (2,),
        r"layer maxout1: Maxout\(3\) takes .*\(units \* 3,\), got \(7,\); .* Dense\(units \* 3\)",
    ),
    (Sequential(Maxout(2)), (4, 4), r"layer maxout1: Maxout\(2\) takes .*, got \(4, 4\)"),
    (
        Sequential(Dense(7), Reshape((2, 3))), (2,),
        r"layer reshape1: Reshape\(2, 3\) makes samples of 6 numbers, got \(7,\) with 7",
    ),
    (
        Sequential(Dense(4), Sequential(Reshape((2, 2)), Dense(1))), (3,),
        r"layer sequential1: layer dense1: Dense\(1\) takes .* got \(2, 2\)",
    ),
]  # fmt: skip


@pytest.mark.parametrize("method", ["out_shape", "param_shapes", "statistic_shapes", "shapes"])
@pytest.mark.parametrize(("net", "in_shape", "message"), MISFITS)
def test_the_first_layer_that_does_not_fit_is_named_with_what_it_got_and_what_would_fit(net, in_shape, message, method):
    with pytest.raises(ShapeError, match=message):
        getattr(net, method)(in_shape)


@pytest.mark.parametrize("shape", [(4, 2), (4,), (4, 3, 1), (3,)])
def test_an_input_of_another_shape_is_refused(shape, device):
    net = Sequential(Dense(2))
    with pytest.raises(ShapeError, match=r"the network takes \(N, 3\), got " + str(shape).replace("(", r"\(")[:-1]):
        net.forward(start(net, (3,), device), device.put(np.zeros(shape)), train=False)


@pytest.mark.parametrize(("parameters", "x"), [("float32", "float64"), ("float64", "float32"), ("float32", "int64")])
def test_an_input_of_another_precision_is_refused(parameters, x, device):
    net = Sequential(Dense(2))
    with pytest.raises(TypeError, match=f"the parameters are {parameters}, the input is {x}"):
        net.forward(start(net, (3,), device, parameters), device.put(np.zeros((4, 3), x)), train=False)


def test_an_input_on_another_device_is_refused(strict):
    net = Sequential(Dense(2))
    on_host, on_device = start(net, (3,)), start(net, (3,), strict)
    with pytest.raises(TypeError, match=r"different devices: cupy\.ndarray, numpy\.ndarray"):
        net.forward(on_device, np.zeros((4, 3)), train=False)
    with pytest.raises(TypeError, match=r"different devices: cupy\.ndarray, numpy\.ndarray"):
        net.forward(on_host, strict.put(np.zeros((4, 3))), train=False)


def test_an_input_that_is_no_array_is_refused():
    net = Sequential(Dense(2))
    with pytest.raises((TypeError, AttributeError)):
        net.forward(start(net, (3,)), [[0.0, 0.0, 0.0]], train=False)


def test_an_error_within_forward_names_the_layer():
    net = Sequential(Dense(2), Sequential(Tanh(), Dropout(0.5)))
    with pytest.raises(
        ValueError, match="layer sequential1: layer dropout1: dropout in training needs a random generator"
    ):
        net.forward(start(net, (3,)), np.zeros((4, 3)), train=True)
    net = Sequential(Dense(2), BatchNorm())
    with pytest.raises(ValueError, match=r"layer batchnorm1: .* at least 2 samples a channel, got .*\(1, 2\)"):
        net.forward(start(net, (3,)), np.zeros((1, 3)), train=True)


# Backward -----------------------------------------------------------------------------------------------

NET = Sequential(Dense(4), Tanh(), Sequential(BatchNorm(), ReLU()), Dense(2))


def forward_on(theta, train=True):
    return NET.forward(theta, normal(1, 5, 3), train=train)


def test_a_cache_made_with_older_parameters_is_refused():
    theta = start(NET, (3,))
    y, cache = forward_on(theta)
    NET.backward(theta, y, cache, theta.gradients())
    theta.version += 1
    with pytest.raises(ValueError, match="parameters of version 0, they are now at version 1: run forward again"):
        NET.backward(theta, y, cache, theta.gradients())
    with pytest.raises(ValueError, match="version 0"):
        NET.backward(theta, y, cache, None)
    y, cache = forward_on(theta)
    NET.backward(theta, y, cache, theta.gradients())


def test_a_cache_made_with_other_parameters_is_refused():
    theta = start(NET, (3,))
    y, cache = forward_on(theta)
    for other in (theta.copy(), start(NET, (3,))):
        with pytest.raises(ValueError, match="made with other parameters than those given to backward"):
            NET.backward(other, y, cache, other.gradients())


def test_backward_through_a_nested_network_refuses_older_parameters_too():
    theta = start(NET, (3,))
    inner, scope = NET.layers[2], theta.scope("sequential1")
    y, cache = inner.forward(scope, normal(2, 5, 4), train=True)
    theta.version += 1
    with pytest.raises(ValueError, match="run forward again"):
        inner.backward(scope, y, cache, None)


class Watched(nn.Layer):
    """Passes everything on to a layer and notes what backward was asked for."""

    def __init__(self, layer):
        self.layer, self.calls = layer, []
        self.out_shape, self.param_shapes = layer.out_shape, layer.param_shapes
        self.init, self.forward = layer.init, layer.forward

    def backward(self, theta, dy, cache, grads, *, need_dx=True):
        self.calls.append((grads is not None, need_dx))
        return self.layer.backward(theta, dy, cache, grads, need_dx=need_dx)


ALL, GRADS_ONLY, DX_ONLY = (True, True), (True, False), (False, True)


@pytest.mark.parametrize(
    ("grads", "need_dx", "expected"),
    [
        # what each of Tanh, Dense, Tanh, Dense is asked for: (parameter gradients, input gradient)
        (True, True, [[ALL], [ALL], [ALL], [ALL]]),
        (True, False, [[], [GRADS_ONLY], [ALL], [ALL]]),
        (False, True, [[DX_ONLY], [DX_ONLY], [DX_ONLY], [DX_ONLY]]),
        (False, False, [[], [], [], []]),
    ],
)
def test_backward_stops_at_the_lowest_layer_whose_gradients_are_wanted(grads, need_dx, expected):
    layers = [Watched(layer) for layer in (Tanh(), Dense(3), Tanh(), Dense(2))]
    net = Sequential(*layers)
    theta = start(net, (3,))
    y, cache = net.forward(theta, normal(0, 4, 3), train=True)
    dx = net.backward(theta, y, cache, theta.gradients() if grads else None, need_dx=need_dx)
    assert [layer.calls for layer in layers] == expected
    assert (dx is not None) == need_dx


def test_a_network_without_parameters_has_nothing_to_do_without_an_input_gradient():
    layer = Watched(Tanh())
    net = Sequential(layer, Sequential(ReLU()))
    theta = start(net, (3,))
    y, cache = net.forward(theta, normal(0, 4, 3), train=True)
    assert net.backward(theta, y, cache, theta.gradients(), need_dx=False) is None
    assert layer.calls == []


def test_a_network_is_its_layers_one_after_the_other(device):
    """Composed by hand, forward and backward, bit for bit."""
    layers = [Dense(4), BatchNorm(), Tanh(), Dropout(0.5), Dense(2)]
    net = Sequential(*layers)
    theta, x = start(net, (3,), device), device.put(normal(1, 5, 3))
    y, cache = net.forward(theta, x, train=True, rng=np.random.default_rng(4))
    grads = theta.gradients()
    dx = net.backward(theta, y, cache, grads)

    rng, out, caches, by_hand = np.random.default_rng(4), x, [], theta.gradients()
    for layer, name in zip(layers, net.names, strict=True):
        out, one = layer.forward(theta.scope(name), out, train=True, rng=rng)
        caches.append(one)
    back = out
    for layer, name, one in reversed(list(zip(layers, net.names, caches, strict=True))):
        back = layer.backward(theta.scope(name), back, one, by_hand.scope(name))
    for ours, expected in [(y, out), (dx, back), (grads.flat, by_hand.flat)]:
        assert np.array_equal(to_host(ours), to_host(expected))


def test_nesting_changes_names_and_nothing_else():
    flat = Sequential(Dense(4), BatchNorm(), Tanh(), Dense(2))
    nested = Sequential(Sequential(Dense(4), BatchNorm()), Sequential(Tanh(), Sequential(Dense(2))))
    results = []
    for net in (flat, nested):
        theta = start(net, (3,))
        y, cache = net.forward(theta, normal(1, 5, 3), train=True)
        grads = theta.gradients()
        dx = net.backward(theta, y, cache, grads)
        net.update_statistics(theta, cache)
        results.append([y, dx, grads.flat, theta.flat])
    for ours, theirs in zip(*results, strict=True):
        assert np.array_equal(ours, theirs)


# Running statistics -------------------------------------------------------------------------------------


def test_forward_leaves_the_statistics_and_update_moves_those_of_every_layer():
    net = Sequential(Dense(4), BatchNorm(momentum=0.25), Sequential(Tanh(), BatchNorm()))
    theta, x = start(net, (3,)), normal(1, 5, 3)
    before = theta.copy()
    _, cache = net.forward(theta, x, train=True)
    assert np.array_equal(theta.flat, before.flat)
    net.update_statistics(theta, cache)
    assert np.array_equal(theta.trainable, before.trainable)
    h = x @ theta["dense1.w"] + theta["dense1.b"]
    tanh = np.tanh((h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 1e-5))
    for name, batch, momentum in [("batchnorm1", h, 0.25), ("sequential1.batchnorm1", tanh, 0.1)]:
        np.testing.assert_allclose(theta[f"{name}.mean"], momentum * batch.mean(axis=0), rtol=1e-12, atol=1e-14)
        expected = (1 - momentum) + momentum * batch.var(axis=0, ddof=1)
        np.testing.assert_allclose(theta[f"{name}.var"], expected, rtol=1e-12)


def test_moving_the_statistics_leaves_caches_valid():
    """D's statistics move after its gradients of one batch and before those of another."""
    theta = start(NET, (3,))
    y, cache = forward_on(theta)
    before = theta.gradients()
    NET.backward(theta, y, cache, before)
    NET.update_statistics(theta, cache)
    after = theta.gradients()
    NET.backward(theta, y, cache, after)
    assert np.array_equal(after.flat, before.flat)


# Two layers in one operation ----------------------------------------------------------------------------


def assert_as_one_by_one(net, x, dy, train, device):
    theta = start(net, x.shape[1:], device)
    x, dy = device.put(x), device.put(dy)
    y, cache = net.forward(theta, x, train=train)
    grads, apart = theta.gradients(), theta.gradients()
    dx = net.backward(theta, dy, cache, grads)
    steps = list(net.trace(theta, x, train=train))
    for name, layer, _, layer_cache in reversed(steps):
        dy = layer.backward(theta.scope(name), dy, layer_cache, apart.scope(name))
    assert np.array_equal(to_host(y), to_host(steps[-1][2]))
    assert np.array_equal(to_host(dx), to_host(dy))
    assert np.array_equal(to_host(grads.flat), to_host(apart.flat))


@pytest.mark.parametrize("after", [ReLU(), nn.LeakyReLU(0.3)], ids=["relu", "leaky"])
@pytest.mark.parametrize("train", [True, False], ids=["training", "inference"])
def test_a_normalisation_and_a_rectifier_are_one_step_with_the_results_of_two(after, train, device):
    net = Sequential(Dense(4), BatchNorm(), after, Dense(2))
    assert [name for name, _ in net.steps] == ["dense1", "batchnorm1", "dense2"]
    assert_as_one_by_one(net, normal(0, 5, 3), normal(1, 5, 2), train, device)


ACTIVATIONS = [ReLU(), nn.LeakyReLU(0.3), nn.Sigmoid(), Tanh(), Maxout(2)]


@pytest.mark.parametrize("after", ACTIVATIONS, ids=lambda layer: type(layer).__name__)
def test_a_bias_and_an_activation_are_one_step_with_the_results_of_two(after, device):
    net = Sequential(Dense(4, b_init=Constant(0.3)), after, Dense(2, b_init=Constant(-0.2)))
    assert [name for name, _ in net.steps] == ["dense1", "dense2"]
    assert_as_one_by_one(net, normal(0, 5, 3), normal(1, 5, 2), True, device)


@pytest.mark.parametrize("after", ACTIVATIONS[:-1], ids=lambda layer: type(layer).__name__)
def test_likewise_behind_a_convolution(after, device):
    net = Sequential(nn.Conv2D(3, 2, b_init=Constant(0.3)), after)
    assert [name for name, _ in net.steps] == ["conv2d1"]
    assert_as_one_by_one(net, normal(0, 4, 3, 4, 2), normal(1, 4, 2, 3, 3), True, device)


def test_what_is_not_a_pair_stays_apart():
    without = Sequential(Dense(3, bias=False), Tanh(), Dense(3), nn.ELU(), Dense(3), BatchNorm())
    assert [name for name, _ in without.steps] == list(without.names)
    net = Sequential(BatchNorm(), Tanh(), ReLU(), BatchNorm(), BatchNorm(), ReLU(), BatchNorm())
    names = [name for name, _ in net.steps]
    assert names == ["batchnorm1", "tanh1", "relu1", "batchnorm2", "batchnorm3", "batchnorm4"]


def test_activation_and_dropout_behind_a_bias_are_one_step_with_the_results_of_three(device):
    layers = Dense(6), nn.LeakyReLU(0.3), Dropout(0.4)
    net = Sequential(*layers)
    theta = start(net, (4,), device)
    x, dy = device.put(normal(0, 5, 4)), device.put(normal(1, 5, 6))
    assert len(net.steps) == 1
    for train in (True, False):
        y, cache = net.forward(theta, x, train=train, rng=np.random.default_rng(3))
        grads, apart = theta.gradients(), theta.gradients()
        dx = net.backward(theta, dy, cache, grads)
        expected, caches, rng = x, [], np.random.default_rng(3)
        for name, layer in zip(net.names, layers, strict=True):
            expected, one = layer.forward(theta.scope(name), expected, train=train, rng=rng)
            caches.append(one)
        upstream = dy
        for name, layer, one in reversed(list(zip(net.names, layers, caches, strict=True))):
            upstream = layer.backward(theta.scope(name), upstream, one, apart.scope(name))
        for ours, right in ((y, expected), (dx, upstream), (grads.flat, apart.flat)):
            assert np.array_equal(to_host(ours), to_host(right))


# What backward refuses ----------------------------------------------------------------------------------


def a_pass():
    net = Sequential(Dense(3), Tanh())
    theta = start(net, (2,))
    y, cache = net.forward(theta, normal(0, 4, 2), train=True)
    return net, theta, y, cache


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda y: y[:1], ShapeError, r"the network gave \(4, 3\), so dy has that shape, got \(1, 3\)"),
        (lambda y: y.astype(np.float32), TypeError, "the parameters are float64, dy is float32"),
        (lambda y: y.tolist(), TypeError, "expected a NumPy or CuPy array"),
    ],
)
def test_an_upstream_gradient_that_does_not_fit_is_refused(change, error, words):
    net, theta, y, cache = a_pass()
    with pytest.raises(error, match=words):
        net.backward(theta, change(y), cache, None)


def test_gradients_are_not_added_to_the_parameters():
    net, theta, y, cache = a_pass()
    before = theta.flat.copy()
    with pytest.raises(ValueError, match=r"give theta\.gradients\(\)"):
        net.backward(theta, y, cache, theta)
    assert np.array_equal(theta.flat, before)


@pytest.mark.parametrize(
    ("grads", "error"),
    [
        (lambda theta: theta.gradients().flat, TypeError),
        (lambda theta: theta.astype(np.float32).gradients(), ValueError),
        (lambda _: nn.init_params(Sequential(Dense(9)), (2,), np.random.default_rng(0), dtype=np.float64), ValueError),
    ],
)
def test_gradients_of_something_else_are_refused(grads, error):
    net = Sequential(Dense(3))
    theta = nn.init_params(net, (2,), np.random.default_rng(0), dtype=np.float64)
    y, cache = net.forward(theta, np.ones((4, 2)), train=True)
    with pytest.raises(error, match=r"give theta\.gradients\(\)"):
        net.backward(theta, y, cache, grads(theta))


def test_forward_and_backward_belong_into_one_block_of_fast_kernels():
    net = Sequential(Dense(3), BatchNorm(), ReLU())
    theta = nn.init_params(net, (2,), np.random.default_rng(0))
    with ops.fast_kernels(1):
        y, cache = net.forward(theta, np.ones((4, 2), np.float32), train=True)
        net.backward(theta, y, cache, None)
    with pytest.raises(ValueError, match="belong into one"):
        net.backward(theta, y, cache, None)


def test_parameters_that_a_layer_does_not_find_are_told_with_its_name():
    net, other = Sequential(BatchNorm()), Sequential(Dense(2))
    with pytest.raises(KeyError, match="layer batchnorm1: no parameter 'gamma'"):
        net.forward(nn.init_params(other, (2,), np.random.default_rng(0)), np.ones((4, 2), np.float32), train=True)


def test_a_cache_of_something_else_is_refused():
    net, theta, y, _ = a_pass()
    with pytest.raises(TypeError, match="the cache that forward returned, got NoneType"):
        net.backward(theta, y, None, None)


def test_an_error_names_the_layers_of_its_step_both_ways():
    net = Sequential(Dense(3), ReLU(), Dropout(0.5))
    theta = start(net, (2,))
    with pytest.raises(ValueError, match=r"layer dense1 \+ relu1 \+ dropout1: dropout in training needs"):
        net.forward(theta, normal(0, 4, 2), train=True)
    with pytest.raises(ValueError, match=r"dropout in training needs .*, got 5"):
        net.forward(theta, normal(0, 4, 2), train=True, rng=5)

    class Forgetful(Tanh):
        def backward(self, theta, dy, cache, grads, *, need_dx=True):
            raise ValueError("no way back")

    net = Sequential(Dense(3), Forgetful())
    theta = start(net, (2,))
    y, cache = net.forward(theta, normal(0, 4, 2), train=True)
    with pytest.raises(ValueError, match="layer forgetful1: no way back"):
        net.backward(theta, y, cache, None)


def test_what_is_no_layer_is_no_part_of_a_network():
    for wrong in ([Dense(3)], ReLU, None):
        with pytest.raises(TypeError, match="Sequential takes layers, one after the other"):
            Sequential(Dense(2), wrong)


def test_an_empty_batch_is_refused_and_so_is_a_trace_of_what_does_not_fit():
    net = Sequential(Dense(3))
    theta = start(net, (2,))
    with pytest.raises(ShapeError, match=r"at least one sample, got \(0, 2\)"):
        net.forward(theta, np.zeros((0, 2)), train=False)
    with pytest.raises(ShapeError, match=r"takes \(N, 2\), got \(4, 3\)"):
        list(net.trace(theta, np.zeros((4, 3)), train=False))


def test_a_class_derived_from_a_layer_computes_what_it_says_itself(device):
    class Doubled(Tanh):
        def forward(self, theta, x, *, train, rng=None):
            y, cache = super().forward(theta, x, train=train)
            return 2 * y, cache

    class Shifted(Dense):
        def forward(self, theta, x, *, train, rng=None):
            y, cache = super().forward(theta, x, train=train)
            return y + 1, cache

    for layers in ((Dense(3), Doubled()), (Shifted(3), Tanh())):
        net = Sequential(*layers)
        theta = start(net, (2,), device)
        x = device.put(normal(0, 4, 2))
        expected = x
        for name, layer in zip(net.names, layers, strict=True):
            expected, _ = layer.forward(theta.scope(name), expected, train=True)
        assert np.array_equal(to_host(net.forward(theta, x, train=True)[0]), to_host(expected))


def test_a_layer_that_leaves_the_precision_is_named():
    class Root(Tanh):
        def forward(self, theta, x, *, train, rng=None):
            y, cache = super().forward(theta, x, train=train)
            return y / np.sqrt(2.0), cache

    net = Sequential(Dense(3), Root(), Dense(2))
    theta = start(net, (2,), dtype=np.float32)
    with pytest.raises(TypeError, match="layer root1 made float64 of float32"):
        net.forward(theta, np.ones((4, 2), np.float32), train=True)


@pytest.mark.parametrize(
    ("dx", "found"),
    [
        (np.ones((4, 2)), r"\(4, 2\), float64"),  # NumPy would refuse it later, a fast kernel write behind it
        (np.ones((4, 1)), r"\(4, 1\), float64"),  # NumPy would broadcast it
        (np.ones((4, 3), np.float32), r"\(4, 3\), float32"),
        (None, "nothing"),
    ],
)
def test_a_layer_whose_gradient_does_not_fit_its_input_is_named(dx, found):
    class Astray(Tanh):
        def backward(self, theta, dy, cache, grads, *, need_dx=True):
            return dx

    net = Sequential(Dense(3), ReLU(), Astray(), Dense(2))
    theta = start(net, (2,))
    y, cache = net.forward(theta, normal(0, 4, 2), train=True)
    with pytest.raises(
        ShapeError, match=rf"layer astray1 was given x of shape \(4, 3\), float64, .* returned {found}$"
    ):
        net.backward(theta, y, cache, None)


def test_statistics_are_not_moved_by_a_pass_that_used_them():
    net = Sequential(BatchNorm(), ReLU())
    theta = start(net, (2,))
    _, cache = net.forward(theta, normal(0, 4, 2), train=False)
    with pytest.raises(ValueError, match="not by one with train=False"):
        net.update_statistics(theta, cache)


def test_an_error_of_another_kind_within_a_layer_is_named_too():
    class Casting(Tanh):
        def forward(self, theta, x, *, train, rng=None):
            count = np.zeros(3, int)
            count += 1.5  # NumPy's error of this takes four arguments, and no text
            return super().forward(theta, x, train=train)

    net = Sequential(Casting())
    with pytest.raises(TypeError, match="layer casting1: Cannot cast"):
        net.forward(start(net, (2,)), normal(0, 4, 2), train=True)
