"""Penalties on the gradient of D: what a step does with one, and what it leaves alone."""

import dataclasses

import numpy as np
import pytest

from minigan import games, nn, optim
from minigan.backend import CPU
from minigan.games.player import Player
from minigan.gradcheck import numeric_gradient
from tests.games.test_gan import BATCH, D_NET, D_WITHOUT_BATCHNORM, FEATURES, Draws, everything, players
from tests.strategies import normal
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

PENALTIES = {
    "WGAN-GP": games.wgan_gp(3.0),
    "R1": games.r1(4.0),
    "at generated samples": games.GradientPenalty(0.5, at="generated"),
}
every_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
WAYS = {
    "d first": {},
    "two steps": {"d_steps": 2},
    "g first, reusing": {"order": "generator-first", "reuse_fakes": True},
    "joined": {"joined": True},
    "at once": {"at_once": True},
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


class SharedDraws(Draws):
    """Asked for points between as well."""

    def share(self, k):
        return self._put("share", k, np.random.default_rng([self.step, 4, k]).random(BATCH))


def play(game, device=CPU, dtype=np.float64, d_net=D_WITHOUT_BATCHNORM):
    g, d = players(device, dtype, d_net=d_net)
    draws = SharedDraws(device, dtype)
    return games.play_round(game, g, d, draws), g, d, draws


@every_way
@every_penalty
def test_the_penalty_stands_beside_the_loss(way, penalty):
    """Of the first step, before which both have the same D; masks are those of the samples, then of the points."""
    game = games.Game(games.WASSERSTEIN, **way | {"d_steps": 1})
    with_it, *_ = play(dataclasses.replace(game, penalty=penalty))
    without, *_ = play(game)
    none, *_ = play(dataclasses.replace(game, penalty=dataclasses.replace(penalty, weight=0)))
    assert with_it["penalty"] > 0
    assert none["penalty"] == 0
    assert "penalty" not in without
    for name in ("loss_d", "d_real", "d_fake"):
        assert with_it[name] == without[name]


@every_way
def test_points_between_are_asked_for_only_where_they_are_needed(way):
    for name, penalty in PENALTIES.items():
        *_, draws = play(games.Game(games.WASSERSTEIN, penalty=penalty, **way))
        asked = [k for what, k in draws.asked if what == "share"]
        assert asked == (list(range(way.get("d_steps", 1))) if name == "WGAN-GP" else [])


@every_penalty
def test_one_array_for_both_batches_changes_nothing(penalty):
    """With dropout in D, whose masks for the points come after those of both batches."""
    game = games.Game(games.non_saturating(), penalty=penalty, d_steps=2)
    _, g, d, _ = play(game, d_net=D_NET)
    _, g_at_once, d_at_once, _ = play(dataclasses.replace(game, at_once=True), d_net=D_NET)
    for one, other in ((g, g_at_once), (d, d_at_once)):
        for name, array in everything(one).items():
            np.testing.assert_allclose(everything(other)[name], array, rtol=1e-10, atol=1e-12, err_msg=name)


@every_penalty
def test_running_statistics_do_not_know_the_points(penalty):
    game = games.Game(games.non_saturating())
    statistics = []
    for rules in (game, dataclasses.replace(game, penalty=penalty)):
        _, _, d, _ = play(rules, d_net=D_NET)
        statistics.append(d.theta.flat[d.theta.trainable_size :])
    np.testing.assert_array_equal(*statistics)


@every_way
@every_penalty
def test_nothing_waits_for_the_gpu_or_is_computed_in_double_precision(way, penalty, strict):
    numbers = {name: np.float64(getattr(penalty, name)) for name in ("weight", "centre")}  # as arithmetic gives them
    penalty = dataclasses.replace(penalty, **numbers)
    g, d = players(strict, np.float32, d_net=D_NET)
    draws = SharedDraws(strict, np.float32)
    with forbid_synchronisation(), forbid_dtype("float64"):
        metrics = games.play_round(games.Game(games.WASSERSTEIN, penalty=penalty, **way), g, d, draws)
    assert metrics["loss_d"].dtype == metrics["penalty"].dtype == np.float32


def test_points_lie_between_a_real_and_a_generated_sample():
    real, fake = normal(0, 2, 4, 3, 3, 2)
    points = games.wgan_gp().points(real, fake, np.array([0.0, 1.0, 0.25, 0.5]))
    assert np.array_equal(points[0], fake[0])
    np.testing.assert_allclose(points[1], real[1], atol=1e-15)
    np.testing.assert_allclose(points[2], 0.25 * real[2] + 0.75 * fake[2], atol=1e-15)
    assert games.r1().points(real, fake, None) is real
    assert games.GradientPenalty(1.0, at="generated").points(real, fake, None) is fake


@pytest.mark.parametrize(
    ("penalty", "length"), [(games.wgan_gp(10.0), 1.0), (games.r1(100.0), 0.0)], ids=["WGAN-GP", "R1"]
)
def test_slopes_become_as_long_as_they_are_asked_to_be(penalty, length):
    """Two clouds: without a penalty the slope of a Wasserstein critic grows with each step."""
    slopes = {}
    for rule in (None, penalty):
        rng = np.random.default_rng(0)
        net = nn.Sequential(nn.Dense(16), nn.Tanh(), nn.Dense(1))
        d = Player.new(net, optim.Adam(0.01, beta1=0.5), (FEATURES,), rng, dtype=np.float64)
        for _ in range(400):
            real, fake = rng.normal(1, 0.1, (16, FEATURES)), rng.normal(-1, 0.1, (16, FEATURES))
            x = None if rule is None else rule.points(real, fake, rng.random(16))
            add = None if rule is None else (lambda d, _real, _fake, rule=rule, x=x, rng=rng: rule.add(d, x, rng))
            games.discriminator_step(games.WASSERSTEIN, d, real, fake, rng, add)
        x = games.wgan_gp().points(real, fake, rng.random(16)) if length else real
        logits, cache = net.forward(d.theta, x, train=True)
        slopes[rule] = np.linalg.norm(net.backward(d.theta, np.ones_like(logits), cache, None), axis=1).mean()
    assert slopes[penalty] == pytest.approx(length, abs=0.15)
    if length:
        assert slopes[None] > 2


def test_what_d_is_told_has_no_slope():
    """The length is that of the gradient on the image, and the gradient of it that of finite differences."""
    net = nn.Sequential(
        nn.Conditioned(2, nn.Conv2D(3, 2), nn.Softplus(), nn.Flatten()), nn.Dense(2), nn.Tanh(), nn.Dense(1)
    )
    d = Player.new(net, optim.SGD(0.1), (3, 3, 3), np.random.default_rng(0), dtype=np.float64)
    penalty, x, rng = games.r1(3.0), normal(1, 4, 3, 3, 3), np.random.default_rng(0)

    def value():
        logits, cache = net.forward(d.theta, x, train=True)
        dx = net.backward(d.theta, np.ones_like(logits), cache, None)[..., :1]
        return float(1.5 * (dx**2).sum() / 4)

    assert penalty.add(d, x, rng) == pytest.approx(value())
    for name in d.grads:
        numeric = numeric_gradient(value, d.theta[name])
        np.testing.assert_allclose(d.grads[name], numeric, rtol=1e-7, atol=1e-10)


def test_points_between_pairs_of_one_class_are_of_that_class():
    real, fake = np.array([[1.0, 0, 1]]), np.array([[3.0, 0, 1]])  # a number, and the code of its class
    np.testing.assert_array_equal(games.wgan_gp().points(real, fake, np.array([0.25])), [[2.5, 0, 1]])


def test_what_no_penalty_can_be_is_refused():
    for wrong, words in (({"weight": -1.0}, "weight"), ({"weight": 1.0, "centre": float("nan")}, "centre")):
        with pytest.raises(ValueError, match=f"the {words} of a gradient penalty is finite and not negative"):
            games.GradientPenalty(**wrong)
    with pytest.raises(ValueError, match="choose between, real, generated"):
        games.GradientPenalty(1.0, at="fake")
    for wrong in (games.wgan_gp, 3.0, "r1"):  # as without parentheses
        with pytest.raises(ValueError, match=r"such as wgan_gp\(\) or r1\(\), got"):
            games.Game(games.HINGE, penalty=wrong)
    with pytest.raises(ValueError, match="a simultaneous round has one step of both"):
        games.Game(games.HINGE, order="simultaneous", penalty=games.r1())
