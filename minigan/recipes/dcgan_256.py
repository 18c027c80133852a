"""dcgan-256: the face DCGAN in CNTK, seven transposed convolutions from a point to 256 x 256 pixels."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from minigan.games import Game, non_saturating
from minigan.nn import BatchNorm, Conv2D, ConvTranspose2D, Flatten, Layer, LeakyReLU, ReLU, Reshape, Sequential, Tanh
from minigan.nn.initialisers import Normal
from minigan.optim import Adam, Optimiser
from minigan.recipes.recipe import SizedRecipe
from minigan.typing import Images


@dataclass(frozen=True)
class DCGAN256(SizedRecipe):
    """The DCGAN of 256 x 256 colour images from CNTK: kernels 5/2 in G and 3/2 in D, fresh z for both players.

    As in the source, brightness, contrast and saturation of the photos vary.
    """

    name: ClassVar[str] = "dcgan-256"
    source: ClassVar[str] = "sho-watari/GAN, DCGAN/dcgan_training.py (CNTK); the 2020 article"
    steps: ClassVar[int] = 50_000
    list_channels: ClassVar[int] = 3
    low: ClassVar[float] = -1.0
    unit: ClassVar[int] = 64
    limits: ClassVar[dict[str, tuple[float, float]]] = {
        "slope": (0, 1), "init_std": (0, 10), "lr": (1e-9, 10), "beta1": (0, 0.9999), "beta2": (0, 0.9999999),
    }  # fmt: skip

    batch_size: int = 16
    """images in a batch, for each player"""
    latent: int = 100
    """numbers in z, each N(0, 1)"""
    size: tuple[int, int] = (256, 256)
    """height and width of the images, multiples of 64: G begins with a 64th of them, 4 x 4 pixels in the source"""
    jitter: float = 0.2
    """brightness, contrast and saturation of each real image are changed by factors from U(1 - j, 1 + j)"""
    width: int = 32
    """channels next to the image in both nets; 32 times as many at the other end"""
    slope: float = 0.2
    """slope of D's leaky rectifiers for negative inputs"""
    init_std: float = 0.02
    """weights start as N(0, s^2); the article calls s the variance, the code has it as the standard deviation"""
    lr: float = 1e-4
    """Adam's learning rate, of both players"""
    beta1: float = 0.5
    """Adam's memory of past gradients"""
    beta2: float = 0.999978
    """Adam's memory of past squared gradients: CNTK's default, exp(-16/720000) at batch 16"""

    def generator(self, images: Images) -> Sequential:
        w = Normal(self.init_std)
        up = partial(ConvTranspose2D, kernel=5, stride=2, padding=2, output_padding=1, w_init=w)  # twice the size
        layers: list[Layer] = [Reshape((1, 1, self.latent))]
        layers += [ConvTranspose2D(32 * self.width, self.start, bias=False, w_init=w), BatchNorm(), ReLU()]
        for factor in (16, 8, 4, 2, 1):  # the source: 4 x 4 -> 8 -> 16 -> 32 -> 64 -> 128 pixels
            layers += [up(factor * self.width, bias=False), BatchNorm(), ReLU()]
        return Sequential(*layers, up(images.shape[3]), Tanh())

    def discriminator(self, images: Images) -> Sequential:
        w = Normal(self.init_std)
        layers: list[Layer] = [Conv2D(self.width, 3, 2, 1, w_init=w), LeakyReLU(self.slope)]
        for factor in (2, 4, 8, 16, 32):  # the source: 128 x 128 -> 64 -> 32 -> 16 -> 8 -> 4 pixels
            layers += [Conv2D(factor * self.width, 3, 2, 1, bias=False, w_init=w), BatchNorm(), LeakyReLU(self.slope)]
        return Sequential(*layers, Conv2D(1, self.start, w_init=w), Flatten())

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        rule = Adam(lr=self.lr, beta1=self.beta1, beta2=self.beta2)
        return rule, rule

    def game(self) -> Game:
        return Game(non_saturating())
