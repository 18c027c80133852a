"""The unrolled game: against PyTorch's autograd, forward mode and the game of 2014, and what it leaves alone."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan import nn
from minigan.backend import CPU, to_host
from minigan.games import HINGE, LEAST_SQUARES, Game, Player, UnrolledGame, minimax, play_round
from minigan.games.unrolled import look_ahead
from minigan.gradcheck import numeric_gradient
from minigan.gradcheck.method import relative_error
from minigan.optim import SGD, Adam, Momentum, Optimiser, RMSprop
from reference import unrolled as loops
from tests.kernels.twins import fast
from tests.strategies import seeds
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

LATENT, DATA, BATCH = 4, 3, 6
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "training_unrolled.npz", allow_pickle=False)
RULES = {
    "sgd": SGD(lr=0.3), "momentum": Momentum(lr=0.1, momentum=0.9), "adam": Adam(lr=0.02, beta1=0.5, beta2=0.99),
    "rmsprop": RMSprop(lr=0.02, rho=0.9),
}  # fmt: skip
G = nn.Sequential(nn.Dense(5), nn.Tanh(), nn.Dense(DATA))
NORMALISED_G = nn.Sequential(nn.Dense(5, bias=False), nn.BatchNorm(), nn.Tanh(), nn.Dense(DATA))
D = nn.Sequential(
    nn.Dense(6, bias=False), nn.BatchNorm(), nn.Tanh(), nn.Dense(4), nn.LeakyReLU(0.2), nn.Dense(1)
)  # fmt: skip


@dataclass(frozen=True)
class Draws:
    """The data of one round, those of reference/torch_unrolled.py."""

    step: int
    device: object = CPU
    dtype: type = np.float64

    def _draw(self):
        rng = np.random.default_rng([17, self.step])
        return rng.normal(1, 1, (BATCH, DATA)), rng.normal(size=(BATCH, LATENT))

    def real(self, k):
        return self.device.put(self._draw()[0].astype(self.dtype))

    def latent_d(self, k):
        return self.device.put(self._draw()[1].astype(self.dtype))

    def dropout(self, k):
        return np.random.default_rng([self.step, k])


def players(rule=RULES["adam"], d_net=D, device=CPU, dtype=np.float64, g_net=G):
    g, d = (
        Player.new(net, rule, shape, np.random.default_rng(seed), dtype=dtype, device=device)
        for seed, net, shape in ((1, g_net, (LATENT,)), (2, d_net, (DATA,)))
    )
    for player in (g, d):
        player.theta.flat = player.theta.flat * 2  # with more to bend
    return g, d


def rounds(game, g, d, count=3, device=CPU, dtype=np.float64):
    return [play_round(game, g, d, Draws(step, device, dtype)) for step in range(count)]


@pytest.mark.parametrize("name", RULES)
def test_rounds_agree_with_pytorchs_autograd_through_all_updates(name):
    golden = {key.split("/")[1]: GOLDEN[key] for key in GOLDEN.files if key.startswith(f"{name}/")}
    g, d = players(RULES[name])
    for player, start in ((g, golden["theta_g"]), (d, golden["theta_d"])):
        player.theta.trainable[...] = start
    for step, losses in enumerate(golden["losses"]):
        metrics = play_round(UnrolledGame(unroll=3), g, d, Draws(step))
        assert [metrics["loss_d"], metrics["loss_g"]] == pytest.approx(losses, rel=1e-10)
    assert len(golden["losses"]) == 5
    np.testing.assert_allclose(g.theta.trainable, golden["end_g"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(d.theta.trainable, golden["end_d"], rtol=0, atol=1e-9)


LOOPS = {
    "sgd": loops.sgd(0.3), "momentum": loops.momentum(0.1, 0.9), "adam": loops.adam(0.02, 0.5, 0.99, 1e-8),
    "rmsprop": loops.rmsprop(0.02, 0.9, 1e-8),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=5)
@given(seed=seeds, steps=st.integers(0, 3))
def test_the_gradient_is_that_of_forward_mode(name, seed, steps):
    rng = np.random.default_rng(seed)
    hidden, done = int(rng.integers(1, 4)), int(rng.integers(1, 9))
    net = nn.Sequential(nn.Dense(hidden), nn.Tanh(), nn.Dense(1))
    d = Player.new(net, RULES[name], (2,), rng, dtype=np.float64)
    d.theta.trainable[...] = rng.normal(size=d.theta.trainable_size)
    for moment in d.moments.values():
        moment[...] = rng.uniform(0.05, 0.3, moment.shape)
    d.updates = done
    real, fake = rng.normal(1, 1, (3, 2)), rng.normal(size=(2, 2))
    moments = [d.moments[key] for key in RULES[name].moment_names]
    expected = loops.gradient_on_samples(real, fake, d.theta.trainable, moments, hidden, LOOPS[name], done, steps)
    found = UnrolledGame(unroll=steps).gradient_on_samples(d, real, fake)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_without_looking_ahead_it_is_the_game_of_2014():
    """In which both move at once: the gradient of what real samples add to G's loss is none."""
    ends = []
    for game in (UnrolledGame(unroll=0), Game(minimax(), order="simultaneous")):
        g, d = players()
        metrics = rounds(game, g, d)
        ends.append([g.theta.flat, d.theta.flat, *(m[key] for m in metrics for key in ("loss_d", "d_real", "d_fake"))])
    for ours, simultaneous in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, simultaneous, rtol=1e-12)


def test_d_keeps_the_first_of_the_updates_that_g_looks_at():
    g, d = players()
    rounds(UnrolledGame(unroll=4), g, d, 2)
    real, fake = Draws(2).real(0), g.net.forward(g.theta, Draws(2).latent_d(0), train=True)[0]
    moves, _ = look_ahead(minimax(), d.net.unfused(), d, real, fake, 4, Draws(2).dropout(0))
    promised = moves[1].before.theta.trainable.copy()
    play_round(UnrolledGame(unroll=4), g, d, Draws(2))
    np.testing.assert_array_equal(d.theta.trainable, promised)
    assert d.updates == g.updates == 3


def test_looking_ahead_changes_nothing():
    g, d = players()
    rounds(UnrolledGame(unroll=2), g, d)
    before = [d.theta.flat.copy(), *(moment.copy() for moment in d.moments.values())]
    look_ahead(minimax(), d.net.unfused(), d, Draws(0).real(0), Draws(1).real(0), 3, Draws(0).dropout(0))
    for array, was in zip([d.theta.flat, *d.moments.values()], before, strict=True):
        np.testing.assert_array_equal(array, was)


def test_running_statistics_move_by_the_first_look_alone_and_those_of_g_as_well():
    moved = []
    for game in (UnrolledGame(unroll=0), UnrolledGame(unroll=3), Game(minimax(), order="simultaneous")):
        g, d = players(g_net=NORMALISED_G)
        rounds(game, g, d, 1)
        moved.append(np.concatenate([player.theta["batchnorm1.mean"] for player in (g, d)]))
    assert abs(moved[0]).min() > 0
    for found in moved[1:]:
        np.testing.assert_allclose(found, moved[0], rtol=1e-12)


def test_metrics_tell_what_d_says_before_and_what_it_would_say_after_its_updates():
    g, d = players()
    rounds(UnrolledGame(), g, d, 2)
    real, fake = Draws(2).real(0), g.net.forward(g.theta, Draws(2).latent_d(0), train=True)[0]
    moves, last = look_ahead(minimax(), d.net.unfused(), d, real, fake, 5, Draws(2).dropout(0))
    first = moves[0].before
    d_real, d_fake, later = ((1 / (1 + np.exp(-s))).mean() for s in (*first.logits, last.logits[1]))
    metrics = play_round(UnrolledGame(), g, d, Draws(2))
    expected = {"loss_d": first.value, "loss_g": -last.value, "d_real": d_real, "d_fake": d_fake, "d_fake_g": later}
    assert metrics == pytest.approx(expected, rel=1e-12)
    assert abs(metrics["d_fake_g"] - metrics["d_fake"]) > 1e-4


def test_a_conditional_game():
    told = nn.Sequential(nn.Conditioned(2, nn.Dense(5), nn.Tanh()), nn.Conditioned(2, nn.Dense(DATA)))
    judge = nn.Sequential(nn.Conditioned(2, nn.Dense(6), nn.Tanh()), nn.Dense(1))
    codes = np.eye(2)[[0, 1] * (BATCH // 2)]

    class Told(Draws):
        def real(self, k):
            return np.concatenate([super().real(k), codes], axis=1)

        def latent_d(self, k):
            return np.concatenate([super().latent_d(k), codes], axis=1)

    rng = np.random.default_rng(0)
    g = Player.new(told, SGD(lr=0.1), (LATENT + 2,), rng, dtype=np.float64)
    d = Player.new(judge, SGD(lr=0.1), (DATA + 2,), rng, dtype=np.float64)
    game, draws = UnrolledGame(unroll=2), Told(0)
    slopes = numeric_gradient(lambda: minus_the_loss_after(game, g, d, draws), g.theta.flat)
    before = g.theta.flat.copy()
    play_round(game, g, d, draws)
    np.testing.assert_allclose(before - g.theta.flat, 0.1 * slopes, rtol=0, atol=1e-10)


def minus_the_loss_after(game, g, d, draws):
    """What G descends, from its own parameters on."""
    fake = g.net.forward(g.theta, draws.latent_d(0), train=True)[0]
    net = d.net.unfused()
    return -float(look_ahead(game.loss, net, d, draws.real(0), fake, game.unroll, draws.dropout(0))[1].value)


CONVOLUTIONS = nn.Sequential(
    nn.Conv2D(3, 3, 2, 1, bias=False), nn.BatchNorm(), nn.LeakyReLU(0.2), nn.ConvTranspose2D(2, 2, 2), nn.Tanh(),
    nn.Flatten(), nn.Dense(1),
)  # fmt: skip


def with_convolutions(device=CPU, dtype=np.float64):
    """A D of images, and what a G that looks through it is handed."""
    d = Player.new(CONVOLUTIONS, RULES["momentum"], (4, 5, 2), np.random.default_rng(3), dtype=dtype, device=device)
    real, fake = (device.put(np.random.default_rng(k).normal(size=(3, 4, 5, 2)).astype(dtype)) for k in (4, 5))
    return d, real, fake, UnrolledGame(unroll=2).gradient_on_samples(d, real, fake)


def test_through_convolutions():
    d, real, fake, found = with_convolutions()

    def value():
        return -float(look_ahead(minimax(), CONVOLUTIONS.unfused(), d, real, fake, 2, None)[1].value)

    assert relative_error(numeric_gradient(value, fake), found) <= 1e-8
    with fast(2):
        assert relative_error(found, with_convolutions()[3]) <= 1e-12


def test_through_convolutions_on_the_stand_in(strict):
    there = to_host(with_convolutions(strict, np.float32)[3])
    np.testing.assert_array_equal(there, with_convolutions(dtype=np.float32)[3])


@pytest.mark.parametrize("net", [nn.Sequential(nn.Tanh()), nn.Sequential(nn.BatchNorm())], ids=repr)
def test_a_d_that_has_little_to_learn_or_nothing(net):
    """Without parameters there is no second way; a shift asks nothing of what it is added to."""
    d = Player.new(net, SGD(lr=0.5), (1,), np.random.default_rng(0), dtype=np.float64)
    real, fake = np.random.default_rng(1).normal(size=(2, 4, 1))

    def value():
        return -float(look_ahead(minimax(), net, d, real, fake, 2, None)[1].value)

    found = UnrolledGame(unroll=2).gradient_on_samples(d, real, fake)
    np.testing.assert_allclose(numeric_gradient(value, fake), found, rtol=0, atol=1e-9)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_on_the_stand_in_it_is_the_same_to_the_bit_and_nothing_waits(rule, strict):
    here, there = players(rule, dtype=np.float32), players(rule, device=strict, dtype=np.float32)
    rounds(UnrolledGame(), *here, dtype=np.float32)
    with forbid_synchronisation(), forbid_dtype("float64"):
        rounds(UnrolledGame(), *there, device=strict, dtype=np.float32)
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.theta.flat.dtype == np.float32
        np.testing.assert_array_equal(ours.theta.flat, to_host(theirs.theta.flat))


def test_with_fast_kernels_it_is_the_same():
    """But for a bias that has no effect, which Adam would make something of."""
    plain, quick = players(RULES["momentum"]), players(RULES["momentum"])
    rounds(UnrolledGame(), *plain)
    with fast(2):
        rounds(UnrolledGame(), *quick)
    for ours, theirs in zip(plain, quick, strict=True):
        np.testing.assert_allclose(ours.theta.flat, theirs.theta.flat, rtol=0, atol=1e-12)


@pytest.mark.parametrize("unroll", [-1, 1.5])
def test_numbers_of_updates_that_make_no_sense_are_refused(unroll):
    with pytest.raises((ValueError, TypeError)):
        UnrolledGame(unroll=unroll)


@pytest.mark.parametrize("loss", [5, None, "hinge"])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(ValueError, match="the loss of a game is a GANLoss, such as"):
        UnrolledGame(loss, unroll=0)


def test_a_loss_without_a_way_back_is_refused_unless_nothing_is_unrolled():
    with pytest.raises(ValueError, match="its loss needs a double_backward"):
        UnrolledGame(HINGE)
    rounds(UnrolledGame(HINGE, unroll=0), *players())
    rounds(UnrolledGame(LEAST_SQUARES), *players())


@pytest.mark.parametrize("more", [{"weight_decay": 0.1}, {"max_norm": 1.0}, {"max_weight": 1.0}])
def test_rules_that_decay_or_clip_are_refused(more):
    with pytest.raises(ValueError, match="no way back through a rule with a weight_decay"):
        rounds(UnrolledGame(), *players(replace(RULES["adam"], **more)))


def test_a_rule_or_a_layer_without_a_way_back_says_so():
    class Own(Optimiser):
        def rule(self, theta, g, moments, *coefficients):
            theta -= g

    class OwnDense(nn.Dense):
        grads_double_backward = nn.Layer.grads_double_backward

    with pytest.raises(ValueError, match="D cannot be unrolled: its rule, Own, has no rule_backward"):
        rounds(UnrolledGame(), *players(Own()))
    with pytest.raises(NotImplementedError, match="layer owndense1: OwnDense has no grads_double_backward"):
        rounds(UnrolledGame(), *players(d_net=nn.Sequential(OwnDense(1))))
