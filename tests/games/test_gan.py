"""The GAN game: who is updated from what, in which order, and what is never touched or computed."""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from minigan import games, ops
from minigan.backend import CPU, Device, array_module, to_host
from minigan.functional import gan_losses
from minigan.games import Game, play_round, simultaneous
from minigan.games.player import Player
from minigan.nn import (
    BatchNorm,
    Dense,
    Dropout,
    GhostBatchNorm,
    LeakyReLU,
    Sequential,
    Tanh,
    convert_sync_batchnorm,
    in_parts,
)
from minigan.optim import SGD, Adam, Momentum, Optimiser
from minigan.parallel.team import ALONE
from tests.planted_bugs import ROUND_BUGS, Bug, planted
from tests.strategies import normal
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

LATENT, FEATURES, BATCH = 3, 2, 6
# Every weight matrix has a shape of its own, so that shapes tell layers apart.
G_NET = Sequential(Dense(5, bias=False), BatchNorm(), LeakyReLU(), Dense(FEATURES))
D_NET = Sequential(Dense(7), LeakyReLU(), Dropout(0.3), Dense(4, bias=False), BatchNorm(momentum=0.2), Tanh(), Dense(1))
D_WITHOUT_BATCHNORM = Sequential(*(layer for layer in D_NET.layers if not isinstance(layer, BatchNorm)))
G_WEIGHTS, D_WEIGHTS = [(3, 5), (5, 2)], [(2, 7), (7, 4), (4, 1)]
G_BIASES, D_BIASES = [(2,)], [(7,), (1,)]

LOSSES = {
    "minimax": games.minimax(),
    "non-saturating": games.non_saturating(smoothing=0.1),
    "least squares": games.LEAST_SQUARES,
    "hinge": games.HINGE,
    "wasserstein": games.WASSERSTEIN,
}
LOSS = LOSSES["non-saturating"]
GAMES = {
    "d first": Game(LOSS),
    "d first, two steps": Game(LOSS, d_steps=2),
    "d first, reusing": Game(LOSS, d_steps=2, reuse_fakes=True),
    "g first": Game(LOSS, order="generator-first"),
    "g first, two steps": Game(LOSS, d_steps=2, order="generator-first"),
    "g first, reusing": Game(LOSS, d_steps=2, order="generator-first", reuse_fakes=True),
    "simultaneous": Game(LOSS, order="simultaneous"),
    "d first, joined": Game(LOSS, d_steps=2, joined=True),
    "g first, reusing, joined": Game(LOSS, d_steps=2, order="generator-first", reuse_fakes=True, joined=True),
}
# The same games where two batches go through D in one array.
AT_ONCE = {
    f"{name}, at once": dataclasses.replace(game, at_once=True) for name, game in GAMES.items() if not game.joined
}
METRICS = {"loss_d", "loss_g", "d_real", "d_fake", "d_fake_g"}

every_game = pytest.mark.parametrize("game", [*GAMES.values(), *AT_ONCE.values()], ids=[*GAMES, *AT_ONCE])
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


RULE_G, RULE_D = Momentum(0.05, 0.5), Adam(0.01)


def players(device=CPU, dtype=np.float64, rule_g=RULE_G, rule_d=RULE_D, d_net=D_NET):
    """Two players with random parameters."""
    rng = np.random.default_rng(0)
    g = Player.new(G_NET, rule_g, (LATENT,), rng, dtype=dtype, device=device)
    d = Player.new(d_net, rule_d, (FEATURES,), rng, dtype=dtype, device=device)
    return g, d


@dataclass
class Draws:
    """Data around (2, 2) and randomness, as functions of the round; notes what it was asked for."""

    device: Device = CPU
    dtype: Any = np.float64
    step: int = 0
    asked: list[tuple] = field(default_factory=list)

    def real(self, k):
        return self._put("real", k, 2 + 0.3 * normal([self.step, 0, k], BATCH, FEATURES))

    def latent_d(self, k):
        return self._put("latent_d", k, normal([self.step, 1, k], BATCH, LATENT))

    def latent_g(self):
        return self._put("latent_g", 0, normal([self.step, 2], BATCH, LATENT))

    def dropout(self, k):
        return np.random.default_rng([self.step, 3, k])

    def _put(self, name, k, host):
        self.asked.append((name, k))
        return self.device.put(host.astype(self.dtype))


def everything(player):
    """All that can change of a player, on the host."""
    arrays = {"theta": player.theta.flat, "grads": player.grads.flat} | player.moments
    counts = {"updates": player.updates, "version": player.theta.version}
    return {name: to_host(array).copy() for name, array in arrays.items()} | counts


def assert_same(after, before):
    assert after.keys() == before.keys()
    for name in before:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


# Nobody touches the other player ------------------------------------------------------------------------


@every_loss
def test_a_discriminator_step_leaves_the_generator_bit_for_bit(loss, device):
    g, d = players(device)
    draws = Draws(device)
    before_g, before_d = everything(g), everything(d)
    fake, _ = games.generate(g, draws.latent_d(0), draws.dropout(0))
    games.discriminator_step(loss, d, draws.real(0), fake, draws.dropout(0))
    assert_same(everything(g), before_g)
    assert (everything(d)["theta"] != before_d["theta"]).mean() > 0.5


@every_loss
def test_a_generator_step_leaves_the_discriminator_bit_for_bit(loss, device):
    """Its parameters, its running statistics, its moments, and the gradients that it collects."""
    g, d = players(device)
    draws = Draws(device)
    d.grads.flat.fill(3)
    before_g, before_d = everything(g), everything(d)
    fake, cache = games.generate(g, draws.latent_g(), draws.dropout(1))
    games.generator_step(loss, g, d, fake, cache, draws.dropout(1))
    assert_same(everything(d), before_d)
    assert (everything(g)["theta"] != before_g["theta"]).mean() > 0.5


class Spy:
    """Counts which weights, biases and inputs get a gradient, by their shapes."""

    def __init__(self, monkeypatch):
        self.weights, self.biases, self.inputs = Counter(), Counter(), Counter()
        monkeypatch.setattr(ops, "dense_weight_grad", self._noting(ops.dense_weight_grad, self.weights))
        monkeypatch.setattr(ops, "dense_bias_grad", self._noting(ops.dense_bias_grad, self.biases))
        input_grad = ops.dense_input_grad

        def noting_weights(dy, w):
            self.inputs[w.shape] += 1
            return input_grad(dy, w)

        monkeypatch.setattr(ops, "dense_input_grad", noting_weights)

    @staticmethod
    def _noting(operation, counter):
        def noting(*arguments):
            result = operation(*arguments)
            counter[result.shape] += 1
            return result

        return noting


def times(count, shapes):
    return Counter(dict.fromkeys(shapes, count))


def test_a_generator_step_computes_no_parameter_gradient_of_the_discriminator(monkeypatch):
    g, d = players()
    fake, cache = games.generate(g, Draws().latent_g(), Draws().dropout(1))
    spy = Spy(monkeypatch)
    games.generator_step(LOSS, g, d, fake, cache, Draws().dropout(1))
    assert spy.weights == times(1, G_WEIGHTS)
    assert spy.biases == times(1, G_BIASES)
    assert spy.inputs == times(1, [*D_WEIGHTS, G_WEIGHTS[1]])  # through D down to z, exclusive


def test_a_discriminator_step_computes_no_gradient_of_samples_or_of_the_generator(monkeypatch):
    _, d = players()
    spy = Spy(monkeypatch)
    games.discriminator_step(LOSS, d, Draws().real(0), Draws().real(1), Draws().dropout(0))
    assert spy.weights == times(2, D_WEIGHTS)  # on real and on fake
    assert spy.biases == times(2, D_BIASES)
    assert spy.inputs == times(2, D_WEIGHTS[1:])


@every_game
def test_a_round_computes_each_gradient_as_often_as_it_is_used(game, monkeypatch):
    g, d = players()
    spy = Spy(monkeypatch)
    play_round(game, g, d, Draws())
    in_one = game.joined or (game.at_once and game.order != "simultaneous")  # as D has BatchNorm
    batches = game.d_steps * (1 if in_one else 2)
    assert spy.weights == times(1, G_WEIGHTS) + times(batches, D_WEIGHTS)
    assert spy.biases == times(1, G_BIASES) + times(batches, D_BIASES)


# Orders, against sequences written by hand --------------------------------------------------------------


def descend(player, grads):
    player.updates += 1
    player.optimiser.update(player.theta, grads, player.moments, player.updates)


def forward(player, x, rng):
    return player.net.forward(player.theta, x, train=True, rng=rng)


def gradients_of_d(d, real, fake):
    """From (logits, cache) on real and on generated samples."""
    _, d_real, d_fake = LOSS.discriminator(real[0], fake[0])
    on_real, on_fake = d.theta.gradients(), d.theta.gradients()
    d.net.backward(d.theta, d_real, real[1], on_real)
    d.net.backward(d.theta, d_fake, fake[1], on_fake)
    on_real.flat += on_fake.flat
    return on_real


def gradients_of_g(g, d, sample_cache, fake):
    grads, unused = g.theta.gradients(), d.theta.gradients()
    dx = d.net.backward(d.theta, LOSS.generator(fake[0])[1], fake[1], unused)
    g.net.backward(g.theta, dx, sample_cache, grads)
    return grads


def d_moves(d, real, sample, rng):
    on_real = forward(d, real, rng)
    on_fake = forward(d, sample, rng)
    grads = gradients_of_d(d, on_real, on_fake)
    d.net.update_statistics(d.theta, on_real[1])
    d.net.update_statistics(d.theta, on_fake[1])
    descend(d, grads)


def d_moves_joined(d, real, sample, rng):
    both, n = array_module(real).concatenate, len(real)
    logits, cache = forward(d, both([real, sample]), rng)
    _, *d_logits = LOSS.discriminator(logits[:n], logits[n:])
    grads = d.theta.gradients()
    d.net.backward(d.theta, both(d_logits), cache, grads)
    d.net.update_statistics(d.theta, cache)
    descend(d, grads)


def g_moves(g, d, sample, sample_cache, rng):
    grads = gradients_of_g(g, d, sample_cache, forward(d, sample, rng))
    g.net.update_statistics(g.theta, sample_cache)
    descend(g, grads)


def by_hand_d_first(g, d, draws, d_steps=1, d_moves=d_moves):
    for k in range(d_steps):
        rng = draws.dropout(k)
        sample, _ = forward(g, draws.latent_d(k), rng)
        d_moves(d, draws.real(k), sample, rng)
    rng = draws.dropout(d_steps)
    g_moves(g, d, *forward(g, draws.latent_g(), rng), rng)


def by_hand_d_first_reusing(g, d, draws):
    for k in (0, 1):
        rng = draws.dropout(k)
        sample, sample_cache = forward(g, draws.latent_d(k), rng)
        d_moves(d, draws.real(k), sample, rng)
    g_moves(g, d, sample, sample_cache, draws.dropout(2))


def by_hand_g_first(g, d, draws, d_steps=1):
    rng = draws.dropout(d_steps)
    g_moves(g, d, *forward(g, draws.latent_g(), rng), rng)
    for k in range(d_steps):
        rng = draws.dropout(k)
        sample, _ = forward(g, draws.latent_d(k), rng)  # of the generator that has moved
        d_moves(d, draws.real(k), sample, rng)


def by_hand_g_first_reusing(g, d, draws, d_moves=d_moves):
    rng = draws.dropout(2)
    sample, sample_cache = forward(g, draws.latent_g(), rng)
    g_moves(g, d, sample, sample_cache, rng)
    for k in (0, 1):
        d_moves(d, draws.real(k), sample, draws.dropout(k))


def by_hand_simultaneous(g, d, draws):
    """All gradients first, from the parameters as they are; then all updates."""
    rng = draws.dropout(0)
    sample, sample_cache = forward(g, draws.latent_d(0), rng)
    on_real, on_fake = forward(d, draws.real(0), rng), forward(d, sample, rng)
    grads_d, grads_g = gradients_of_d(d, on_real, on_fake), gradients_of_g(g, d, sample_cache, on_fake)
    for player, cache in [(d, on_real[1]), (d, on_fake[1]), (g, sample_cache)]:
        player.net.update_statistics(player.theta, cache)
    descend(g, grads_g)
    descend(d, grads_d)


BY_HAND = {
    "d first": by_hand_d_first,
    "d first, two steps": lambda *args: by_hand_d_first(*args, d_steps=2),
    "d first, reusing": by_hand_d_first_reusing,
    "g first": by_hand_g_first,
    "g first, two steps": lambda *args: by_hand_g_first(*args, d_steps=2),
    "g first, reusing": by_hand_g_first_reusing,
    "simultaneous": by_hand_simultaneous,
    "d first, joined": lambda *args: by_hand_d_first(*args, d_steps=2, d_moves=d_moves_joined),
    "g first, reusing, joined": lambda *args: by_hand_g_first_reusing(*args, d_moves=d_moves_joined),
}


def assert_as_by_hand(name, device=CPU, d_net=D_NET):
    ours, theirs = players(device, d_net=d_net), players(device, d_net=d_net)
    for step in range(3):
        play_round((GAMES | AT_ONCE)[name], *ours, Draws(device, step=step))
        BY_HAND[name.removesuffix(", at once")](*theirs, Draws(device, step=step))
    for player, by_hand in zip(ours, theirs, strict=True):
        after, expected = everything(player), everything(by_hand)
        assert after["updates"] == expected["updates"]
        for array in ("theta", *player.moments):
            np.testing.assert_allclose(after[array], expected[array], rtol=1e-9, atol=1e-13)


D_OF_PARTS = Sequential(Dense(7, bias=False), GhostBatchNorm(parts=3), LeakyReLU(), Dense(1))
D_NETS = {"D with BatchNorm": D_NET, "D without": D_WITHOUT_BATCHNORM, "D of parts": D_OF_PARTS}


@pytest.mark.parametrize("d_net", D_NETS.values(), ids=D_NETS)
@pytest.mark.parametrize("name", [*GAMES, *AT_ONCE])
def test_rounds_are_those_written_by_hand(name, d_net, device):
    assert_as_by_hand(name, device, d_net)


def differs(name):
    """Whether a game is played to its end, and not as by hand."""
    try:
        for d_net in D_NETS.values():
            assert_as_by_hand(name, d_net=d_net)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("bug", ROUND_BUGS, ids=lambda bug: bug.story)
def test_a_bug_planted_in_a_step_is_caught(bug):
    with planted(bug):
        assert any(differs(name) for name in [*GAMES, *AT_ONCE])


def test_the_orders_are_different_games():
    """So the comparison above would notice one in the place of another."""
    ends = []
    for game in GAMES.values():
        g, d = players()
        play_round(game, g, d, Draws())
        ends.append(np.concatenate([g.theta.flat, d.theta.flat]))
    for i, one in enumerate(ends):
        for other in ends[:i]:
            assert abs(one - other).max() > 1e-6


@dataclass(frozen=True)
class Still(Optimiser):
    """Notes the gradient and the number of the update, and changes no parameter."""

    moment_names = ("g", "t")

    def coefficients(self, t):
        return (float(t),)

    def rule(self, theta, g, moments, *coefficients):
        moments["g"][...] = g
        moments["t"].fill(*coefficients)


def test_simultaneous_gradients_are_those_of_separate_steps_from_the_same_parameters():
    without_dropout = Sequential(*(layer for layer in D_NET.layers if not isinstance(layer, Dropout)))
    at_once, apart = (players(rule_g=Still(), rule_d=Still(), d_net=without_dropout) for _ in range(2))
    play_round(Game(LOSS, order="simultaneous"), *at_once, Draws())
    g, d = apart
    fake, cache = games.generate(g, Draws().latent_d(0), Draws().dropout(0))
    games.discriminator_step(LOSS, d, Draws().real(0), fake, Draws().dropout(0))
    games.generator_step(LOSS, g, d, fake, cache, Draws().dropout(0))
    for together, alone in zip(at_once, apart, strict=True):
        assert together.moments["g"].any()
        assert np.array_equal(together.moments["g"], alone.moments["g"])


@every_loss
@pytest.mark.parametrize("shift", [0.0, -60.0, 60.0], ids=["unsure", "sure", "wrong"])
def test_one_way_back_through_d_serves_both_players(loss, shift, device, monkeypatch):
    """Also where D is sure, and its own gradient on the generated samples is nearly or exactly nothing."""
    once, apart = (gradients_of_a_round(loss, shift, device, mixes, monkeypatch) for mixes in (False, True))
    assert D_NET.mixes_samples
    for ours, theirs in zip(once, apart, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-18)
    if loss is LOSS and shift <= 0:
        assert abs(once[0]).max() > 1e-3  # where D is sure, G learns most


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (gan_losses.safe_quotient, "a / divisor", "divisor / a"),
        (simultaneous.backward_for_both, "(for_g, for_d)", "(for_d, for_d)"),
    ],
)
def test_a_bug_in_the_one_way_back_is_caught(function, right, wrong, monkeypatch):
    expected = gradients_of_a_round(LOSS, 0.0, CPU, True, monkeypatch)
    with planted(Bug("", function, right, wrong)):
        found = gradients_of_a_round(LOSS, 0.0, CPU, False, monkeypatch)
    assert not np.allclose(found[0], expected[0], rtol=1e-3)


def gradients_of_a_round(loss, shift, device, mixes, monkeypatch):
    """Of G and of D, where D has no BatchNorm but is treated as if it had, or not, and its logits are shifted."""
    assert not D_WITHOUT_BATCHNORM.mixes_samples
    g, d = players(rule_g=Still(), rule_d=Still(), d_net=D_WITHOUT_BATCHNORM, device=device)
    d.theta["dense3.b"] += shift
    with monkeypatch.context() as patch:
        patch.setattr(Sequential, "mixes_samples", mixes)
        play_round(Game(loss, order="simultaneous"), g, d, Draws(device=device))
    return [to_host(player.moments["g"]) for player in (g, d)]


@every_game
def test_a_round_has_k_updates_of_the_discriminator_and_one_of_the_generator(game):
    g, d = players(rule_g=Still(), rule_d=Still())
    for step in (1, 2):
        play_round(game, g, d, Draws(step=step))
        assert (g.updates, g.theta.version, g.moments["t"][0]) == (step,) * 3  # updates count from t = 1
        assert (d.updates, d.theta.version, d.moments["t"][0]) == (step * game.d_steps,) * 3


@every_game
def test_a_round_draws_what_it_needs_once(game):
    g, d = players()
    draws = Draws()
    play_round(game, g, d, draws)
    needed = [("real", k) for k in range(game.d_steps)]
    if game.order == "generator-first" or not (game.reuse_fakes or game.order == "simultaneous"):
        needed.append(("latent_g", 0))
    if not (game.order == "generator-first" and game.reuse_fakes):
        needed += [("latent_d", k) for k in range(game.d_steps)]
    assert sorted(draws.asked) == sorted(needed)


@every_game
def test_collected_gradients_are_zero_after_a_round(game, device):
    g, d = players(device)
    play_round(game, g, d, Draws(device))
    assert not to_host(g.grads.flat).any()
    assert not to_host(d.grads.flat).any()


def test_samples_of_a_generator_that_has_moved_are_refused():
    g, d = players()
    fake, cache = games.generate(g, Draws().latent_g(), Draws().dropout(1))
    games.generator_step(LOSS, g, d, fake, cache, Draws().dropout(1))
    with pytest.raises(ValueError, match="run forward again after an update"):
        games.generator_step(LOSS, g, d, fake, cache, Draws().dropout(1))


# Running statistics -------------------------------------------------------------------------------------


def statistics_moved(monkeypatch, players_by_name, act):
    """How often the running statistics of each player move while `act` runs."""
    moved = Counter()

    def noting(update):
        def noted(mean, var, cache, momentum):
            batches = len(cache.parts) if hasattr(cache, "parts") else 1
            owner = [name for name, p in players_by_name.items() if np.shares_memory(mean, p.theta.flat)]
            moved.update(owner * batches)
            update(mean, var, cache, momentum)

        return noted

    for name in ("update_running_statistics", "update_ghost_statistics"):
        monkeypatch.setattr(ops, name, noting(getattr(ops, name)))
    act()
    return moved


@every_game
def test_statistics_move_once_for_each_batch_that_a_player_learns_from(game, monkeypatch):
    """D's on real and on generated samples of each of its steps, or on both at once; G's once; never in the other's
    step."""
    g, d = players()
    moved = statistics_moved(monkeypatch, {"g": g, "d": d}, lambda: play_round(game, g, d, Draws()))
    assert moved == {"g": 1, "d": game.d_steps * (1 if game.joined else 2)}


def test_statistics_are_those_of_the_batches_apart():
    """G's first layer, and D's after real and then generated samples with weight 0.2 each."""
    g, d = players(d_net=Sequential(BatchNorm(momentum=0.2), Dense(1)))
    draws, w = Draws(), g.theta["dense1.w"].copy()
    fake, _ = games.generate(g, draws.latent_d(0), draws.dropout(0))
    play_round(Game(LOSS, order="simultaneous"), g, d, draws)
    h = draws.latent_d(0) @ w
    np.testing.assert_allclose(g.theta["batchnorm1.mean"], 0.1 * h.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(g.theta["batchnorm1.var"], 0.9 + 0.1 * h.var(axis=0, ddof=1), rtol=1e-12)
    expected = 0.8 * (0.2 * draws.real(0).mean(axis=0)) + 0.2 * fake.mean(axis=0)
    np.testing.assert_allclose(d.theta["batchnorm1.mean"], expected, rtol=1e-12)


def test_joined_statistics_are_those_of_both_together():
    net = Sequential(BatchNorm(momentum=0.2), Dense(1))
    _, d = players(d_net=net)
    real, fake = Draws().real(0), normal(5, BATCH + 3, FEATURES)
    games.joined_discriminator_step(LOSS, d, real, fake, Draws().dropout(0))
    both = np.concatenate([real, fake])
    np.testing.assert_allclose(d.theta["batchnorm1.mean"], 0.2 * both.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(d.theta["batchnorm1.var"], 0.8 + 0.2 * both.var(axis=0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize(
    ("step", "depends"),
    [
        (games.discriminator_step, False),
        (games.discriminator_step_at_once, False),
        (games.joined_discriminator_step, True),
    ],
)
def test_only_joined_d_s_answer_to_real_samples_depends_on_the_fakes(step, depends):
    without_dropout = Sequential(*(layer for layer in D_NET.layers if not isinstance(layer, Dropout)))
    answers = []
    for shift in (0, 1):
        _, d = players(d_net=without_dropout)
        fake = shift + normal(5, BATCH, FEATURES)
        answers.append(step(LOSS, d, Draws().real(0), fake, Draws().dropout(0))["d_real"])
    assert (answers[0] != answers[1]) == depends


def test_without_batchnorm_and_dropout_joined_is_the_same_step():
    plain = Sequential(Dense(7), LeakyReLU(), Dense(1))
    ends = []
    for step in (games.discriminator_step, games.joined_discriminator_step):
        _, d = players(d_net=plain)
        metrics = step(LOSS, d, Draws().real(0), normal(5, BATCH + 3, FEATURES), Draws().dropout(0))
        ends.append(np.concatenate([d.theta.flat, list(metrics.values())]))
    np.testing.assert_allclose(*ends, rtol=1e-12)


# Metrics, devices, precision ----------------------------------------------------------------------------


@every_game
@every_loss
def test_a_round_waits_for_no_gpu_and_stays_in_single_precision(game, loss, strict):
    g, d = players(strict, np.float32)
    game = dataclasses.replace(game, loss=loss)
    with forbid_synchronisation(), forbid_dtype("float64"):
        for step in range(2):
            metrics = play_round(game, g, d, Draws(strict, np.float32, step))
    assert metrics.keys() == METRICS
    for value in metrics.values():
        assert isinstance(value, strict.xp.ndarray)
        assert value.shape == ()
        assert value.dtype == np.float32
    assert {player.theta.flat.dtype for player in (g, d)} == {np.dtype(np.float32)}


@every_game
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_and_the_stand_in_agree_bit_for_bit(game, dtype, strict):
    ends = []
    for device in (CPU, strict):
        g, d = players(device, dtype)
        for step in range(3):
            metrics = play_round(game, g, d, Draws(device, dtype, step))
        ends.append((everything(g), everything(d), {name: to_host(value) for name, value in metrics.items()}))
    for on_host, there in zip(*ends, strict=True):
        assert_same(there, on_host)


def sigmoid(s):
    return 1 / (1 + np.exp(-s))


def test_metrics_tell_what_the_players_saw(device):
    g, d = players(device)
    draws = Draws(device)
    real_logits, _ = forward(d, draws.real(0), draws.dropout(5))
    rng = draws.dropout(5)
    metrics = games.discriminator_step(LOSS, d, draws.real(0), draws.real(1), rng)
    assert float(metrics["d_real"]) == pytest.approx(sigmoid(to_host(real_logits)).mean(), rel=1e-12)

    g, d = players(device)
    rng = draws.dropout(5)
    fake_logits = to_host(forward(d, forward(g, draws.latent_g(), rng)[0], rng)[0])
    rng = draws.dropout(5)
    metrics = games.generator_step(LOSS, g, d, *games.generate(g, draws.latent_g(), rng), rng)
    assert float(metrics["d_fake_g"]) == pytest.approx(sigmoid(fake_logits).mean(), rel=1e-12)
    assert float(metrics["loss_g"]) == pytest.approx(-np.log(sigmoid(fake_logits)).mean(), rel=1e-12)


# The losses at work -------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("order", ["discriminator-first", "generator-first", "simultaneous"])
def test_the_discriminator_learns_while_the_generator_hardly_moves(loss, order):
    g, d = players(rule_g=SGD(1e-4), rule_d=Adam(0.02))
    losses = []
    for step in range(40):
        metrics = play_round(Game(loss, order=order), g, d, Draws(step=step))
        assert np.isfinite([float(value) for value in metrics.values()]).all()
        losses.append(float(metrics["loss_d"]))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1


@every_loss
def test_the_generator_lowers_its_loss_while_the_discriminator_hardly_moves(loss):
    g, d = players(rule_g=Adam(0.02), rule_d=SGD(1e-6))
    losses = [float(play_round(Game(loss), g, d, Draws(step=step))["loss_g"]) for step in range(40)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05


def test_the_generator_follows_the_data():
    """The whole game: the mean of the samples goes from about 0 to the data's (2, 2)."""
    plain = Sequential(Dense(8), LeakyReLU(), Dense(1))
    g, d = players(rule_g=Adam(0.01, beta1=0.5), rule_d=Adam(0.01, beta1=0.5), d_net=plain)
    z = normal(9, 200, LATENT)
    for step in range(400):
        play_round(Game(games.non_saturating()), g, d, Draws(step=step))
    samples, _ = g.net.forward(g.theta, z, train=False)
    assert abs(samples.mean(axis=0) - 2).max() < 0.5


# Refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d_steps", [0, -1])
def test_a_round_without_a_discriminator_step_is_refused(d_steps):
    with pytest.raises(ValueError, match=f"at least one discriminator step, got d_steps={d_steps}"):
        Game(LOSS, d_steps=d_steps)


def test_a_simultaneous_round_of_several_steps_is_refused():
    with pytest.raises(ValueError, match="simultaneous round has one step of each player: d_steps must be 1"):
        Game(LOSS, d_steps=2, order="simultaneous")


def test_a_simultaneous_joined_round_is_refused():
    with pytest.raises(ValueError, match="joined is for players that take turns"):
        Game(LOSS, order="simultaneous", joined=True)


def test_a_simultaneous_round_at_once_is_played_apart_where_d_mixes_samples():
    moved = []
    for step in (games.simultaneous_step_at_once, games.simultaneous_step):
        g, d = players()  # with BatchNorm in D
        assert d.net.mixes_samples
        step(LOSS, g, d, Draws().real(0), Draws().latent_d(0), Draws().dropout(0))
        moved.append((g.theta.flat, d.theta.flat))
    for ours, theirs in zip(*moved, strict=True):
        assert np.array_equal(ours, theirs)


def test_samples_that_are_one_batch_are_no_two_at_once():
    with pytest.raises(ValueError, match="joined and at_once exclude each other"):
        Game(LOSS, joined=True, at_once=True)


def test_batches_of_different_sizes_go_apart():
    ends = []
    for step in (games.discriminator_step, games.discriminator_step_at_once):
        _, d = players()
        metrics = step(LOSS, d, Draws().real(0), normal(5, BATCH + 3, FEATURES), Draws().dropout(0))
        ends.append(np.concatenate([d.theta.flat, list(metrics.values())]))
    assert np.array_equal(*ends)


def test_batches_of_different_sizes_go_apart_in_a_simultaneous_round_too():
    moved = []
    for step in (games.simultaneous_step_at_once, games.simultaneous_step):
        g, d = players(d_net=D_WITHOUT_BATCHNORM)
        step(LOSS, g, d, Draws().real(0), normal(0, 5, LATENT), Draws().dropout(0))
        moved.append((g.theta.flat, d.theta.flat))
    for ours, theirs in zip(*moved, strict=True):
        assert np.array_equal(ours, theirs)


def test_samples_of_different_shapes_are_no_round():
    g, d = players(d_net=D_WITHOUT_BATCHNORM)
    with pytest.raises(ValueError, match=r"one shape, got \(6, 3\) and \(6, 2\)"):
        games.simultaneous_step_at_once(LOSS, g, d, normal(0, 6, 3), Draws().latent_d(0), Draws().dropout(0))


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match=r"discriminator-first.*generator-first.*simultaneous"):
        Game(LOSS, order="alternating")


class Centred(Tanh):
    """Less its mean over the batch: it mixes samples in a way of its own."""

    mixes_samples = True

    def forward(self, theta, x, *, train, rng=None):
        y, cache = super().forward(theta, x, train=train)
        return y - y.mean(axis=0), cache

    def backward(self, theta, dy, cache, grads, *, need_dx=True):
        return super().backward(theta, dy - dy.mean(axis=0), cache, grads, need_dx=need_dx)


class Watched(Tanh):
    """It looks at each sample by itself, and measures the batches."""

    def statistic_shapes(self, in_shape):
        return {"mean": in_shape}

    def forward(self, theta, x, *, train, rng=None):
        return super().forward(theta, x, train=train)

    def update_statistics(self, theta, cache):
        theta["mean"] *= 0.9
        theta["mean"] += 0.1 * cache.y.mean(axis=0)


@pytest.mark.parametrize("order", ["discriminator-first", "generator-first", "simultaneous"])
@pytest.mark.parametrize("layer", [Centred(), Watched()], ids=["mixes", "measures"])
def test_where_d_mixes_or_measures_samples_in_a_way_of_its_own_batches_go_apart(layer, order):
    moved, name = [], type(layer).__name__
    for at_once in (True, False):
        g, d = players(d_net=Sequential(Dense(4), layer, Dense(1)))
        play_round(Game(LOSS, order=order, at_once=at_once), g, d, Draws())
        assert all((d.theta[view] != 0).all() for view in d.theta.statistic_shapes)
        moved.append((g.theta.flat, d.theta.flat))
    for ours, theirs in zip(*moved, strict=True):
        assert np.array_equal(ours, theirs)
    with pytest.raises(ValueError, match=f"a {name} mixes or measures the samples of several batches"):
        in_parts(d.net, 2)
    with pytest.raises(ValueError, match=f"processes cannot share the batches of a {name}"):
        convert_sync_batchnorm(d.net, ALONE.gather)


def test_a_game_needs_losses_and_whole_steps():
    with pytest.raises(ValueError, match="the loss of a game is a GANLoss, such as"):
        Game(games.non_saturating)
    with pytest.raises(TypeError, match="integer"):
        Game(LOSS, d_steps=1.5)
    assert Game(LOSS, d_steps=np.int64(2)).d_steps == 2


@pytest.mark.parametrize("make", [games.minimax, games.non_saturating])
@pytest.mark.parametrize("smoothing", [0.9, -0.1, np.nan])
def test_a_smoothing_that_turns_the_targets_round_is_refused(make, smoothing):
    with pytest.raises(ValueError, match="what the target 1 loses"):
        make(smoothing=smoothing)


def test_what_d_thinks_is_measured_between_the_targets_of_its_loss():
    scores = np.array([[-3.0], [0.0], [0.5], [1.0], [7.0]])
    assert games.LEAST_SQUARES.opinion(scores) == pytest.approx((0 + 0 + 0.5 + 1 + 1) / 5)
    assert games.HINGE.opinion(scores) == pytest.approx((0 + 0.5 + 0.75 + 1 + 1) / 5)
    assert games.minimax().opinion(scores) == pytest.approx((1 / (1 + np.exp(-scores))).mean())


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_gradients_of_another_shape_than_the_logits_are_refused_before_anything_is_added(player):
    right = games.non_saturating()
    wrong = {"discriminator": right.discriminator, "generator": right.generator}
    wrong[player] = lambda *logits: (*getattr(right, player)(*logits)[:-1], np.ones((3, 3)))
    g, d = players()
    with pytest.raises(ValueError, match="the gradient on the logits"):
        play_round(Game(games.GANLoss(**wrong)), g, d, Draws())
    assert not d.grads.flat.any()
    assert not g.grads.flat.any()


def test_an_own_round_that_forgets_its_metrics_is_told_so():
    class Forgets(games.OwnRound):
        def play(self, g, d, draws):
            pass

    with pytest.raises(TypeError, match=r"Forgets.play\(\) must return its metrics"):
        play_round(Forgets(), *players(), Draws())
