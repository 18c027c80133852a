"""Update rules: PyTorch's ten steps, explicit loops, and what they do to the vectors that they are given."""

import dataclasses
from collections import defaultdict
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import optim
from minigan.backend import to_host
from minigan.games.player import Player
from minigan.gradcheck import numeric_gradient
from minigan.nn import Dense, Params, Sequential, init_params
from minigan.optim import SGD, Adam, LinearRamp, Momentum, Optimiser, RMSprop
from reference import optimisers as loops
from tests.strategies import error, few_examples, normal, seeds
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

GOLDEN = Path(__file__).parents[1] / "golden" / "optimisers.npz"
RULES = {
    "sgd": SGD(lr=0.1),
    "momentum": Momentum(lr=0.05, momentum=0.9),
    "adam": Adam(lr=0.01),
    "rmsprop": RMSprop(lr=0.01),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)

SHAPES = {"w": (3, 4), "b": (4,), "gamma": (4,)}
STATISTICS = {"mean": (4,)}
TRAINED, MEASURED = 20, 4


def parameters(device=None, dtype=np.float64, seed=0):
    """Random parameters and statistics."""
    flat = normal(seed, TRAINED + MEASURED).astype(dtype)
    return Params(flat if device is None else device.put(flat), SHAPES, STATISTICS, (3,))


def vector(values):
    """Parameters that are one vector."""
    return Params(values.copy(), {"w": values.shape}, {}, (1,))


def gradients(theta, values):
    grads = theta.gradients()
    grads.flat += values
    return grads


def after_each_update(rule, start, grads):
    """The parameters after each of the gradients in turn."""
    theta = vector(start)
    moments, path = rule.init_moments(theta), []
    for t, g in enumerate(grads, start=1):
        rule.update(theta, gradients(theta, g), moments, t)
        path.append(theta.flat.copy())
    return np.array(path)


@every_rule
@few_examples
@given(seed=seeds)
def test_the_way_back_is_the_adjoint_of_the_update(rule, seed):
    """R = <a, theta'> + <b, moments'> of random a and b, by difference quotients on theta, g and every moment."""
    rng = np.random.default_rng(seed)
    theta, g, a = rng.normal(size=(3, 4))
    moments = {name: rng.uniform(0.1, 1, 4) for name in rule.moment_names}
    b = {name: rng.normal(size=4) for name in moments}
    coefficients = rule.coefficients(3)

    def after():
        there, kept = theta.copy(), {name: moment.copy() for name, moment in moments.items()}
        rule.rule(there, g, kept, *coefficients)
        return there, kept

    def value():
        there, kept = after()
        return float(a @ there) + sum(float(b[name] @ kept[name]) for name in kept)

    _, kept = after()
    before = [array.copy() for array in (a, g, *kept.values(), *b.values())]
    dg, dmoments = rule.rule_backward(a, g, kept, b, *coefficients)
    for array, was in zip((a, g, *kept.values(), *b.values()), before, strict=True):
        np.testing.assert_array_equal(array, was)
    for array, claimed in ((theta, a), (g, dg), *((moments[name], dmoments[name]) for name in moments)):
        np.testing.assert_allclose(numeric_gradient(value, array), claimed, rtol=1e-7, atol=1e-8)


@every_rule
def test_where_no_gradient_has_ever_been_the_way_back_is_finite(rule):
    """The slope of the square root at 0 is not."""
    zero = np.zeros(2)
    moments = {name: zero.copy() for name in rule.moment_names}
    dg, dmoments = rule.rule_backward(np.ones(2), zero, moments, dict(moments), *rule.coefficients(1))
    assert np.isfinite([dg, *dmoments.values()]).all()


def test_a_rule_of_ones_own_without_a_way_back_says_so():
    class Own(Optimiser):
        pass

    with pytest.raises(NotImplementedError, match="Own has no rule_backward, which an unrolled D needs"):
        Own().rule_backward(np.ones(2), np.ones(2), {}, {})
    with pytest.raises(NotImplementedError):
        Own().rule(np.ones(2), np.ones(2), {})


# The formulas -------------------------------------------------------------------------------------------


def load_golden():
    """{(rule, number): {name: array}}"""
    cases = defaultdict(dict)
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        for key in arrays.files:
            if key != "torch_version":
                rule, number, name = key.split("/")
                cases[rule, number][name] = arrays[key]
    return cases


CASES = load_golden()


def rules_of(name, settings):
    """Our rules for PyTorch's: gradient descent without momentum is two of ours."""
    if name != "sgd":
        return [{"adam": Adam, "rmsprop": RMSprop}[name](**settings)]
    plain = [SGD(settings["lr"])] if settings["momentum"] == 0 else []
    return [*plain, Momentum(**settings)]


@pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{name}-{number}" for name, number in CASES])
def test_ten_updates_agree_with_pytorch(name, number):
    case = CASES[name, number]
    settings = {key: value.item() for key, value in case.items() if value.ndim == 0}
    for rule in rules_of(name, settings):
        assert error(after_each_update(rule, case["theta"], case["grads"]), case["thetas"]) <= 1e-12


def test_every_exported_rule_is_tested_here():
    exported = {thing for name in optim.__all__ if isinstance(thing := getattr(optim, name), type)}
    assert {type(rule) for rule in RULES.values()} == {rule for rule in exported if issubclass(rule, Optimiser)} - {
        Optimiser
    }
    assert {name for name, _ in CASES} == {"sgd", "adam", "rmsprop"}
    assert {case["momentum"].item() > 0 for (name, _), case in CASES.items() if name == "sgd"} == {True, False}


rates, factors = st.floats(1e-5, 1.0), st.floats(0.0, 0.999)


@few_examples
@given(
    size=st.integers(1, 6),
    steps=st.integers(1, 6),
    seed=seeds,
    lr=rates,
    mu=factors,
    beta=factors,
    eps=st.floats(1e-8, 1),
)
def test_updates_agree_with_the_explicit_loops(size, steps, seed, lr, mu, beta, eps):
    start, grads = normal([seed, 0], size), normal([seed, 1], steps, size)
    for rule, expected in [
        (SGD(lr), loops.sgd(start, grads, lr)),
        (Momentum(lr, mu), loops.sgd(start, grads, lr, mu)),
        (Adam(lr, mu, beta, eps), loops.adam(start, grads, lr, mu, beta, eps)),
        (RMSprop(lr, beta, eps), loops.rmsprop(start, grads, lr, beta, eps)),
    ]:
        assert error(after_each_update(rule, start, grads)[-1], expected, floor=1.0) <= 1e-12


@given(lr=rates, seed=seeds)
def test_the_first_update_of_adam_is_the_learning_rate_against_the_sign(lr, seed):
    start, g = normal([seed, 0], 5), normal([seed, 1], 5)
    moved = after_each_update(Adam(lr, eps=1e-30), start, [g])[0] - start
    np.testing.assert_allclose(moved, -lr * np.sign(g), rtol=1e-9, atol=1e-15)


def test_adam_with_a_zero_gradient_stays():
    start = normal(0, 5)
    assert np.array_equal(after_each_update(Adam(0.1), start, [np.zeros(5)] * 3)[-1], start)


def test_the_learning_rate_of_momentum_is_inside_the_velocity():
    """A changed rate acts on new gradients only: v = -0.1, then v = 0.5 * -0.1 - 0 * 1."""
    rule = Momentum(lr=lambda t: 0.1 if t == 1 else 0.0, momentum=0.5)
    path = after_each_update(rule, np.zeros(1), np.ones((3, 1)))
    np.testing.assert_allclose(path[:, 0], [-0.1, -0.15, -0.175], rtol=1e-14)


@pytest.mark.parametrize("make", [SGD, RMSprop, Adam, lambda value: Momentum(lr=value, momentum=value)])
def test_schedules_are_asked_for_the_number_of_the_update(make):
    """A schedule gives what another rule with the constant of that step would."""
    start, grads = normal(0, 4), normal(1, 5, 4)
    theta = vector(start)
    moments = make(0.1).init_moments(theta)
    for t, g in enumerate(grads, start=1):
        make(0.1 + 0.4 * min(1, (t - 1) / 3)).update(theta, gradients(theta, g), moments, t)
    ramp = make(LinearRamp(0.1, 0.5, length=3))
    np.testing.assert_allclose(after_each_update(ramp, start, grads)[-1], theta.flat, rtol=1e-12)


# Decay and clipping within an update --------------------------------------------------------------------


@every_rule
def test_decay_comes_before_clipping_and_both_before_the_rule(rule):
    theta, g = parameters(), normal(1, TRAINED)
    both = type(rule)(**vars(rule) | {"weight_decay": 0.5, "max_norm": 1.0})
    decayed = g.copy()
    decayed[:12] += 0.5 * theta.flat[:12]  # w alone: b and gamma are one-dimensional
    shortened = decayed / np.linalg.norm(decayed)
    assert np.linalg.norm(decayed) > 1

    by_hand = theta.copy()
    rule.update(by_hand, gradients(by_hand, shortened), rule.init_moments(by_hand), 1)
    both.update(theta, gradients(theta, g), both.init_moments(theta), 1)
    np.testing.assert_allclose(theta.flat, by_hand.flat, rtol=1e-12)


def test_decay_covers_biases_on_demand():
    theta = parameters()
    before = theta.trainable.copy()
    rule = SGD(lr=0.1, weight_decay=0.5, decay_biases=True)
    rule.update(theta, theta.gradients(), {}, 1)
    np.testing.assert_allclose(theta.trainable, before * (1 - 0.1 * 0.5), rtol=1e-14)


# What is changed and what is not ------------------------------------------------------------------------


def play(rule, theta, grads, steps=3):
    moments = rule.init_moments(theta)
    for t in range(1, steps + 1):
        rule.update(theta, grads, moments, t)
    return moments


@every_rule
def test_moments_start_from_zero_where_the_parameters_live(rule, device):
    theta = parameters(device, np.float32)
    moments = rule.init_moments(theta)
    assert tuple(moments) == rule.moment_names
    for moment in moments.values():
        assert isinstance(moment, device.xp.ndarray)
        assert moment.shape == (TRAINED,)
        assert moment.dtype == np.float32
        assert not to_host(moment).any()


@every_rule
def test_the_statistics_are_never_touched(rule, device):
    theta = parameters(device)
    play(rule, theta, gradients(theta, device.put(normal(1, TRAINED))))
    assert np.array_equal(to_host(theta.flat)[TRAINED:], normal(0, TRAINED + MEASURED)[TRAINED:])
    assert (to_host(theta.trainable) != normal(0, TRAINED + MEASURED)[:TRAINED]).all()


@every_rule
def test_the_gradient_is_zero_after_the_update(rule, device):
    theta = parameters(device)
    grads = gradients(theta, device.put(normal(1, TRAINED)))
    play(rule, theta, grads, steps=1)
    assert not to_host(grads.flat).any()


@every_rule
def test_every_update_raises_the_version(rule):
    theta = parameters()
    grads = theta.gradients()
    play(rule, theta, grads, steps=3)
    assert theta.version == 3
    assert grads.version == 0


@every_rule
def test_arrays_stay_where_they_are(rule, device):
    """Views and moments that somebody holds remain the parameters' own."""
    theta = parameters(device)
    flat, view, moments = theta.flat, theta["w"], rule.init_moments(theta)
    held = dict(moments)
    rule.update(theta, gradients(theta, device.put(normal(1, TRAINED))), moments, 1)
    assert theta.flat is flat
    assert theta["w"] is view
    assert np.array_equal(to_host(view).ravel(), to_host(flat)[:12])
    assert all(moments[name] is held[name] for name in held)


@every_rule
def test_a_rule_keeps_nothing_to_itself(rule):
    """All that it remembers is in the moments: two networks may share one rule."""
    before = dict(vars(rule))
    first, second, again = parameters(), parameters(seed=1), parameters()
    moments = [rule.init_moments(first), rule.init_moments(second)]
    for t in (1, 2, 3):
        rule.update(first, gradients(first, normal(t, TRAINED)), moments[0], t)
        rule.update(second, gradients(second, normal([t, 1], TRAINED)), moments[1], t)
    alone = rule.init_moments(again)
    for t in (1, 2, 3):
        rule.update(again, gradients(again, normal(t, TRAINED)), alone, t)
    assert np.array_equal(first.flat, again.flat)
    assert vars(rule) == before
    with pytest.raises(FrozenInstanceError):
        rule.lr = 1.0


# Devices and precision ----------------------------------------------------------------------------------


def with_everything(rule):
    """The rule with schedules, decay and clipping."""
    return type(rule)(**vars(rule) | {"lr": LinearRamp(0.1, 0.0, 10), "weight_decay": 0.1, "max_norm": 0.5})


@every_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_is_kept(rule, dtype, device):
    theta = parameters(device, dtype)
    moments = play(with_everything(rule), theta, gradients(theta, device.put(normal(1, TRAINED).astype(dtype))))
    assert {theta.flat.dtype, *(moment.dtype for moment in moments.values())} == {np.dtype(dtype)}


@every_rule
def test_nothing_waits_for_the_gpu_and_nothing_is_computed_in_double_precision(rule, strict):
    theta = parameters(strict, np.float32)
    grads = gradients(theta, strict.put(normal(1, TRAINED).astype(np.float32)))
    with forbid_synchronisation(), forbid_dtype("float64"):
        play(with_everything(rule), theta, grads)


@every_rule
def test_every_device_makes_the_same_updates(rule, device):
    on_host, there = parameters(), parameters(device)
    for theta, put in [(on_host, np.asarray), (there, device.put)]:
        play(with_everything(rule), theta, gradients(theta, put(normal(1, TRAINED))))
    assert error(to_host(there.flat), on_host.flat) <= 1e-14


@every_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coefficients_that_lie_on_the_device_make_the_same_updates_to_the_bit(rule, dtype, device):
    """So a launch that is repeated can read new ones from the old place."""
    rule = with_everything(rule)
    worked_out, lying, place = parameters(device, dtype), parameters(device, dtype), None
    moments = [rule.init_moments(worked_out), rule.init_moments(lying)]
    for t in (1, 2, 3):
        g = device.put(normal(t, TRAINED).astype(dtype))
        rule.update(worked_out, gradients(worked_out, g), moments[0], t)
        numbers = device.put(np.array(rule.coefficients(t), dtype))
        place = numbers if place is None else place
        place[...] = numbers
        rule.update(lying, gradients(lying, g), moments[1], -1, [place[i] for i in range(len(place))])
    assert np.array_equal(to_host(worked_out.flat), to_host(lying.flat))


@every_rule
def test_a_player_uses_the_coefficients_that_lie_ready(rule):
    net = Sequential(Dense(2))
    alone, given = (Player.new(net, rule, (3,), np.random.default_rng(0), dtype=np.float64) for _ in range(2))
    asked = []
    given.coefficients = lambda t: asked.append(t) or rule.coefficients(t + 10)
    alone.updates = 10
    for player in (alone, given):
        for t in (1, 2):
            player.grads.flat[...] = normal(t, player.grads.flat.size)
            player.update()
    assert asked == [1, 2]
    assert np.array_equal(alone.theta.flat, given.theta.flat)


# Numbers that are none ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SGD(lr=-1), "SGD: lr must be at least 0, and finite, got -1"),
        (lambda: SGD(lr=float("inf")), "lr must be at least 0, and finite, got inf"),
        (lambda: SGD(lr="1"), "SGD: lr must be at least 0, and finite, got '1'"),
        (lambda: SGD(lr=float("nan")), "lr must be at least 0, and finite, got nan"),
        (lambda: SGD(lr=1, max_norm=0), "max_norm must be above 0, and finite, got 0"),
        (lambda: SGD(lr=1, max_weight=-0.1), "max_weight must be above 0"),
        (lambda: SGD(lr=1, weight_decay=-0.1), "weight_decay must be at least 0"),
        (lambda: Momentum(lr=1, momentum=1.0), "Momentum: momentum must be at least 0 and below 1, got 1.0"),
        (lambda: Adam(lr=1, beta1=1), "Adam: beta1 must be at least 0 and below 1, got 1"),
        (lambda: RMSprop(lr=1, rho=2), "RMSprop: rho must be at least 0 and below 1, got 2"),
    ],
)
def test_rules_that_would_not_descend_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@every_rule
def test_updates_are_counted_from_one_and_take_their_own_moments(rule, device):
    theta = parameters(device)
    with pytest.raises(ValueError, match=r"counts updates from 1 .* got update 0"):
        rule.update(theta, theta.gradients(), rule.init_moments(theta), 0)
    with pytest.raises(ValueError, match="takes moments"):
        rule.update(theta, theta.gradients(), {"other": theta.trainable}, 1)


@every_rule
def test_gradients_and_moments_of_another_network_are_refused(rule, device):
    """Fast kernels would write behind the shorter one."""
    theta = parameters(device)
    other = init_params(Dense(2), (2,), np.random.default_rng(0), dtype=np.float64, device=device)
    words = f"theta has {theta.trainable.size} trainable numbers, {{}} 6: are they another network's"
    with pytest.raises(ValueError, match=words.format("grads")):
        rule.update(theta, other.gradients(), rule.init_moments(theta), 1)
    for name in rule.moment_names:
        moments = rule.init_moments(theta) | {name: rule.init_moments(other)[name]}
        with pytest.raises(ValueError, match=words.format(name)):
            rule.update(theta, theta.gradients(), moments, 1)


@every_rule
def test_no_parameter_is_larger_than_the_limit_after_an_update(rule, device):
    """Those of a critic of Wasserstein's distance; statistics are none."""
    limited = dataclasses.replace(rule, max_weight=0.05)
    free, held = parameters(device), parameters(device)
    for theta, one in ((free, rule), (held, limited)):
        one.update(theta, gradients(theta, device.put(normal(1, TRAINED))), one.init_moments(theta), 1)
    expected = np.clip(to_host(free.trainable), -0.05, 0.05)
    assert abs(expected).max() == 0.05
    assert np.array_equal(to_host(held.trainable), expected)
    assert np.array_equal(to_host(held["mean"]), to_host(free["mean"]))
    assert held.version == free.version
