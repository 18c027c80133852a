"""What is measured inside the networks, by hand; on the stand-in for CuPy; and with bugs planted."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from minigan.backend import CPU, to_host
from minigan.data.batches import Batches
from minigan.data.sources import evenly
from minigan.games import play_round
from minigan.games.player import Player
from minigan.games.toolbox import LOSSES, ToolboxGame
from minigan.nn import BatchNorm, Conv2D, Dense, Flatten, LeakyReLU, Maxout, ReLU, ScaledTanh, Sequential, Sigmoid, Tanh
from minigan.optim import SGD, Momentum
from minigan.recipes import MLPMnist, ToolboxMLP
from minigan.runs import gauge
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import feed
from minigan.runs.gauge import Activity, Gauge, Watch, norms, spread
from minigan.runs.state import State
from minigan.runs.vitals import BINS, Vitals
from tests.games.test_gan import GAMES, Draws, players
from tests.planted_bugs import Bug, planted
from tests.recipes.told import TOLD
from tests.strategies import normal
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

F8 = np.float64


def player(net, in_shape, rule=None):
    return Player.new(net, rule or SGD(0.1), in_shape, np.random.default_rng(0), dtype=F8)


# A watched round ----------------------------------------------------------------------------------------------


def length(params, layer):
    """Of the trainable parameters of a layer, in a row."""
    names = [name for name in params.trainable_shapes if name.startswith(layer + ".")]
    return np.linalg.norm(np.concatenate([params[name].ravel() for name in names]))


def assert_watched_rightly(name):
    """Against gradients noted by another way: as what the rules of the players are given."""
    given = {}

    class Noting(SGD):
        def rule(self, theta, g, moments, *coefficients):
            given.setdefault(theta.size, []).append(g.copy())
            super().rule(theta, g, moments, *coefficients)

    g, d = players(rule_g=Noting(0.05), rule_d=Noting(0.05))
    before = {"G": g.theta.copy(), "D": d.theta.copy()}
    with Watch(State(g, d, None, 0)) as watch:
        play_round(GAMES[name], g, d, Draws())
    for role, who in (("G", g), ("D", d)):
        last = who.theta.gradients()
        last.flat[...] = given[last.flat.size][-1]
        layers = list(dict.fromkeys(key.split(".")[0] for key in last))
        assert list(watch.gradients[role]) == list(watch.updates[role]) == list(watch.weights[role]) == layers
        for layer in layers:
            change = who.theta.copy()
            change.flat -= before[role].flat
            np.testing.assert_allclose(watch.gradients[role][layer], length(last, layer), rtol=1e-12)
            np.testing.assert_allclose(watch.weights[role][layer], length(who.theta, layer), rtol=1e-12)
            np.testing.assert_allclose(
                watch.updates[role][layer], length(change, layer) / length(who.theta, layer), rtol=1e-12
            )


@pytest.mark.parametrize("name", GAMES)
def test_gradients_are_those_of_the_last_update_and_updates_those_of_the_round(name):
    assert_watched_rightly(name)


@pytest.mark.parametrize(
    "bug",
    [
        Bug("the norm of the other player", Watch.__exit__, "norms(player.theta)", "norms(self._players['G'].theta)"),
        Bug("the parameters for the gradient", Watch._note_gradients, "player.grads", "player.theta"),
        Bug("the gradient of the first update", Watch._note_gradients, "self.gradients[role] = norms(player.grads)",
            "self.gradients.setdefault(role, norms(player.grads))"),
        Bug("the change of nothing", Watch.__exit__, "change.flat -= player.theta.flat", "pass"),
        Bug("the statistics too", norms, "params.trainable_shapes", "params"),
        Bug("biases left out", norms, "squares.get(layer, 0) + (view * view).sum()", "(view * view).sum()"),
        Bug("the square of the norm", norms, "array_module(square).sqrt(square)", "square"),
        Bug("after the update", Player.update, "if self.observer is not None:", "if False:"),
    ],
    ids=lambda bug: bug.story,
)  # fmt: skip
def test_a_bug_planted_in_the_watch_is_caught(bug):
    with planted(bug), pytest.raises((AssertionError, KeyError)):
        assert_watched_rightly("g first, two steps")


def test_the_toolbox_is_watched_too_and_its_copy_of_d_is_not_taken_for_d():
    d = player(Sequential(Dense(3), Sigmoid(), Dense(1)), (4,), Momentum(0.1, 0.5))
    g = player(Sequential(Dense(4), Sigmoid()), (2,))
    game = ToolboxGame(LOSSES["squared"], 2, 0.5, "learns", 0.0)
    game.start(d)
    before = d.theta.flat.copy()

    class Few(Draws):
        def real(self, k):
            return normal(0, 4, 4)

        def latent_d(self, k):
            return normal(1, 4, 2)

        def latent_g(self):
            return normal(2, 4, 2)

    with Watch(State(g, d, None, 0)) as watch:
        play_round(game, g, d, Few())
    assert list(watch.gradients) == ["D", "G"]
    moved = np.linalg.norm(d.theta.flat - before) / np.linalg.norm(d.theta.flat)
    parts = [watch.updates["D"][layer] * watch.weights["D"][layer] for layer in ("dense1", "dense2")]
    np.testing.assert_allclose(np.hypot(*parts) / np.linalg.norm(d.theta.flat), moved, rtol=1e-12)


def test_images_are_looked_at_from_all_parts():
    """Those of a folder come class by class."""
    images = np.repeat(np.array([10, 200], np.uint8), 60)[:, None, None, None]
    assert spread(evenly(images, 50)) == spread(images) == 95
    assert np.array_equal(evenly(images, 500), images)
    assert evenly(images, 1).shape == (1, 1, 1, 1)


def test_a_layer_of_zeros_has_not_moved_by_0_over_0():
    g, d = player(Sequential(Dense(2, bias=False)), (2,)), player(Sequential(Dense(1)), (2,))
    g.theta.flat[...] = 0
    with Watch(State(g, d, None, 0)) as watch:
        pass
    assert float(watch.updates["G"]["dense1"]) == 0


# Dead and saturated -------------------------------------------------------------------------------------------


def activity(net, x):
    found = Activity(player(net, x.shape[1:]))
    y = found.forward(x)
    return found, y


X = np.array([[-1.0, 2.0, -3.0, 0.0], [-2.0, -1.0, -1.0, 0.0]])


@pytest.mark.parametrize(
    ("layer", "dead"),
    [(ReLU(), 0.75), (LeakyReLU(0.0), 0.75), (LeakyReLU(0.2), None), (Maxout(2), None), (Tanh(), None)],
)
def test_a_unit_is_dead_if_no_sample_switches_it_on(layer, dead):
    found, _ = activity(Sequential(layer), X)
    assert list(found.dead().values()) == ([] if dead is None else [dead])


def test_samples_that_come_in_parts_count_together():
    found = Activity(player(Sequential(ReLU(), Tanh()), (2,)))
    for x in ([[1.0, -1.0]], [[-1.0, -1.0], [9.0, -1.0], [-1.0, -1.0]]):
        found.forward(np.array(x))
    assert found.dead() == {"relu1": 0.5}
    assert found.saturated() == {"tanh1": 0.125}


def test_of_a_convolution_a_unit_is_a_channel_wherever_it_is_on():
    x = np.full((2, 3, 3, 4), -1.0)
    x[1, 2, 0, 3] = 1.0
    assert activity(Sequential(ReLU()), x)[0].dead() == {"relu1": 0.75}


@pytest.mark.parametrize(("layer", "edge"), [(Sigmoid(), 5.98), (Tanh(), 2.993), (ScaledTanh(), 4.49)])
def test_a_sigmoid_is_saturated_where_its_slope_is_below_a_hundredth_of_its_largest(layer, edge):
    """Where cosh(x) = 10 for tanh; sigmoid is tanh of x / 2, the scaled one of 2x / 3."""
    x = np.array([[-2 * edge, -edge * 1.01, -edge * 0.99, 0.0], [edge * 0.99, edge * 1.01, 1e4, 1.0]])
    found, _ = activity(Sequential(layer), x)
    assert list(found.saturated().values()) == [0.5]


def test_activity_gives_what_the_network_gives():
    net = Sequential(Conv2D(2, 3), BatchNorm(), ReLU(), Flatten(), Dense(1))
    who, x = player(net, (5, 5, 1)), normal(3, 4, 5, 5, 1)
    np.testing.assert_array_equal(Activity(who).forward(x), net.forward(who.theta, x, train=False)[0])


@pytest.mark.parametrize(
    "bug",
    [
        Bug("on for each sample", Activity.forward, ".any(axis=0, keepdims=True)", ".all(axis=0, keepdims=True)"),
        Bug("places are units", Activity.forward, ".reshape(-1, y.shape[-1])", ".reshape(len(y), -1)"),
        Bug("the share that is alive", Activity.dead, "1 - ", ""),
        Bug("the last part alone", Activity.dead, "_joined(alive).any(axis=0)", "alive[-1]"),
    ],
    ids=lambda bug: bug.story,
)
def test_a_bug_planted_in_the_activity_is_caught(bug):
    def share():
        found = Activity(player(Sequential(ReLU()), (2, 1, 3)))
        x = np.full((3, 2, 1, 3), -1.0)
        x[0, 0, 0, 0] = 1.0
        found.forward(x[:2])
        found.forward(x[2:])
        return found.dead()["relu1"]

    assert share() == pytest.approx(2 / 3, rel=1e-5)
    with planted(bug):
        assert share() != pytest.approx(2 / 3, rel=1e-5)


# All of it ----------------------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 1), dtype=np.uint8)
RECIPES = [
    MLPMnist(batch_size=8, latent=3, hidden_g=(8,), hidden_d=(8,), slope=0.0),
    ToolboxMLP(batch_size=9, minibatch=3, latent=3, hidden_d=4),
    replace(TOLD, slope=0.0),
]


def measured(recipe, device, source="folder:x"):
    """Vitals after a watched first round."""
    images, f4 = recipe.training_part(IMAGES), np.dtype(np.float32)
    state = State.start(recipe, images, 3, 0, f4, device)
    latents = device.put(recipe.told(recipe.draw_latents(np.random.default_rng(1), 100)))
    labels = np.arange(len(images)) % 3
    batches = Batches(len(images), recipe.batch_size, 0, independent=recipe.independent_batches)
    there = feed(images, batches, device, labels=labels)
    draws = SeededDraws(recipe, there, 0, 0, recipe.game().d_steps, f4)
    with there, Watch(state) as watch:
        play_round(recipe.game(), state.g, state.d, draws)
    state.finish_round(recipe.average)
    gauging = Gauge(recipe, images, latents, device, source, labels)
    return gauging.measure(state, watch, np.repeat(IMAGES[:20], 5, axis=0))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_vitals_of_a_round_are_whole_and_the_same_on_the_stand_in(recipe, strict):
    found, there = measured(recipe, CPU), measured(recipe, strict)
    assert found == there
    assert found.step == 1
    assert (sum(found.d_real), sum(found.d_fake), len(found.d_real)) == (30, 100, BINS)
    assert found.classes is None
    assert found.spread == pytest.approx(spread(IMAGES[:20]) / spread(IMAGES), rel=1e-5)
    for by_layer in (found.gradients, found.updates, found.weights):
        names = [name.rpartition(".")[2] for layers in by_layer.values() for name in layers]
        assert all(name.startswith(("dense", "batchnorm")) for name in names)
        assert all(number > 0 for layers in by_layer.values() for number in layers.values())
    if recipe.name == "mlp-mnist":
        assert list(found.dead["D"]) == ["leakyrelu1"]
        assert list(found.saturated["G"]) == ["tanh1"]
    if recipe.name == "told-mlp":
        assert (list(found.dead["G"]), list(found.saturated["G"])) == (["conditioned1.relu1"], ["conditioned2.tanh1"])


def test_vitals_that_are_not_finite_are_left_out(monkeypatch):
    monkeypatch.setattr(gauge, "_all_finite", lambda *_: True)
    assert isinstance(measured(RECIPES[0], CPU), Vitals)
    monkeypatch.setattr(gauge, "_all_finite", lambda *_: False)
    assert measured(RECIPES[0], CPU) is None


def test_digits_are_named_by_the_classifier():
    found = measured(RECIPES[0], CPU, "mnist5k")
    assert (len(found.classes), sum(found.classes)) == (10, 100)


def test_the_histograms_are_of_d_in_inference_mode():
    recipe = RECIPES[0]
    state = State.start(recipe, IMAGES, 3, 0, np.dtype(np.float32), CPU)
    logits, _ = state.d.net.forward(state.d.theta, recipe.encode(IMAGES, np.dtype(np.float32)), train=False)
    expected, _ = np.histogram(1 / (1 + np.exp(-to_host(logits))), BINS, (0, 1))
    with Watch(state) as watch:
        state.g.update(), state.d.update()  # with gradients of zero
    latents = recipe.draw_latents(np.random.default_rng(1), 100)
    found = Gauge(recipe, IMAGES, latents, CPU, "folder:x").measure(state, watch, IMAGES)
    assert found.d_real == expected.tolist()


def test_a_watched_round_waits_for_no_gpu_and_stays_in_single_precision(strict):
    g, d = players(strict, np.float32)
    draws = Draws(strict, np.float32)
    with forbid_synchronisation(), forbid_dtype(np.float64), Watch(State(g, d, None, 0)) as watch:
        play_round(GAMES["d first"], g, d, draws)
    assert all(float(norm) > 0 for norm in watch.gradients["G"].values())


def test_the_spread_is_the_mean_of_the_pixels_deviations_and_needs_no_second_copy_of_the_images():
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 60, 3), np.uint8)
    tracemalloc.start()
    try:
        found = spread(images)
        assert tracemalloc.get_traced_memory()[1] < images.size  # a byte a number; as float32 they take four
    finally:
        tracemalloc.stop()
    assert found == pytest.approx(images.astype(np.float64).std(axis=0).mean(), rel=1e-6)
