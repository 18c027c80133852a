"""Rounds of a narrow dcgan-64, dcgan-upsample, wgan-gp-28 and cdcgan-28 against PyTorch in float64."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from minigan.games import play_round
from minigan.games.player import Player
from minigan.recipes import CDCGAN28, DCGAN64, WGANGP28, DCGANUpsample, Recipe

BOUND = 1e-8
GOLDEN = Path(__file__).parents[1] / "golden"
RECIPE = DCGAN64(batch_size=3, latent=5, width=2)


def start(recipe: Recipe, golden: Mapping[str, np.ndarray]) -> tuple[Player, Player]:
    """G and D in float64 with the stored parameters."""
    shape, rng = (*(recipe.image_size or ()), 1), np.random.default_rng(0)
    images = np.zeros((1, *shape), np.uint8)
    rule_g, rule_d = recipe.optimisers(1)
    g = Player.new(recipe.generator(images), rule_g, recipe.latent_shape, rng, dtype=np.float64)
    d = Player.new(recipe.discriminator(images), rule_d, recipe.judged_shape(shape), rng, dtype=np.float64)
    g.theta.trainable[:] = golden["theta_g"]
    d.theta.trainable[:] = golden["theta_d"]
    return g, d


def assert_ends(player: Player, end: np.ndarray) -> None:
    assert abs(player.theta.trainable - end).max() <= BOUND * abs(end).max()


@dataclass(frozen=True)
class SeededBatch:
    """The data of one round, from the seed that the stored results were made with."""

    step: int

    def _draw(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([64, self.step])
        return rng.uniform(-1, 1, (3, 64, 64, 1)), rng.uniform(-2, 2, (3, 5))

    def real(self, k: int) -> np.ndarray:
        return self._draw()[0]

    def latent_d(self, k: int) -> np.ndarray:
        return self._draw()[1]

    def latent_g(self) -> np.ndarray:
        raise AssertionError("the source uses the samples of D's step again")

    def dropout(self, k: int) -> np.random.Generator:
        return np.random.default_rng(0)


def test_ten_rounds_of_dcgan_64_agree_with_pytorch() -> None:
    golden = np.load(GOLDEN / "training_dcgan_64.npz")
    g, d = start(RECIPE, golden)
    for step, losses in enumerate(golden["losses"]):
        metrics = play_round(RECIPE.game(), g, d, SeededBatch(step))
        assert [metrics["loss_d"], metrics["loss_g"]] == pytest.approx(losses, rel=BOUND)
    assert len(golden["losses"]) == 10
    assert_ends(g, golden["end_g"])
    assert_ends(d, golden["end_d"])


@dataclass(frozen=True)
class UpsampleBatch:
    """The data and the masks of one round of dcgan-upsample."""

    step: int

    def _draw(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([65, self.step])
        return rng.uniform(-1, 1, (3, 64, 64, 1)), rng.normal(size=(3, 4))

    def real(self, k: int) -> np.ndarray:
        return self._draw()[0]

    def latent_g(self) -> np.ndarray:
        return self._draw()[1]

    def latent_d(self, k: int) -> np.ndarray:
        raise AssertionError("the source uses the samples of G's step again")

    def dropout(self, k: int) -> np.random.Generator:
        return np.random.default_rng([self.step, k])


@pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
def test_six_rounds_of_dcgan_upsample_agree_with_pytorch(joined: bool) -> None:
    golden, kind = np.load(GOLDEN / "training_dcgan_upsample.npz"), "joined" if joined else "apart"
    recipe = DCGANUpsample(batch_size=3, latent=4, width=2, width_d=1, joined=joined)
    g, d = start(recipe, golden)
    for step, losses in enumerate(golden[f"{kind}/losses"]):
        metrics = play_round(recipe.game(), g, d, UpsampleBatch(step))
        assert [metrics["loss_d"], metrics["loss_g"]] == pytest.approx(losses, rel=BOUND)
    assert len(golden[f"{kind}/losses"]) == 6
    assert_ends(g, golden[f"{kind}/end_g"])
    assert_ends(d, golden[f"{kind}/end_d"])
    statistics = d.theta.flat[d.theta.trainable_size :]
    np.testing.assert_allclose(statistics, golden[f"{kind}/running_d"], rtol=BOUND)
    assert abs(golden["apart/end_d"] - golden["joined/end_d"]).max() > 1e-4  # two different games


@dataclass(frozen=True)
class PenalisedBatch:
    """The data of one round of wgan-gp-28; the third batch is that of G."""

    step: int

    def _draw(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng([28, self.step, k])
        return rng.uniform(0, 1, (3, 28, 28, 1)), rng.normal(size=(3, 5)), rng.random(3)

    def real(self, k: int) -> np.ndarray:
        return self._draw(k)[0]

    def latent_d(self, k: int) -> np.ndarray:
        return self._draw(k)[1]

    def latent_g(self) -> np.ndarray:
        return self._draw(2)[1]

    def share(self, k: int) -> np.ndarray:
        return self._draw(k)[2]

    def dropout(self, k: int) -> np.random.Generator:
        return np.random.default_rng(0)


@pytest.mark.parametrize("at_once", [False, True], ids=["apart", "at once"])
def test_four_rounds_of_wgan_gp_28_agree_with_pytorch(at_once: bool) -> None:
    """Its critic's updates are gradients of gradients, by autograd there and by hand here."""
    golden = np.load(GOLDEN / "training_wgan_gp_28.npz")
    recipe = WGANGP28(batch_size=3, latent=5, width=2, d_steps=2, lr=1e-3)
    g, d = start(recipe, golden)
    for step, losses in enumerate(golden["losses"]):
        metrics = play_round(replace(recipe.game(), at_once=at_once), g, d, PenalisedBatch(step))
        assert [metrics["loss_d"] + metrics["penalty"], metrics["loss_g"]] == pytest.approx(losses, rel=BOUND)
    assert len(golden["losses"]) == 4
    assert_ends(g, golden["end_g"])
    assert_ends(d, golden["end_d"])


@dataclass(frozen=True)
class ToldBatch:
    """The data of one round of cdcgan-28, images and latents each with their class behind them."""

    step: int

    def _draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng([29, self.step])
        latents = rng.uniform(-1, 1, (2, 4, 3))
        return rng.uniform(0, 1, (4, 28, 28, 1)), np.eye(3)[rng.integers(0, 3, 4)], *latents

    def real(self, k: int) -> np.ndarray:
        images, codes, _, _ = self._draw()
        return np.concatenate([images, np.broadcast_to(codes[:, None, None], (4, 28, 28, 3))], axis=3)

    def latent_g(self) -> np.ndarray:
        _, codes, z, _ = self._draw()
        return np.concatenate([z, codes], axis=1)

    def latent_d(self, k: int) -> np.ndarray:
        _, codes, _, z = self._draw()
        return np.concatenate([z, codes], axis=1)

    def dropout(self, k: int) -> np.random.Generator:
        return np.random.default_rng(0)


@pytest.mark.parametrize("at_once", [False, True], ids=["apart", "at once"])
def test_five_rounds_of_cdcgan_28_agree_with_pytorch(at_once: bool) -> None:
    """Every layer is told the class; the learning rate falls after the second round."""
    golden = np.load(GOLDEN / "training_cdcgan_28.npz")
    recipe = CDCGAN28(batch_size=4, latent=3, classes=3, width=2, units=6, full=2, falling=4)
    g, d = start(recipe, golden)
    for step, losses in enumerate(golden["losses"]):
        metrics = play_round(replace(recipe.game(), at_once=at_once), g, d, ToldBatch(step))
        assert [metrics["loss_d"], metrics["loss_g"]] == pytest.approx(losses, rel=BOUND)
    assert len(golden["losses"]) == 5
    assert_ends(g, golden["end_g"])
    assert_ends(d, golden["end_d"])
