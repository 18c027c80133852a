"""An image of a size that a network cannot take: the error names the layer, and the nearest sizes that work."""

import numpy as np
import pytest

from minigan.nn import (
    AveragePool,
    Conv2D,
    Dense,
    Flatten,
    PixelUnshuffle,
    ReLU,
    Reshape,
    Sequential,
    ShapeError,
    init_params,
)
from minigan.nn.layer import fitting_sizes
from minigan.recipes import DCGAN64, DCGAN256

RNG = np.random.default_rng(0)
HALVES = Sequential(PixelUnshuffle(4), Conv2D(2, 3, padding=1), Flatten(), Dense(1))


def discriminator(recipe):
    return recipe.discriminator(np.zeros((1, *recipe.image_size, 3), np.uint8))


@pytest.mark.parametrize(
    ("net", "in_shape", "sizes"),
    [
        (discriminator(DCGAN64()), (48, 48, 3), "64 x 64"),
        (discriminator(DCGAN64()), (48, 80, 3), "64 x 80"),
        (discriminator(DCGAN64()), (64, 30, 3), "64 x 64"),
        (discriminator(DCGAN256()), (100, 100, 3), "193 x 193"),
        (discriminator(DCGAN256()), (90, 90, 3), None),  # not near any more
        (HALVES, (10, 8, 3), "8 x 8, 12 x 8"),
        (HALVES, (8, 10, 3), "8 x 8, 8 x 12"),
        (HALVES, (10, 15, 3), "8 x 12, 8 x 16, 12 x 12, 12 x 16"),
        (HALVES, (3, 2, 1), "4 x 4"),
        (HALVES, (0, -5, 1), "4 x 4"),
        (Sequential(AveragePool((5, 1)), Conv2D(1, 1)), (3, 2, 1), "5 x 2"),
        (Sequential(Flatten(), Reshape((24,)), Dense(1)), (5, 6, 1), "4 x 6"),
        (Sequential(ReLU(), Sequential(PixelUnshuffle(3))), (7, 9, 1), "6 x 9, 9 x 9"),
        (Sequential(Conv2D(2, 3), Dense(3)), (9, 9, 1), None),  # wrong for every size
        (Sequential(Conv2D(2, 3, groups=2)), (9, 9, 1), None),
    ],
)
def test_the_error_names_the_layer_and_the_nearest_sizes(net, in_shape, sizes):
    with pytest.raises(ShapeError, match=r"^layer \w+\d: ") as caught:
        init_params(net, in_shape, RNG)
    _, _, listed = str(caught.value).partition(f"; nearest to {in_shape[0]} x {in_shape[1]}, the network takes ")
    assert listed == (sizes or "")


@pytest.mark.parametrize("in_shape", [(10, 15, 3), (3, 2, 1), (33, 34, 2)])
def test_networks_are_made_for_every_size_that_is_listed(in_shape):
    sizes = fitting_sizes(HALVES, in_shape)
    assert sizes
    for height, width in sizes:
        theta = init_params(HALVES, (height, width, in_shape[2]), RNG)
        x = np.zeros((2, height, width, in_shape[2]), np.float32)
        assert HALVES.forward(theta, x, train=True)[0].shape == (2, 1)


def test_a_vector_has_no_sizes_to_list():
    with pytest.raises(
        ShapeError, match=r"^layer reshape1: Reshape\(2, 3\) makes samples of 6 numbers, got .* with 5$"
    ):
        init_params(Sequential(Reshape((2, 3))), (5,), RNG)
