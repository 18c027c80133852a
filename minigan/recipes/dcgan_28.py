"""dcgan-28: the MNIST DCGAN of the CNTK tutorial 206B."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from minigan.games import Game, non_saturating
from minigan.nn import (
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Flatten,
    LeakyReLU,
    ReLU,
    Reshape,
    Sequential,
    Sigmoid,
)
from minigan.nn.initialisers import Normal
from minigan.optim import Adam, Optimiser
from minigan.recipes.recipe import Recipe
from minigan.typing import Images


@dataclass(frozen=True)
class DCGAN28(Recipe):
    """The DCGAN of CNTK's tutorial 206B for 28 x 28 digits: two D steps a round, biases beside BatchNorm.

    D's convolutions have no padding, so it hardly sees the last three rows and columns, as in the source.
    """

    name: ClassVar[str] = "dcgan-28"
    source: ClassVar[str] = "CNTK tutorial 206B, Deep Convolutional GAN with MNIST data"
    steps: ClassVar[int] = 10_000
    limits: ClassVar[dict[str, tuple[float, float]]] = {
        "slope": (0, 1), "init_std": (0, 10), "lr": (1e-9, 10), "beta1": (0, 0.9999), "beta2": (0, 0.999999),
    }  # fmt: skip

    batch_size: int = 128
    """images in a batch, for each player"""
    latent: int = 100
    """numbers in z, each U(-1, 1)"""
    width: int = 128
    """channels of G's images before the last one"""
    width_d: int = 64
    """channels of D's second convolution (its first has one)"""
    first_norm: bool = True
    """BatchNorm after D's first convolution, as in the source: D cannot see patterns of period two then"""
    units: int = 1024
    """units of the dense layers"""
    slope: float = 0.2
    """slope of D's leaky rectifiers for negative inputs"""
    init_std: float = 0.02
    """weights start as N(0, s^2)"""
    lr: float = 2e-4
    """Adam's learning rate, of both players"""
    beta1: float = 0.5
    """Adam's memory of past gradients"""
    beta2: float = 0.999822
    """Adam's memory of past squared gradients: CNTK's default, exp(-128/720000) at batch 128"""
    d_steps: int = 2
    """steps of D in a round, before G's"""

    @property
    def image_size(self) -> tuple[int, int]:
        return 28, 28

    def draw_latents(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.random((count, self.latent), dtype=np.float32) * 2 - 1

    def generator(self, images: Images) -> Sequential:
        w = Normal(self.init_std)
        up = partial(ConvTranspose2D, kernel=5, stride=2, padding=2, output_padding=1, w_init=w)  # twice the size
        return Sequential(
            Dense(self.units, w_init=w), BatchNorm(), ReLU(),
            Dense(7 * 7 * self.width, w_init=w), Reshape((7, 7, self.width)), BatchNorm(), ReLU(),
            up(self.width), BatchNorm(), ReLU(),
            up(images.shape[3]), Sigmoid(),
        )  # fmt: skip

    def discriminator(self, images: Images) -> Sequential:
        w = Normal(self.init_std)
        # The DCGAN paper leaves BatchNorm out here: a pattern that repeats with the stride adds the same to all
        # outputs of the convolution, and taking off the mean hides it from D for good.
        first = [BatchNorm()] if self.first_norm else []
        return Sequential(
            Conv2D(1, 5, 2, w_init=w), *first, LeakyReLU(self.slope),
            Conv2D(self.width_d, 5, 2, w_init=w), BatchNorm(), LeakyReLU(self.slope), Flatten(),
            Dense(self.units, w_init=w), BatchNorm(), LeakyReLU(self.slope),
            Dense(1, w_init=w),
        )  # fmt: skip

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        rule = Adam(lr=self.lr, beta1=self.beta1, beta2=self.beta2)
        return rule, rule

    def game(self) -> Game:
        return Game(non_saturating(), d_steps=self.d_steps)
