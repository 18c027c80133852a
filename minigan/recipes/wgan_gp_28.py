"""wgan-gp-28: the MNIST network of WGAN-GP, whose critic is held by a penalty on its gradients."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from minigan.games import WASSERSTEIN, Game, wgan_gp
from minigan.nn import Conv2D, ConvTranspose2D, Dense, Flatten, Layer, LeakyReLU, ReLU, Reshape, Sequential, Sigmoid
from minigan.nn.initialisers import Uniform
from minigan.optim import Adam, Optimiser
from minigan.recipes.recipe import Recipe
from minigan.typing import Images


@dataclass(frozen=True)
class WGANGP28(Recipe):
    """Gulrajani et al. 2017 for 28 x 28 digits: no BatchNorm, five steps of the critic a round, each with a penalty."""

    name: ClassVar[str] = "wgan-gp-28"
    source: ClassVar[str] = "Gulrajani et al. 2017; code igul222/improved_wgan_training, gan_mnist.py, mode wgan-gp"
    steps: ClassVar[int] = 200_000
    limits: ClassVar[dict[str, tuple[float, float]]] = {
        "slope": (0, 1), "penalty": (0, 1e6), "lr": (1e-9, 10), "beta1": (0, 0.9999), "beta2": (0, 0.999999),
    }  # fmt: skip

    batch_size: int = 50
    """images in a batch, for each player"""
    latent: int = 128
    """numbers in z, each N(0, 1)"""
    width: int = 64
    """channels next to the image, 4 times as many at the other end"""
    slope: float = 0.2
    """slope of D's leaky rectifiers for negative inputs"""
    penalty: float = 10.0
    """weight of the penalty, (|dD/dx| - 1)^2 between real and generated samples"""
    lr: float = 1e-4
    """Adam's learning rate, of both players"""
    beta1: float = 0.5
    """Adam's memory of past gradients"""
    beta2: float = 0.9
    """Adam's memory of past squared gradients"""
    d_steps: int = 5
    """steps of D in a round, before G's"""

    @property
    def image_size(self) -> tuple[int, int]:
        return 28, 28

    def generator(self, images: Images) -> Sequential:
        # TensorFlow's padding "SAME" backwards: of an image that is twice as large, a border of 1 and 2 is left out.
        up = partial(ConvTranspose2D, kernel=5, stride=2, padding=(1, 2, 1, 2))
        narrow, channels = self.width, images.shape[3]
        layers: list[Layer] = [Dense(4 * 4 * 4 * narrow), ReLU(), Reshape((4, 4, 4 * narrow))]
        # 4 x 4 -> 7 x 7: the source makes 8 x 8 and cuts off the last row and column.
        layers += [up(2 * narrow, padding=(1, 3, 1, 3), w_init=_weights(2 * narrow, 4 * narrow)), ReLU()]
        layers += [up(narrow, w_init=_weights(narrow, 2 * narrow)), ReLU()]
        return Sequential(*layers, up(channels, w_init=_weights(channels, narrow)), Sigmoid())

    def discriminator(self, images: Images) -> Sequential:
        layers: list[Layer] = []
        inputs = images.shape[3]
        for outputs in (self.width, 2 * self.width, 4 * self.width):  # 28 x 28 -> 14 -> 7 -> 4 pixels
            layers += [Conv2D(outputs, 5, 2, "same", w_init=_weights(inputs, outputs)), LeakyReLU(self.slope)]
            inputs = outputs
        return Sequential(*layers, Flatten(), Dense(1))

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        rule = Adam(lr=self.lr, beta1=self.beta1, beta2=self.beta2)
        return rule, rule

    def game(self) -> Game:
        return Game(WASSERSTEIN, d_steps=self.d_steps, penalty=wgan_gp(self.penalty))


def _weights(large: int, small: int) -> Uniform:
    """He's variance for a kernel of 5 between an image of `large` channels and one half its size of `small` channels.

    The source takes the mean of both fans, of which the one at the small image counts a quarter: its stride is 2.
    """
    return Uniform(math.sqrt(12 / (25 * (large + small / 4))))
