"""mlp-mnist: an MLP GAN that draws digits after a minute on two cores."""

import math
from dataclasses import dataclass
from typing import ClassVar

from minigan.games import Game, non_saturating
from minigan.nn import BatchNorm, Dense, Dropout, Layer, LeakyReLU, Sequential, Tanh
from minigan.nn.initialisers import HeNormal
from minigan.optim import Adam, Optimiser
from minigan.recipes.recipe import Recipe
from minigan.typing import Images, Shape


@dataclass(frozen=True)
class MLPMnist(Recipe):
    """The default: a small MLP GAN whose digits can be named after about a minute on two cores."""

    name: ClassVar[str] = "mlp-mnist"
    source: ClassVar[str] = "minigan; the usual MLP GAN with Adam (Radford et al. 2016) and one-sided label smoothing"
    steps: ClassVar[int] = 9000
    low: ClassVar[float] = -1.0
    limits: ClassVar[dict[str, tuple[float, float]]] = {
        "slope": (0, 1), "drop": (0, 0.99), "lr_g": (1e-9, 10), "lr_d": (1e-9, 10),
        "beta1": (0, 0.9999), "smoothing": (0, 0.5),
    }  # fmt: skip

    batch_size: int = 64
    """images in a batch, for each player"""
    latent: int = 10
    """numbers in z, each N(0, 1)"""
    hidden_g: tuple[int, ...] = (128, 256)
    """units of G's hidden layers"""
    hidden_d: tuple[int, ...] = (384, 192)
    """units of D's hidden layers"""
    slope: float = 0.2
    """slope of the leaky rectifiers for negative inputs"""
    drop: float = 0.3
    """share of D's hidden units that dropout removes"""
    lr_g: float = 2e-3
    """Adam's learning rate for G"""
    lr_d: float = 1e-3
    """Adam's learning rate for D"""
    beta1: float = 0.5
    """Adam's memory of past gradients"""
    smoothing: float = 0.1
    """D is asked for 1 minus this on real images"""
    average: float = 0.998
    """samples are drawn with an exponential average of G's parameters of this decay; 0 for the last ones"""

    def sample_shape(self, image_shape: Shape) -> Shape:
        return (math.prod(image_shape),)

    def generator(self, images: Images) -> Sequential:
        layers: list[Layer] = []
        for units in self.hidden_g:
            layers += [Dense(units, bias=False, w_init=HeNormal()), BatchNorm(), LeakyReLU(self.slope)]
        return Sequential(*layers, Dense(math.prod(images.shape[1:])), Tanh())

    def discriminator(self, images: Images) -> Sequential:
        layers: list[Layer] = []
        for units in self.hidden_d:
            layers += [Dense(units, w_init=HeNormal()), LeakyReLU(self.slope), Dropout(self.drop)]
        return Sequential(*layers, Dense(1))

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        return Adam(lr=self.lr_g, beta1=self.beta1), Adam(lr=self.lr_d, beta1=self.beta1)

    def game(self) -> Game:
        return Game(non_saturating(smoothing=self.smoothing))
