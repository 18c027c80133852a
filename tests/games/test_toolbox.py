"""The toolbox's training and the script's round: step by step against the toolbox's own way, and its own thresholds."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from minigan import nn, ops
from minigan.backend import Device, to_host
from minigan.data.sources import load_images
from minigan.games import play_round
from minigan.games.player import Player
from minigan.games.toolbox import shuffled, squared_error, train_epoch
from minigan.gradcheck import numeric_gradient
from minigan.nn.initialisers import GlorotUniform, Uniform
from minigan.optim import Momentum
from minigan.recipes import ToolboxMLP
from minigan.recipes.toolbox_mlp import stretched
from reference import toolbox as reference

LATENT, PIXELS, HIDDEN, ROUNDS = 3, 6, 4, 10
SMALL = ToolboxMLP(batch_size=8, minibatch=4, latent=LATENT, hidden_d=HIDDEN, lr=0.3, decay_g=0.02, decay_d=0.01)
IMAGES = np.full((1, PIXELS, 1, 1), 128, np.uint8)


class Draws:
    """Data and randomness of one round, the same for both."""

    def __init__(self, step: int) -> None:
        rng = np.random.default_rng([7, step])
        self.step, self.x, self.z = step, rng.random((8, PIXELS)), rng.random((8, LATENT))

    def real(self, k: int) -> np.ndarray:
        return self.x

    def latent_d(self, k: int) -> np.ndarray:
        return self.z

    def latent_g(self) -> np.ndarray:
        return self.z

    def dropout(self, k: int) -> np.random.Generator:
        return np.random.default_rng([self.step, k])


def players(recipe: ToolboxMLP) -> tuple[Player, Player]:
    rule_g, rule_d = recipe.optimisers(1)
    g = Player.new(recipe.generator(IMAGES), rule_g, (LATENT,), np.random.default_rng(0), dtype=np.float64)
    d = Player.new(recipe.discriminator(IMAGES), rule_d, (PIXELS,), np.random.default_rng(1), dtype=np.float64)
    recipe.game().start(d)
    return g, d


def as_columns(player: Player) -> list[np.ndarray]:
    """minigan's weights in the toolbox's layout: (outputs, inputs + 1), the bias first."""
    theta = player.theta
    names = [name.removesuffix(".w") for name in theta if name.endswith(".w")]
    return [np.hstack([theta[f"{name}.b"][:, None], theta[f"{name}.w"].T]) for name in names]


def twins(recipe: ToolboxMLP, g: Player, d: Player) -> tuple[reference.Net, reference.Net]:
    common = {
        "learning_rate": recipe.lr, "momentum": recipe.momentum, "cross_entropy": recipe.loss == "cross-entropy",
    }  # fmt: skip
    net_d = reference.Net(as_columns(d), weight_penalty=recipe.decay_d, dropout=[recipe.drop], **common)
    frozen = recipe.copy_of_d == "frozen"
    combined = reference.Net(
        [*as_columns(g), *as_columns(d)], weight_penalty=recipe.decay_g, dropout=[recipe.drop_pixels, recipe.drop],
        learns=[True, not frozen, not frozen], **common,
    )  # fmt: skip
    return net_d, combined


def largest_difference(recipe: ToolboxMLP, twin_of: ToolboxMLP) -> float:
    """Between the weights of both after any of ten rounds, of G, D, and D's copy."""
    g, d = players(recipe)
    net_d, combined = twins(twin_of, *players(twin_of))
    worst = 0.0
    for step in range(ROUNDS):
        draws = Draws(step)
        metrics = play_round(recipe.game(), g, d, draws)
        if twin_of.copy_of_d == "forgets":
            combined.velocity[1:] = [np.zeros_like(v) for v in combined.velocity[1:]]
        losses = reference.play_round(net_d, combined, draws.x, draws.z, 4, (draws.dropout(0), draws.dropout(1)))
        mine = [*as_columns(g), *as_columns(d.copy or d), *as_columns(d)]
        worst = max(worst, *(abs(m - t).max() for m, t in zip(mine, [*combined.W, *net_d.W], strict=True)))
        if recipe.loss == "squared":
            worst = max(worst, *(abs(metrics[k] - v) for k, v in zip(("loss_d", "loss_g"), losses, strict=True)))
    return worst


@pytest.mark.parametrize(
    "change",
    [{}, {"copy_of_d": "forgets"}, {"copy_of_d": "frozen"}, {"drop_pixels": 0.0}, {"loss": "cross-entropy"}],
    ids=str,
)
def test_ten_rounds_agree_with_the_toolbox_after_each_round(change: dict) -> None:
    recipe = replace(SMALL, **change)
    assert largest_difference(recipe, recipe) < 1e-13


@pytest.mark.parametrize(
    "change",
    [
        {"copy_of_d": "forgets"}, {"copy_of_d": "frozen"}, {"drop_pixels": 0.0}, {"drop_pixels": 0.4}, {"drop": 0.4},
        {"loss": "cross-entropy"}, {"decay_g": 0.021}, {"decay_d": 0.011}, {"momentum": 0.51}, {"lr": 0.31},
    ],
    ids=str,
)  # fmt: skip
def test_the_comparison_would_notice_another_script(change: dict) -> None:
    assert largest_difference(replace(SMALL, **change), SMALL) > 1e-5


def test_the_copy_is_overwritten_each_round_but_its_momentum_is_not() -> None:
    g, d = players(SMALL)
    play_round(SMALL.game(), g, d, Draws(0))
    assert d.copy is not None
    velocity = d.copy.moments["velocity"].copy()
    assert velocity.any()
    assert (d.copy.theta.flat != d.theta.flat).any()
    copy = SMALL.game()._copy_of(d)
    assert (copy.theta.flat == d.theta.flat).all()
    assert (copy.moments["velocity"] == velocity).all()
    assert not replace(SMALL, copy_of_d="forgets").game()._copy_of(d).moments["velocity"].any()


def test_a_frozen_copy_is_d_itself_and_does_not_learn_with_g() -> None:
    game = replace(SMALL, copy_of_d="frozen").game()
    g, d = players(replace(SMALL, copy_of_d="frozen"))
    before = d.theta.flat.copy()
    game._train_generator(g, d, Draws(0).z, np.random.default_rng(0))
    assert d.copy is None
    assert (d.theta.flat == before).all()
    assert not d.grads.flat.any()


def test_the_gradient_of_the_squared_error_belongs_to_it_and_vanishes_where_d_is_sure(device: Device) -> None:
    logits, targets = np.array([[0.3], [-1.2], [2.0]]), np.array([[1.0], [1.0], [0.0]])
    loss, dlogits = squared_error(device.put(logits), device.put(targets))
    p = 1 / (1 + np.exp(-logits))
    assert float(loss) == pytest.approx(((p - targets) ** 2).sum() / 6, rel=1e-14)
    numeric = numeric_gradient(lambda: float(squared_error(logits, targets)[0]), logits)
    np.testing.assert_allclose(squared_error(logits, targets)[1], numeric, rtol=1e-9)
    sure = squared_error(np.array([[-20.0]]), np.array([[1.0]]))[1]
    assert -1e-8 < sure[0, 0] < 0
    assert ops.bce_with_logits(np.array([[-20.0]]), 1.0)[1][0, 0] == pytest.approx(-1)
    assert type(dlogits) is type(device.put(logits))


def test_mapminmax_works_on_each_sample_and_leaves_constant_ones_alone(device: Device) -> None:
    x = np.array([[0.2, 0.4, 0.6], [-1.0, 3.0, 1.0], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0]])
    expected = [[0, 0.5, 1], [0, 1, 0.5], [0.3, 0.3, 0.3], [0, 0, 0]]
    np.testing.assert_allclose(to_host(stretched(device.put(x))), expected, atol=1e-15)


def test_an_epoch_uses_every_sample_once_and_returns_outputs_in_their_order() -> None:
    net = nn.Sequential(nn.Dense(1))
    player = Player.new(net, Momentum(lr=1e-300, momentum=0.0), (2,), np.random.default_rng(0), dtype=np.float64)
    x, t = np.random.default_rng(1).normal(size=(12, 2)), np.zeros((12, 1))
    loss, logits = train_epoch(player, x, t, ops.half_squared_error, 3, np.random.default_rng(2))
    expected = x @ player.theta["dense1.w"]
    np.testing.assert_allclose(logits, expected, rtol=1e-12)
    assert loss == pytest.approx((expected**2).mean() / 2, rel=1e-12)
    assert player.updates == 4
    assert sorted(shuffled(12, 3, np.random.default_rng(0)).ravel()) == list(range(12))
    with pytest.raises(ValueError, match="12 samples do not make whole batches of 5"):
        shuffled(12, 5, np.random.default_rng(0))


# The toolbox's own test of itself: test errors on MNIST below a bound ----------------------------------------


def toolbox_net(hidden: int, activation: nn.Layer, drop: float) -> nn.Sequential:
    def layer(inputs: int, units: int) -> nn.Dense:
        return nn.Dense(units, w_init=GlorotUniform(4.0), b_init=Uniform(4 * (6 / (inputs + units)) ** 0.5))

    middle = [nn.Dropout(drop, "classic")] if drop else []
    return nn.Sequential(layer(784, hidden), activation, *middle, layer(hidden, 10))


def softmax_loss(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ops.softmax_cross_entropy(logits, targets.argmax(axis=1))


@pytest.fixture(scope="module")
def normalised_digits() -> tuple[np.ndarray, ...]:
    """Training and test images by mean and deviation of each training pixel, and the labels of both."""
    if "MINIGAN_DATA" not in os.environ:
        pytest.skip("needs full MNIST in MINIGAN_DATA")
    folder = Path(os.environ["MINIGAN_DATA"]) / "mnist"
    training, test = (load_images(f"mnist:{folder}", split=split) for split in ("train", "test"))
    x, x_test = (np.asarray(d.images).reshape(len(d.images), -1).astype(np.float32) / 255 for d in (training, test))
    mean, deviation = x.mean(axis=0), np.maximum(x.std(axis=0, ddof=1), np.finfo(np.float32).eps)
    for each in (x, x_test):
        each -= mean
        each /= deviation
    return x, x_test, training.labels, test.labels


@pytest.mark.parametrize(
    ("net", "lr", "decay", "loss", "epochs", "bound"),
    [
        pytest.param(partial(toolbox_net, 100, nn.ScaledTanh(), 0), 2, 0, squared_error, 1, 0.08, id="tanh"),
        pytest.param(partial(toolbox_net, 100, nn.ScaledTanh(), 0), 2, 1e-4, squared_error, 1, 0.1, id="decay"),
        pytest.param(partial(toolbox_net, 100, nn.ScaledTanh(), 0.5), 2, 0, squared_error, 1, 0.1, id="dropout"),
        pytest.param(partial(toolbox_net, 100, nn.Sigmoid(), 0), 1, 0, squared_error, 1, 0.1, id="sigmoid"),
        pytest.param(partial(toolbox_net, 20, nn.ScaledTanh(), 0), 2, 0, softmax_loss, 5, 0.1, id="softmax"),
    ],
)
def test_it_classifies_digits_as_well_as_the_toolbox_asks_of_itself(
    net: Callable, lr: float, decay: float, loss: Callable, epochs: int, bound: float, normalised_digits: tuple
) -> None:
    """One epoch of batches of 100 (five of 1000 for softmax)."""
    x, x_test, labels, test_labels = normalised_digits
    targets = np.eye(10, dtype=np.float32)[labels]
    errors = []
    for seed in range(3):  # one run differs from the next by 0.003, and by rounding alone nearly as much
        rule = Momentum(lr=lr, momentum=0.5, weight_decay=decay)
        player = Player.new(net(), rule, (784,), np.random.default_rng(seed))
        for epoch in range(epochs):
            minibatch = 1000 if epochs > 1 else 100
            train_epoch(player, x, targets, loss, minibatch, np.random.default_rng([1, seed, epoch]))
        logits, _ = player.net.forward(player.theta, x_test, train=False)
        errors.append((logits.argmax(axis=1) != test_labels).mean())
    print("test errors of three seeds, %:", *(f"{100 * error:.2f}" for error in errors))  # seen with pytest -rP
    assert np.median(errors) < bound
