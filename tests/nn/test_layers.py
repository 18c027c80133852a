"""What single layers add to the contract: their options, their refusals, and which operation they use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import nn, ops
from minigan.backend import to_host
from minigan.nn import BatchNorm, Dense, Dropout, Flatten, Maxout, Reshape, ShapeError
from minigan.nn.initialisers import Constant
from tests.strategies import normal, seeds

FORMS = ["inverted", "classic", "channel"]
SHAPE = (4, 3, 2, 5)  # N H W C


def draw(layer, x, train=True, seed=0):
    return layer.forward({}, x, train=train, rng=np.random.default_rng(seed))


# Dropout ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate):
    with pytest.raises(ValueError, match=rf"dropout rate must be in \[0, 1\), got {rate}"):
        Dropout(rate)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match=r"inverted.*classic.*channel"):
        Dropout(0.5, "spatial")


@pytest.mark.parametrize(("form", "kept_become"), [("inverted", 1 / 0.6), ("classic", 1.0), ("channel", 1 / 0.6)])
def test_training_drops_some_and_scales_the_others(form, kept_become):
    y, _ = draw(Dropout(0.4, form), np.ones(SHAPE))
    assert set(np.unique(y)) == {0.0, kept_become}


@pytest.mark.parametrize(("form", "factor"), [("inverted", 1.0), ("classic", 0.6), ("channel", 1.0)])
def test_inference_multiplies_by_a_constant_and_draws_nothing(form, factor, device):
    x, dy = device.put(normal(0, *SHAPE)), device.put(normal(1, *SHAPE))
    layer = Dropout(0.4, form)
    y, cache = layer.forward({}, x, train=False)
    assert np.array_equal(to_host(y), to_host(x) * factor)
    assert np.array_equal(to_host(layer.backward({}, dy, cache, None)), to_host(dy) * factor)


@pytest.mark.parametrize("rate", [0, 0.0])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("train", [True, False])
def test_a_rate_of_zero_changes_nothing(rate, form, train):
    x = normal(0, *SHAPE)
    layer = Dropout(rate, form)
    y, cache = draw(layer, x, train)
    assert np.array_equal(y, x)
    assert np.array_equal(layer.backward({}, x, cache, None), x)


@pytest.mark.parametrize("shape", [SHAPE, (6, 3)])
def test_the_channel_form_drops_whole_channels_of_single_samples(shape):
    y, _ = draw(Dropout(0.5, "channel"), np.ones(shape))
    by_channel = y.reshape(shape[0], -1, shape[-1])
    assert (by_channel == by_channel[:, :1]).all()
    assert len(np.unique(by_channel[:, 0], axis=0)) > 1
    assert len(np.unique(by_channel[:, 0], axis=1)) > 1


@pytest.mark.parametrize("form", ["inverted", "classic"])
def test_the_other_forms_drop_single_elements(form):
    y, _ = draw(Dropout(0.5, form), np.ones(SHAPE))
    assert (y != y[:, :1, :1]).any()


@pytest.mark.parametrize("form", FORMS)
def test_training_and_inference_agree_on_average(form):
    """The mean of 20,000 masks, within five standard deviations of each entry."""
    x, rate, count = np.array([-2.0, 0.5, 3.0]), 0.3, 20_000
    layer, batch = Dropout(rate, form), np.tile(x, (count, 1))
    trained, used = draw(layer, batch)[0].mean(axis=0), draw(layer, batch, train=False)[0][0]
    kept_become = 1.0 if form == "classic" else 1 / (1 - rate)
    deviation = abs(x) * kept_become * np.sqrt(rate * (1 - rate) / count)
    assert (abs(trained - used) <= 5 * deviation).all()


@given(rate=st.floats(0, 0.95), form=st.sampled_from(FORMS), seed=seeds)
def test_the_gradient_takes_the_way_of_the_input(rate, form, seed):
    layer = Dropout(rate, form)
    y, cache = draw(layer, np.ones(SHAPE), seed=seed)
    assert np.array_equal(layer.backward({}, np.ones(SHAPE), cache, None), y)


# Dense --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grads", "need_dx", "expected"),
    [
        (True, True, {"dense_weight_grad", "dense_bias_grad", "dense_input_grad"}),
        (True, False, {"dense_weight_grad", "dense_bias_grad"}),
        (False, True, {"dense_input_grad"}),
        (False, False, set()),
    ],
)
def test_only_the_gradients_that_are_wanted_are_computed(grads, need_dx, expected, monkeypatch):
    used = set()
    for name in ("dense_weight_grad", "dense_bias_grad", "dense_input_grad"):
        operation = getattr(ops, name)
        monkeypatch.setattr(ops, name, lambda *a, name=name, operation=operation: (used.add(name), operation(*a))[1])
    layer = Dense(3)
    theta = nn.init_params(layer, (2,), np.random.default_rng(0), dtype=np.float64)
    y, cache = layer.forward(theta, normal(0, 4, 2), train=True)
    layer.backward(theta, y, cache, theta.gradients() if grads else None, need_dx=need_dx)
    assert used == expected


def test_initial_weights_and_biases_can_be_chosen():
    layer = Dense(2, w_init=Constant(0.5), b_init=Constant(-1.0))
    theta = nn.init_params(layer, (3,), np.random.default_rng(0))
    assert (theta["w"] == 0.5).all()
    assert (theta["b"] == -1.0).all()


# Batch normalisation ------------------------------------------------------------------------------------


def with_statistics(layer, features=3):
    """Parameters away from the neutral 0 and 1."""
    theta = nn.init_params(layer, (features,), np.random.default_rng(0), dtype=np.float64)
    theta.flat += np.random.default_rng(1).uniform(0.1, 0.5, theta.flat.shape)
    return theta


def test_the_initial_gain_can_be_chosen():
    theta = nn.init_params(BatchNorm(gamma_init=Constant(0.25)), (3,), np.random.default_rng(0))
    assert {name: set(view) for name, view in theta.items()} == {
        "gamma": {0.25}, "beta": {0}, "mean": {0}, "var": {1}
    }  # fmt: skip


def test_training_normalises_by_the_batch_and_inference_by_the_running_statistics():
    layer = BatchNorm(eps=0.1)
    theta, x = with_statistics(layer), normal(0, 6, 3)
    for train, mean, var in [(True, x.mean(axis=0), x.var(axis=0)), (False, theta["mean"], theta["var"])]:
        y, _ = layer.forward(theta, x, train=train)
        expected = theta["gamma"] * (x - mean) / np.sqrt(var + 0.1) + theta["beta"]
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-14)


@given(momentum=st.floats(0, 1), seed=seeds)
def test_the_running_statistics_move_towards_the_batch(momentum, seed):
    layer = BatchNorm(momentum=momentum)
    theta, x = with_statistics(layer), normal(seed, 6, 3)
    before = theta.copy()
    layer.update_statistics(theta, layer.forward(theta, x, train=True)[1])
    for name, batch in [("mean", x.mean(axis=0)), ("var", x.var(axis=0, ddof=1))]:
        expected = (1 - momentum) * before[name] + momentum * batch
        np.testing.assert_allclose(theta[name], expected, rtol=1e-12, atol=1e-14)
    assert np.array_equal(theta.trainable, before.trainable)


def test_the_gradient_of_inference_takes_the_statistics_for_constants():
    """Training subtracts what the mean and the variance pass on; inference has y = a x + b with constants."""
    layer = BatchNorm(eps=0.1)
    theta, x, dy = with_statistics(layer), normal(0, 6, 3), normal(1, 6, 3)
    _, cache = layer.forward(theta, x, train=False)
    expected = theta["gamma"] / np.sqrt(theta["var"] + 0.1) * dy
    np.testing.assert_allclose(layer.backward(theta, dy, cache, None), expected, rtol=1e-12)
    _, cache = layer.forward(theta, x, train=True)
    np.testing.assert_allclose(layer.backward(theta, dy, cache, None).sum(axis=0), np.zeros(3), atol=1e-12)


def test_statistics_that_move_later_do_not_change_the_backward_pass_of_inference():
    layer = BatchNorm()
    theta, x = with_statistics(layer), normal(0, 6, 3)
    y, cache = layer.forward(theta, x, train=False)
    before = layer.backward(theta, y, cache, None)
    theta["mean"] += 1
    theta["var"] *= 2
    assert np.array_equal(layer.backward(theta, y, cache, None), before)


# Shapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [
        (Dense(2), ()),
        (Dense(2), (3, 3)),
        (Maxout(2), ()),
        (Maxout(2), (3,)),
        (Maxout(2), (2, 2)),
        (Reshape((2, 2)), (5,)),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(layer, in_shape):
    with pytest.raises(ShapeError, match=type(layer).__name__):
        layer.out_shape(in_shape)


@given(shape=st.lists(st.integers(1, 4), max_size=4).map(tuple))
def test_flatten_and_reshape_undo_each_other(shape):
    x = normal(0, 3, *shape)
    vectors, _ = Flatten().forward({}, x, train=False)
    assert vectors.shape == (3, *Flatten().out_shape(shape))
    back, _ = Reshape(shape).forward({}, vectors, train=False)
    assert np.array_equal(back, x)


@pytest.mark.parametrize("shape", [(-1, 2), (0,), [2, 2], 4])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(ValueError, match="a tuple of positive numbers"):
        Reshape(shape)


@pytest.mark.parametrize("layer", [nn.Dense, lambda n: nn.Conv2D(n, 3), lambda n: nn.ConvTranspose2D(n, 3), nn.Maxout])
def test_units_channels_and_pieces_are_whole_numbers_of_at_least_one(layer):
    layer(np.int64(2))
    with pytest.raises(ValueError, match="at least one"):
        layer(0)
    with pytest.raises(TypeError, match="integer"):
        layer(2.5)


@pytest.mark.parametrize("slope", [-0.1, float("nan"), float("inf")])
def test_a_slope_is_finite_and_not_negative(slope):
    with pytest.raises(ValueError, match="finite and not negative"):
        nn.LeakyReLU(slope)


@pytest.mark.parametrize("factor", [1.5, 0, -2])
def test_a_factor_is_a_whole_number(factor):
    with pytest.raises(ValueError, match="a whole number of at least 1"):
        nn.Upsample(factor)


def test_the_number_of_inputs_is_not_taken_for_the_number_of_units():
    """Dense(784, 64) is what PyTorch's Linear takes."""
    with pytest.raises(TypeError, match="bias is True or False, got 64; the number of inputs is found by itself"):
        Dense(784, 64)


# What layers are told -----------------------------------------------------------------------------------


def test_a_condition_of_nothing_is_refused():
    with pytest.raises(ValueError, match="a condition has at least one number, got 0"):
        nn.Conditioned(0, nn.Dense(2))


def test_an_input_too_small_for_its_condition_is_refused_by_name():
    net = nn.Sequential(nn.Conditioned(4, nn.Dense(2)))
    with pytest.raises(nn.ShapeError, match=r"layer conditioned1: the condition is the last 4 numbers .* got \(3,\)"):
        nn.init_params(net, (3,), np.random.default_rng(0))


def test_a_network_says_how_much_of_its_input_is_given():
    told = nn.Conditioned(4, nn.Dense(2))
    assert (told.condition, nn.Sequential(told, nn.Dense(1)).condition) == (4, 4)
    assert nn.Sequential(nn.Sequential(told)).condition == 4
    assert (nn.Sequential().condition, nn.Dense(3).condition, nn.Sequential(nn.Dense(3), told).condition) == (0, 0, 0)


def test_a_label_before_a_dense_layer_is_a_bias_of_its_class():
    """[x, y] w = x w_x + w_y[class], so the gradient of that row is the sum over the samples of the class."""
    layer, x, labels = nn.Conditioned(3, nn.Dense(2, bias=False)), normal(0, 4, 5), np.array([1, 0, 1, 2])
    theta = nn.init_params(layer, (8,), np.random.default_rng(0), dtype=np.float64)
    h = np.concatenate([x, np.eye(3)[labels]], axis=1)
    y, cache = layer.forward(theta, h, train=True)
    w = theta["dense1.w"]
    np.testing.assert_allclose(y[:, :2], x @ w[:5] + w[5:][labels], rtol=1e-13)
    np.testing.assert_array_equal(y[:, 2:], h[:, 5:])
    grads, dy = theta.gradients(), normal(1, 4, 5)
    layer.backward(theta, dy, cache, grads)
    np.testing.assert_allclose(grads["dense1.w"][5:], [dy[labels == k, :2].sum(axis=0) for k in range(3)], rtol=1e-13)


def test_networks_of_told_layers_compare_and_print_as_they_are_made():
    assert nn.Conditioned(2, nn.Dense(3)) == nn.Conditioned(2, nn.Dense(3)) != nn.Conditioned(1, nn.Dense(3))
    assert nn.Conditioned(2, nn.Dense(3)) != nn.Sequential(nn.Dense(3))
    assert repr(nn.Conditioned(2, nn.Tanh())) == "Conditioned(2, Tanh())"
    parts = nn.in_parts(nn.Conditioned(2, nn.BatchNorm()), 2)
    assert isinstance(parts, nn.Conditioned)
    assert parts.size == 2


def test_who_only_looks_sees_the_layers_within_and_what_is_told_on():
    net = nn.Sequential(nn.Conditioned(2, nn.Dense(3), nn.ReLU()), nn.Sequential(nn.Dense(1)))
    theta = nn.init_params(net, (4,), np.random.default_rng(0))
    x = normal(0, 5, 4).astype(np.float32)
    names = {name: y for name, _, y, _ in net.trace(theta, x, train=False)}
    assert list(names) == ["conditioned1.dense1", "conditioned1.relu1", "conditioned1.condition", "sequential1.dense1"]
    assert [y.shape[1] for y in names.values()] == [3, 3, 5, 1]
    np.testing.assert_array_equal(names["sequential1.dense1"], net.forward(theta, x, train=False)[0])


def test_who_only_looks_takes_a_network_of_somebody_else_as_one_layer():
    class Residual(nn.Sequential):
        def forward(self, theta, x, *, train, rng=None):
            y, cache = super().forward(theta, x, train=train, rng=rng)
            return x + y, cache

    net = nn.Sequential(Residual(nn.Dense(4)), nn.Dense(1))
    theta = nn.init_params(net, (4,), np.random.default_rng(0))
    x = normal(0, 5, 4).astype(np.float32)
    names = {name: y for name, _, y, _ in net.trace(theta, x, train=False)}
    assert list(names) == ["residual1", "dense1"]
    np.testing.assert_array_equal(names["dense1"], net.forward(theta, x, train=False)[0])


def test_as_many_conditions_as_samples():
    with pytest.raises(ValueError, match="4 samples have as many conditions, got 1"):
        ops.with_condition(normal(0, 4, 3), normal(1, 1, 2))
    with pytest.raises(ShapeError, match="the condition is the last 2 numbers"):
        nn.Conditioned(2, nn.Dense(1)).out_shape(())


def test_networks_that_need_batches_in_inference_say_so():
    norm = nn.BatchNorm(track_running_stats=False)
    assert nn.needs_batches(nn.Sequential(nn.Conditioned(2, nn.Dense(3), norm)))
    assert not nn.needs_batches(nn.Sequential(nn.Dense(3), nn.BatchNorm()))
