"""The counted cost of a round is what a round really multiplies."""

from collections.abc import Callable

import numpy as np
import pytest

from minigan import ops
from minigan.backend import CPU
from minigan.data.batches import Batches
from minigan.games import play_round
from minigan.recipes import (
    CDCGAN28,
    DCGAN28,
    DCGAN64,
    DCGAN256,
    MLP2014,
    WGANGP28,
    DCGANUpsample,
    MLPMnist,
    Recipe,
    ToolboxMLP,
)
from minigan.recipes.cost import cost
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import feed
from minigan.runs.state import State

SMALL = [
    MLPMnist(batch_size=4, hidden_g=(5, 4), hidden_d=(6, 4)),
    MLP2014(batch_size=4, hidden_g=5, hidden_d=3),
    ToolboxMLP(batch_size=4, minibatch=2, latent=3, hidden_d=5),
    ToolboxMLP(batch_size=4, minibatch=4, latent=3, hidden_d=5, copy_of_d="frozen"),
    DCGAN28(batch_size=2, latent=5, width=4, width_d=3, units=16),
    DCGAN64(batch_size=2, latent=5, width=2),
    DCGAN64(batch_size=2, latent=5, width=2, fresh_fakes=True),
    DCGANUpsample(batch_size=2, latent=5, width=4, width_d=2),
    DCGANUpsample(batch_size=2, latent=5, width=4, width_d=2, enlarge="transposed"),
    DCGANUpsample(batch_size=2, latent=5, width=4, width_d=2, joined=True),
    DCGAN256(batch_size=2, latent=5, width=1),
    WGANGP28(batch_size=2, latent=5, width=2),
    CDCGAN28(batch_size=2, latent=5, classes=3, width=2, units=6),
]

# Multiply-adds of one call: the size of what the product is contracted to, times the length of the sums.
MULTIPLIED: dict[str, Callable[..., int]] = {
    "dense": lambda x, w, *_: len(x) * w.size,
    "dense_input_grad": lambda dy, w: len(dy) * w.size,
    "dense_weight_grad": lambda dy, cache, *_: len(dy) * dy.shape[1] * cache.x.shape[1],
    "conv2d": lambda x, w, geometry: len(x) * int(np.prod(geometry.out_size(x.shape[1:3], w.shape[:2]))) * w.size,
    "conv2d_input_grad": lambda dy, w, *_: dy[..., 0].size * w.size,
    "conv2d_weight_grad": lambda x, dy, kernel, geometry, *_: (
        dy.size * kernel[0] * kernel[1] * x.shape[3] // geometry.groups
    ),
}


@pytest.mark.parametrize("recipe", SMALL, ids=lambda recipe: recipe.name)
def test_a_round_multiplies_as_often_as_counted(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    total = 0

    def counting(name: str, plain: Callable) -> Callable:
        def wrapped(*args, **kwargs):
            nonlocal total
            total += MULTIPLIED[name](*args, **kwargs)
            return plain(*args, **kwargs)

        return wrapped

    images = np.random.default_rng(0).integers(0, 256, (4, *(recipe.image_size or (6, 5)), 1), dtype=np.uint8)
    batches = Batches(len(images), recipe.batch_size, seed=0)
    state = State.start(recipe, images, batches.per_epoch, 0, np.dtype("f4"), CPU)
    for name in MULTIPLIED:
        monkeypatch.setattr(ops, name, counting(name, getattr(ops, name)))
    game, there = recipe.game(), feed(images, batches, CPU, labels=np.arange(4) % 3)
    play_round(game, state.g, state.d, SeededDraws(recipe, there, 0, 0, game.d_steps, np.dtype("f4")))
    assert total == cost(recipe, images.shape[1:]).round_macs


def test_dcgan_64_costs_what_is_known_of_it() -> None:
    """Eleven passes of about the same size, 1.14 GMAC an image."""
    assert cost(DCGAN64(), (64, 64, 3)).round_macs / 64 == pytest.approx(1.14e9, rel=0.01)
