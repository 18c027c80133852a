"""Ten rounds of two small GANs, step by step against PyTorch in float64."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from minigan.games import play_round
from minigan.games.player import Player
from minigan.optim import LinearRamp
from minigan.recipes import MLP2014, MLPMnist, Recipe

GOLDEN = Path(__file__).parents[1] / "golden"
BOUND = 1e-8
IMAGES = np.full((1, 6, 1, 1), 128, np.uint8)

MNIST = MLPMnist(
    batch_size=5, latent=3, hidden_g=(5, 4), hidden_d=(6, 4), lr_g=5e-4, lr_d=5e-4, drop=0.4, smoothing=0.1
)
FIRST = MLP2014(batch_size=5, latent=3, hidden_g=5, hidden_d=3, pieces=2)


@dataclass(frozen=True)
class GoldenDraws:
    """The stored data of one round, and the generators that PyTorch's masks were drawn from."""

    golden: dict[str, np.ndarray]
    step: int

    def real(self, k: int) -> np.ndarray:
        return self.golden["real"][self.step]

    def latent_d(self, k: int) -> np.ndarray:
        return self.golden["latent_d"][self.step]

    def latent_g(self) -> np.ndarray:
        return self.golden["latent_g"][self.step]

    def dropout(self, k: int) -> np.random.Generator:
        return np.random.default_rng([self.step, k])


def start(recipe: Recipe, golden: dict[str, np.ndarray]) -> tuple[Player, Player]:
    rng = np.random.default_rng(0)
    rule_g, rule_d = recipe.optimisers(batches_per_epoch=2)
    g = Player.new(recipe.generator(IMAGES), rule_g, (3,), rng, dtype=np.float64)
    d = Player.new(recipe.discriminator(IMAGES), rule_d, (6,), rng, dtype=np.float64)
    g.theta.trainable[:] = golden["theta_g"]
    d.theta.trainable[:] = golden["theta_d"]
    return g, d


def error(mine: np.ndarray, golden: np.ndarray) -> float:
    return float(abs(mine - golden).max() / abs(golden).max())


@pytest.mark.parametrize(("recipe", "file"), [(MNIST, "training_mlp_mnist.npz"), (FIRST, "training_mlp_2014.npz")])
def test_ten_rounds_agree_with_pytorch_after_each_round(recipe: Recipe, file: str) -> None:
    golden = dict(np.load(GOLDEN / file))
    g, d = start(recipe, golden)
    for step, (theta_g, theta_d) in enumerate(zip(golden["thetas_g"], golden["thetas_d"], strict=True)):
        metrics = play_round(recipe.game(), g, d, GoldenDraws(golden, step))
        assert error(g.theta.trainable, theta_g) <= BOUND
        assert error(d.theta.trainable, theta_d) <= BOUND
        assert metrics["loss_d"] == pytest.approx(golden["losses_d"][step], rel=BOUND)
        assert metrics["loss_g"] == pytest.approx(golden["losses_g"][step], rel=BOUND)
    assert len(golden["thetas_g"]) == 10


def test_the_running_statistics_agree_with_pytorch() -> None:
    golden = dict(np.load(GOLDEN / "training_mlp_mnist.npz"))
    g, d = start(MNIST, golden)
    for step in range(10):
        play_round(MNIST.game(), g, d, GoldenDraws(golden, step))
    for name in ("mean", "var"):
        mine = np.concatenate([g.theta[f"batchnorm{layer}.{name}"] for layer in (1, 2)])
        assert error(mine, golden[f"running_{name}"]) <= BOUND


def test_the_comparison_would_notice_another_momentum() -> None:
    golden = dict(np.load(GOLDEN / "training_mlp_2014.npz"))
    g, d = start(FIRST, golden)
    g.optimiser = replace(g.optimiser, momentum=LinearRamp(0.5, 0.7, 498))  # each round, not each second one
    for step in range(10):
        play_round(FIRST.game(), g, d, GoldenDraws(golden, step))
    assert error(g.theta.trainable, golden["thetas_g"][-1]) > 100 * BOUND
