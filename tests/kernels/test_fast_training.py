"""Rounds of every recipe with plain and with fast kernels: the same weights and gradients; and without numba."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.equivalence import distance, smoothed
from minigan.backend import CPU, Device, to_host
from minigan.games import OwnRound, play_round
from minigan.games.player import Player
from minigan.recipes import DCGAN28, DCGAN64, DCGAN256, MLP2014, WGANGP28, DCGANUpsample, MLPMnist, Recipe, ToolboxMLP
from tests.kernels.twins import fast, loops_there_are

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 20
ROUNDS_OF = {"dcgan-28": 8, "wgan-gp-28": 5, "dcgan-256": 5}  # larger images, in pieces of 24 numbers
# One operation differs by 1e-15, and so many rounds leave a few digits of that. Biases before batch normalisation
# have no effect: their gradient is 0 but for rounding, which Adam divides by its eps, 1e-8 (and running means follow).
BOUND, BOUND_OF_BIASES = 1e-12, 1e-9

RECIPES = [
    DCGAN28(batch_size=6, latent=4, width=2, width_d=2, units=8),
    DCGAN64(batch_size=3, latent=4, width=2, size=(16, 32)),
    DCGANUpsample(batch_size=3, latent=4, width=2, width_d=2, size=(16, 20)),
    DCGAN256(batch_size=6, latent=4, width=1, size=(64, 64)),
    MLPMnist(batch_size=4, latent=3, hidden_g=(8, 8), hidden_d=(8, 8)),
    # One way back for both players; of weights as small as its own, so few would leave G no gradient.
    MLP2014(batch_size=6, latent=4, hidden_g=8, hidden_d=4, pieces=3, weights_g=0.5, weights_d=0.5),
    ToolboxMLP(batch_size=12, minibatch=4, latent=4, hidden_d=8),
    WGANGP28(batch_size=4, latent=4, width=2, d_steps=2),
]

# Of gradients in float32, relative to their length. Measured over eight seeds: 2e-6 without convolutions, as sums are
# taken in another order; 5e-6 in dcgan-64, as tiles cost a few times the rounding of the definition. In the others, as
# small as here, batch statistics of few numbers magnify it to 6e-5; plain float32 is 2e-5 to 6e-5 from float64 there.
FLOAT32 = 1e-5
STEADY = [recipe for recipe in RECIPES if recipe.name in ("dcgan-64", "mlp-mnist", "mlp-2014", "toolbox-mlp")]


@dataclass(frozen=True)
class Batch:
    """Data of one round from a seed."""

    recipe: Recipe
    shape: tuple[int, ...]
    step: int
    device: Device = CPU
    dtype: type = np.float64

    def _rng(self, *which: int) -> np.random.Generator:
        return np.random.default_rng([self.step, *which])

    def real(self, k: int) -> np.ndarray:
        x = self._rng(0, k).uniform(-1, 1, (self.recipe.batch_size, *self.shape))
        return self.device.put(x.astype(self.dtype))

    def latent_d(self, k: int) -> np.ndarray:
        return self._latents(self._rng(1, k))

    def latent_g(self) -> np.ndarray:
        return self._latents(self._rng(2))

    def _latents(self, rng: np.random.Generator) -> np.ndarray:
        return self.device.put(self.recipe.draw_latents(rng, self.recipe.batch_size).astype(self.dtype))

    def share(self, k: int) -> np.ndarray:
        return self.device.put(self._rng(4, k).random(self.recipe.batch_size).astype(self.dtype))

    def dropout(self, k: int) -> np.random.Generator:
        return self._rng(3, k)


def players(
    recipe: Recipe, device: Device = CPU, dtype: type = np.float64, smooth: bool = False, seed: int = 0
) -> tuple[Player, Player]:
    """G and D at the start, with tanh for rectifiers if they are to be smooth.

    The image of which recipes know the mean is grey: of a black one mlp-2014 would make pixels without a gradient.
    """
    images, rng = np.full((1, *(recipe.image_size or (28, 28)), 1), 100, np.uint8), np.random.default_rng(seed)
    nets = recipe.generator(images), recipe.discriminator(images)
    shapes = (recipe.latent,), recipe.sample_shape(images.shape[1:])
    g, d = (
        Player.new(smoothed(net) if smooth else net, rule, shape, rng, dtype=dtype, device=device)
        for net, rule, shape in zip(nets, recipe.optimisers(1), shapes, strict=True)
    )
    if isinstance(game := recipe.game(), OwnRound):
        game.start(d)
    return g, d


def sample_shape(recipe: Recipe) -> tuple[int, ...]:
    """Of one sample of the data."""
    return recipe.sample_shape((*(recipe.image_size or (28, 28)), 1))


def weights_after(recipe: Recipe, device: Device = CPU, rounds: int | None = None) -> dict[str, np.ndarray]:
    """All parameters and statistics of both players, by name, after a few rounds in float64."""
    g, d = players(recipe, device)
    for step in range(rounds or ROUNDS_OF.get(recipe.name, ROUNDS)):
        play_round(recipe.game(), g, d, Batch(recipe, sample_shape(recipe), step, device))
    return {
        f"{who} {name}": to_host(view) for who, player in (("G", g), ("D", d)) for name, view in player.theta.items()
    }


def first_gradients(recipe: Recipe, seed: int) -> dict[str, np.ndarray]:
    """Of each player's first update in float32, with tanh for rectifiers."""
    found: dict[str, np.ndarray] = {}
    pair = dict(zip("GD", players(recipe, dtype=np.float32, smooth=True, seed=seed), strict=True))
    for who, player in pair.items():
        player.observer = lambda player, who=who: found.setdefault(who, player.grads.flat.copy())
    play_round(recipe.game(), pair["G"], pair["D"], Batch(recipe, sample_shape(recipe), seed, dtype=np.float32))
    return found


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_many_rounds_end_at_the_same_weights(recipe):
    plain = weights_after(recipe)
    for loops in loops_there_are().values():
        with fast(2, loops):
            found = weights_after(recipe)
        largest = max(abs(view).max() for view in plain.values())
        for name, view in plain.items():
            bound = BOUND_OF_BIASES if name.endswith((".b", ".mean")) else BOUND
            assert abs(found[name] - view).max() <= bound * largest, name


@pytest.mark.parametrize("recipe", STEADY, ids=lambda recipe: recipe.name)
def test_the_first_gradients_agree_in_float32(recipe):
    """Rectifiers are replaced by tanh: in float32 a last digit switches some of them, and the gradient jumps.

    docs/benchmarks.md tells more, "Why two measures for a network".
    """
    for seed in range(2):
        plain = first_gradients(recipe, seed)
        for loops in loops_there_are().values():
            with fast(2, loops):
                found = first_gradients(recipe, seed)
            for who, gradient in plain.items():
                assert gradient.dtype == found[who].dtype == np.float32
                assert distance(found[who], gradient) <= FLOAT32, who


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
