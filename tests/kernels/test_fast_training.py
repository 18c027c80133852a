"""Rounds of the DCGANs with plain and with fast kernels: the same weights; and without numba."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from minigan.backend import CPU, Device, to_host
from minigan.games.gan import play_round
from minigan.games.player import Player
from minigan.recipes import DCGAN28, DCGAN64, DCGAN256, DCGANUpsample, MLPMnist, Recipe
from tests.kernels.twins import fast, loops_there_are

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 20
# One operation differs by 1e-15, and twenty rounds leave a few digits of that. Biases before batch normalisation
# have no effect: their gradient is 0 but for rounding, which Adam divides by its eps, 1e-8 (and running means follow).
BOUND, BOUND_OF_BIASES = 1e-12, 1e-9

RECIPES = [
    DCGAN28(batch_size=6, latent=4, width=2, width_d=2, units=8),
    DCGAN64(batch_size=3, latent=4, width=2, size=(16, 32)),
    DCGANUpsample(batch_size=3, latent=4, width=2, width_d=2, size=(16, 20)),
    DCGAN256(batch_size=6, latent=4, width=1, size=(64, 64)),
    MLPMnist(batch_size=4, latent=3, hidden_g=(8, 8), hidden_d=(8, 8)),
]


@dataclass(frozen=True)
class Batch:
    """Data of one round from a seed."""

    recipe: Recipe
    shape: tuple[int, ...]
    step: int
    device: Device = CPU

    def _rng(self, *which: int) -> np.random.Generator:
        return np.random.default_rng([self.step, *which])

    def real(self, k: int) -> np.ndarray:
        return self.device.put(self._rng(0, k).uniform(-1, 1, (self.recipe.batch_size, *self.shape)))

    def latent_d(self, k: int) -> np.ndarray:
        return self._latents(self._rng(1, k))

    def latent_g(self) -> np.ndarray:
        return self._latents(self._rng(2))

    def _latents(self, rng: np.random.Generator) -> np.ndarray:
        return self.device.put(self.recipe.draw_latents(rng, self.recipe.batch_size).astype(np.float64))

    def dropout(self, k: int) -> np.random.Generator:
        return self._rng(3, k)


def weights_after(recipe: Recipe, device: Device = CPU, rounds: int = ROUNDS) -> dict[str, np.ndarray]:
    """All parameters and statistics of both players, by name, after a few rounds in float64."""
    images, rng = np.zeros((1, *(recipe.image_size or (28, 28)), 1), np.uint8), np.random.default_rng(0)
    shape = recipe.sample_shape(images.shape[1:])
    rule_g, rule_d = recipe.optimisers(1)
    g = Player.new(recipe.generator(images), rule_g, (recipe.latent,), rng, dtype=np.float64, device=device)
    d = Player.new(recipe.discriminator(images), rule_d, shape, rng, dtype=np.float64, device=device)
    for step in range(rounds):
        play_round(recipe.game(), g, d, Batch(recipe, shape, step, device))
    return {
        f"{who} {name}": to_host(view) for who, player in (("G", g), ("D", d)) for name, view in player.theta.items()
    }


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_twenty_rounds_end_at_the_same_weights(recipe):
    plain = weights_after(recipe)
    for loops in loops_there_are().values():
        with fast(2, loops):
            found = weights_after(recipe)
        largest = max(abs(view).max() for view in plain.values())
        for name, view in plain.items():
            bound = BOUND_OF_BIASES if name.endswith((".b", ".mean")) else BOUND
            assert abs(found[name] - view).max() <= bound * largest, name


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None  # as if it were not installed
from minigan import cli, train
code = cli.run(train.main)
from minigan import ops
from minigan.kernels import blocks
from minigan.kernels.loops import COMPILED, loops
assert not COMPILED and loops is blocks
with ops.fast_kernels(2):
    print(ops.kernels_in_use())
sys.exit(code)
"""


def test_fast_kernels_work_without_numba(tmp_path):
    small = ["dcgan-64", "--size", "16", "16", "--width", "6", "--latent", "3", "--batch-size", "4", "--steps", "3"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMBA, *small, "--device", "cpu", "--threads", "2", "--out", "run"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("fast kernels (NumPy) x2\n")
    assert (tmp_path / "run" / "samples.png").exists()
