"""dcgan-64: the DCGAN as most people know it, from the examples of PyTorch."""

from dataclasses import dataclass
from typing import ClassVar

from minigan.games import Game, non_saturating
from minigan.nn import BatchNorm, Conv2D, ConvTranspose2D, Flatten, Layer, LeakyReLU, ReLU, Reshape, Sequential, Tanh
from minigan.nn.initialisers import Normal
from minigan.optim import Adam, Optimiser
from minigan.recipes.recipe import SizedRecipe
from minigan.typing import Images


@dataclass(frozen=True)
class DCGAN64(SizedRecipe):
    """Radford et al. 2016 in the form of PyTorch's example: 64 x 64 pixels, transposed convolutions 4/2/1."""

    name: ClassVar[str] = "dcgan-64"
    source: ClassVar[str] = "Radford et al. 2016; code pytorch/examples, dcgan/main.py"
    steps: ClassVar[int] = 25_000
    list_channels: ClassVar[int] = 3
    low: ClassVar[float] = -1.0
    unit: ClassVar[int] = 16
    limits: ClassVar[dict[str, tuple[float, float]]] = {
        "slope": (0, 1), "init_std": (0, 10), "lr": (1e-9, 10), "beta1": (0, 0.9999), "beta2": (0, 0.999999),
    }  # fmt: skip

    batch_size: int = 64
    """images in a batch, for each player"""
    latent: int = 100
    """numbers in z, each N(0, 1)"""
    size: tuple[int, int] = (64, 64)
    """height and width of the images, multiples of 16: G begins with a sixteenth of them, 4 x 4 pixels in the source"""
    width: int = 64
    """channels next to the image, 8 times as many at the other end; the paper has 128 (and kernels of 5)"""
    slope: float = 0.2
    """slope of D's leaky rectifiers for negative inputs"""
    init_std: float = 0.02
    """weights start as N(0, s^2), BatchNorm's gains as N(1, s^2)"""
    lr: float = 2e-4
    """Adam's learning rate, of both players"""
    beta1: float = 0.5
    """Adam's memory of past gradients"""
    beta2: float = 0.999
    """Adam's memory of past squared gradients"""
    fresh_fakes: bool = False
    """draw new samples for G's step, as the paper's algorithm does; the source uses those of D's step again"""

    def generator(self, images: Images) -> Sequential:
        w, gain = Normal(self.init_std), Normal(self.init_std, mean=1.0)
        layers: list[Layer] = [Reshape((1, 1, self.latent))]
        layers += [ConvTranspose2D(8 * self.width, self.start, bias=False, w_init=w)]
        layers += [BatchNorm(gamma_init=gain), ReLU()]
        for factor in (4, 2, 1):  # the source: 4 x 4 -> 8 -> 16 -> 32 pixels
            layers += [ConvTranspose2D(factor * self.width, 4, 2, 1, bias=False, w_init=w)]
            layers += [BatchNorm(gamma_init=gain), ReLU()]
        return Sequential(*layers, ConvTranspose2D(images.shape[3], 4, 2, 1, bias=False, w_init=w), Tanh())

    def discriminator(self, images: Images) -> Sequential:
        w, gain = Normal(self.init_std), Normal(self.init_std, mean=1.0)
        layers: list[Layer] = [Conv2D(self.width, 4, 2, 1, bias=False, w_init=w), LeakyReLU(self.slope)]
        for factor in (2, 4, 8):  # the source: 32 x 32 -> 16 -> 8 -> 4 pixels
            layers += [Conv2D(factor * self.width, 4, 2, 1, bias=False, w_init=w)]
            layers += [BatchNorm(gamma_init=gain), LeakyReLU(self.slope)]
        return Sequential(*layers, Conv2D(1, self.start, bias=False, w_init=w), Flatten())

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        rule = Adam(lr=self.lr, beta1=self.beta1, beta2=self.beta2)
        return rule, rule

    def game(self) -> Game:
        return Game(non_saturating(), reuse_fakes=not self.fresh_fakes)
