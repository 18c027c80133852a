"""dcgan-upsample: a DCGAN that enlarges by copying pixels and then convolves."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from minigan.games import Game, non_saturating
from minigan.nn import (
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Reshape,
    Sequential,
    Tanh,
    Upsample,
)
from minigan.nn.initialisers import FanInUniform, Normal
from minigan.optim import Adam, Optimiser
from minigan.recipes.recipe import SizedRecipe
from minigan.typing import Images


@dataclass(frozen=True)
class DCGANUpsample(SizedRecipe):
    """A DCGAN for 64 x 64 digits: nearest-neighbour upsampling, whole-channel dropout, G moves first."""

    name: ClassVar[str] = "dcgan-upsample"
    source: ClassVar[str] = "the 2023 article's code, akash-agni/ReadThePaper, DCGAN"
    steps: ClassVar[int] = 93_800  # 200 epochs of 469 batches: full MNIST with --last-batch keep
    low: ClassVar[float] = -1.0
    unit: ClassVar[int] = 4
    limits: ClassVar[dict[str, tuple[float, float]]] = {
        "slope": (0, 1), "drop": (0, 0.99), "eps": (1e-9, 10), "init_std": (0, 10), "lr": (1e-9, 10),
        "beta1": (0, 0.9999), "d_loss_scale": (1e-3, 1e3),
    }  # fmt: skip

    batch_size: int = 128
    """images in a batch, for each player"""
    latent: int = 500
    """numbers in z, each N(0, 1)"""
    size: tuple[int, int] = (64, 64)
    """height and width of the images, multiples of 4: G begins with a quarter of them, 16 x 16 pixels in the source"""
    width: int = 128
    """channels of G's images before the last one"""
    width_d: int = 16
    """channels of D's first convolution"""
    enlarge: Literal["upsample", "transposed"] = "upsample"
    """how G doubles the size: copies of pixels and a convolution 3/1/1, or a transposed convolution 4/2/1"""
    slope: float = 0.2
    """slope of the leaky rectifiers for negative inputs"""
    drop: float = 0.25
    """share of D's channels that dropout removes, whole"""
    eps: float = 0.8
    """BatchNorm's epsilon, but for G's first: the source gives 0.8, which was meant as momentum"""
    init_std: float = 0.02
    """convolution weights start as N(0, s^2), BatchNorm's gains as N(1, s^2)"""
    lr: float = 2e-4
    """Adam's learning rate, of both players"""
    beta1: float = 0.5
    """Adam's memory of past gradients"""
    d_loss_scale: float = 0.5
    """D's loss is this times the sum of its two cross-entropies"""
    joined: bool = False
    """real and generated images go through D as one batch, as the article tells; in its code they go apart"""

    def generator(self, images: Images) -> Sequential:
        gain, start = Normal(self.init_std, mean=1.0), (*self.start, self.width)
        layers: list[Layer] = [Dense(math.prod(start), w_init=FanInUniform(), b_init=self._bias(self.latent))]
        layers += [Reshape(start), BatchNorm(gamma_init=gain)]
        for _ in range(2):  # the source: 16 x 16 -> 32 -> 64 pixels
            layers += [*self._twice(), BatchNorm(self.eps, gamma_init=gain), LeakyReLU(self.slope)]
        return Sequential(*layers, self._conv(images.shape[3], self.width), Tanh())

    def discriminator(self, images: Images) -> Sequential:
        gain, layers, inputs = Normal(self.init_std, mean=1.0), list[Layer](), images.shape[3]
        for index, factor in enumerate((1, 2, 4, 8, 32)):  # the source: 64 x 64 -> 32 -> 16 -> 8 -> 4 -> 2 pixels
            channels = factor * self.width_d
            layers += [self._conv(channels, inputs, stride=2), LeakyReLU(self.slope), Dropout(self.drop, "channel")]
            if index:  # BatchNorm comes after the activation and the dropout, and not in the first block
                layers += [BatchNorm(self.eps, gamma_init=gain)]
            inputs = channels
        pixels = math.prod(-(-n // 2**5) for n in self.size)  # five times the half, rounded up
        last = Dense(1, w_init=FanInUniform(), b_init=self._bias(pixels * inputs))
        return Sequential(*layers, Flatten(), last)

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        rule = Adam(lr=self.lr, beta1=self.beta1)
        return rule, rule

    def game(self) -> Game:
        loss = non_saturating(scale=self.d_loss_scale)
        return Game(loss, order="generator-first", reuse_fakes=True, joined=self.joined)

    def _twice(self) -> list[Layer]:
        """Layers that double height and width."""
        if self.enlarge == "upsample":
            return [Upsample(2), self._conv(self.width, self.width)]
        return [ConvTranspose2D(self.width, 4, 2, 1, w_init=Normal(self.init_std))]

    def _conv(self, channels: int, inputs: int, stride: int = 1) -> Conv2D:
        return Conv2D(channels, 3, stride, 1, w_init=Normal(self.init_std), b_init=self._bias(9 * inputs))

    def _bias(self, fan_in: int) -> FanInUniform:
        """PyTorch's start of a bias, U(-1/sqrt(fan_in), 1/sqrt(fan_in)) with the fan-in of its weights."""
        return FanInUniform(fan_in)
