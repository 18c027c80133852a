"""The counted memory of a round is what a round really takes."""

import tracemalloc

import numpy as np
import pytest

from benchmarks.memory import prepared
from minigan import nn
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
from minigan.recipes.memory import kept, round_bytes, work
from tests.recipes.ahead import AheadMLP

# Together they are largest at different places: in the update, in G's and in D's convolutions, while G makes samples.
SMALL = [
    MLPMnist(batch_size=512),
    MLP2014(),
    MLP2014(batch_size=2000),
    ToolboxMLP(),
    ToolboxMLP(copy_of_d="frozen"),
    ToolboxMLP(batch_size=100),
    ToolboxMLP(batch_size=2000, hidden_d=1000),
    DCGAN28(batch_size=32, width=16, units=64),
    DCGAN64(batch_size=16, width=16),
    DCGAN64(batch_size=16, width=16, fresh_fakes=True),
    DCGANUpsample(batch_size=8, latent=20, width=16),
    DCGANUpsample(batch_size=8, latent=20, width=16, width_d=64),
    DCGANUpsample(batch_size=8, latent=20, width=4, width_d=64, joined=True),
    DCGANUpsample(batch_size=8, latent=20, width=16, enlarge="transposed"),
    DCGAN256(batch_size=4, width=8),
    WGANGP28(batch_size=20, width=16),
    CDCGAN28(batch_size=32, width=16, units=64),
    CDCGAN28(batch_size=32, width=2, units=64, classes=40),
    AheadMLP(unroll=0, batch_size=512),
    AheadMLP(unroll=5, batch_size=512),
    AheadMLP(unroll=20, batch_size=64),
    AheadMLP(unroll=5, batch_size=16, hidden_d=(512, 512)),
]
TOLERANCE = 0.1  # what is small beside the rest is not counted: encoding a batch, weight gradients, booleans


@pytest.mark.parametrize("recipe", SMALL, ids=lambda recipe: recipe.name)
def test_a_round_takes_the_memory_that_was_counted(recipe: Recipe) -> None:
    shape = (*(recipe.image_size or (28, 28)), recipe.list_channels)
    tracemalloc.start()
    try:
        play = prepared(recipe, shape)
        tracemalloc.reset_peak()
        play()
        measured = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert round_bytes(recipe, shape) == pytest.approx(measured, rel=TOLERANCE)


def arrays_of(cache: object) -> dict[int, np.ndarray]:
    """The arrays that own the memory behind a cache, each once."""
    if isinstance(cache, np.ndarray):
        owner = cache if cache.base is None else cache.base
        return {id(owner): owner}
    parts = cache if isinstance(cache, tuple) else ()
    return {key: array for part in parts for key, array in arrays_of(part).items()}


NETS = [
    (nn.Sequential(nn.Dense(64), nn.ReLU(), nn.Dense(60), nn.Maxout(5), nn.Dropout(0.2), nn.Dense(1)), (50,)),
    (nn.Sequential(nn.Conv2D(8, 3), nn.LeakyReLU(), nn.Sequential(nn.MaxPool(2), nn.Conv2D(4, 3))), (20, 20, 3)),
    (nn.Sequential(nn.Dense(640), nn.Reshape((8, 8, 10)), nn.BatchNorm(), nn.Upsample(), nn.Conv2D(2, 1)), (5,)),
    (nn.Sequential(nn.Conditioned(3, nn.Conv2D(8, 3), nn.ReLU()), nn.Conditioned(3, nn.Conv2D(4, 3))), (9, 9, 4)),
    (nn.Sequential(nn.Conditioned(3, nn.Conv2D(8, 3)), nn.Flatten(), nn.Dense(4)), (9, 9, 4)),
    (nn.Sequential(nn.Conv2D(8, 3), nn.Dropout(0.3, "channel"), nn.Conv2D(9, 3), nn.BatchNorm(), nn.Tanh()), (9, 9, 2)),
]


@pytest.mark.parametrize(("net", "in_shape"), NETS)
def test_caches_keep_what_was_counted(net: nn.Sequential, in_shape: tuple[int, ...]) -> None:
    rng, count = np.random.default_rng(0), 32
    theta = nn.init_params(net, in_shape, rng)
    x = rng.random((count, *in_shape), dtype=np.float32)
    _, cache = net.forward(theta, x, train=True, rng=rng)
    found = arrays_of(tuple(cache.steps))
    found.pop(id(x), None)
    measured = sum(array.nbytes for array in found.values())
    assert count * kept(net, in_shape, 4) == pytest.approx(measured, rel=0.01)  # means and variances are no part of it


def test_a_convolution_works_on_all_windows_at_once() -> None:
    assert work(nn.Conv2D(5, 3, padding=1), (8, 8, 2)) == 8 * 8 * (2 + 9 * 2 + 5)
    assert work(nn.ConvTranspose2D(5, 4, 2, 1), (8, 8, 2)) == 8 * 8 * (2 + 16 * 5) + 2 * 16 * 16 * 5
    assert work(nn.Sequential(nn.ReLU(), nn.Dense(7)), (9,)) == 9 + 9 + 9


def test_double_precision_takes_twice_as_much() -> None:
    assert round_bytes(DCGAN64(), (64, 64, 3), 8) == 2 * round_bytes(DCGAN64(), (64, 64, 3), 4)
