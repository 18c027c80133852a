"""cdcgan-28: the conditional DCGAN for digits of Radford et al. 2016, whose networks are told which digit is meant."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from minigan.games import Game, non_saturating
from minigan.nn import (
    BatchNorm,
    Conditioned,
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
from minigan.optim.schedules import LinearRamp
from minigan.recipes.recipe import Recipe
from minigan.typing import Images


@dataclass(frozen=True)
class CDCGAN28(Recipe):
    """The conditional DCGAN of Radford et al. 2016 for 28 x 28 digits: every layer is told the class of the image.

    No biases, and no gain or shift in BatchNorm. D is told the class, too, and does not have to name it.
    """

    name: ClassVar[str] = "cdcgan-28"
    source: ClassVar[str] = "Radford et al. 2016, appendix; code Newmu/dcgan_code, mnist/train_cond_dcgan.py"
    steps: ClassVar[int] = 39_100  # 200 epochs of 391 batches, of which each player takes every other one
    limits: ClassVar[dict[str, tuple[float, float]]] = {
        "classes": (1, 1000), "slope": (0, 1), "init_std": (0, 10), "lr": (1e-9, 10), "beta1": (0, 0.9999),
        "beta2": (0, 0.999999), "decay": (0, 1), "holdout": (0, 1_000_000), "full": (0, 1_000_000_000),
        "falling": (0, 1_000_000_000),
    }  # fmt: skip

    batch_size: int = 128
    """images in a batch, for each player"""
    latent: int = 100
    """numbers in z, each U(-1, 1)"""
    classes: int = 10
    """classes of the images, one of which both networks are told with each"""
    width: int = 64
    """channels next to the image, twice as many below"""
    units: int = 1024
    """units of the dense layers"""
    slope: float = 0.2
    """slope of D's leaky rectifiers for negative inputs"""
    init_std: float = 0.02
    """weights start as N(0, s^2)"""
    running_statistics: bool = True
    """draw samples with running means and variances; else with those of the samples drawn together, as in the source"""
    lr: float = 2e-4
    """Adam's learning rate, of both players"""
    beta1: float = 0.5
    """Adam's memory of past gradients"""
    beta2: float = 0.999
    """Adam's memory of past squared gradients"""
    decay: float = 2.5e-5
    """lambda of the L2 penalty lambda/2 |w|^2, of both players"""
    full: int = 19_745
    """rounds with the whole learning rate, 101 epochs of the source, if it falls after them"""
    falling: int = 19_550
    """rounds in which it then falls to 0, in about a hundred steps, the source's epochs; 0: it does not fall"""
    holdout: int = 10_000
    """images at the end that are not trained on, where they are a sixth of all at most; of smaller sets all are"""

    @property
    def condition(self) -> int:
        return self.classes

    @property
    def image_size(self) -> tuple[int, int]:
        return 28, 28

    def draw_latents(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.random((count, self.latent), dtype=np.float32) * 2 - 1

    def training_part(self, images: Images) -> Images:
        return images[: len(images) - self.holdout] if len(images) >= 6 * self.holdout else images

    @property
    def _norm(self) -> BatchNorm:
        return BatchNorm(1e-8, affine=False, track_running_stats=self.running_statistics)

    def generator(self, images: Images) -> Sequential:
        w, norm, stage = Normal(self.init_std), self._norm, partial(Conditioned, self.classes)
        up = partial(  # twice the size
            ConvTranspose2D, kernel=5, stride=2, padding=2, output_padding=1, bias=False, w_init=w
        )
        return Sequential(
            stage(Dense(self.units, bias=False, w_init=w), norm, ReLU()),
            stage(Dense(7 * 7 * 2 * self.width, bias=False, w_init=w), norm, ReLU(), Reshape((7, 7, 2 * self.width))),
            stage(up(self.width), norm, ReLU()),
            stage(up(images.shape[3]), Sigmoid()),
        )

    def discriminator(self, images: Images) -> Sequential:
        w, norm, stage = Normal(self.init_std), self._norm, partial(Conditioned, self.classes)
        down = partial(Conv2D, kernel=5, stride=2, padding=2, bias=False, w_init=w)  # half the size
        return Sequential(
            stage(down(self.width), LeakyReLU(self.slope)),
            stage(down(2 * self.width), norm, LeakyReLU(self.slope), Flatten()),
            stage(Dense(self.units, bias=False, w_init=w), norm, LeakyReLU(self.slope)),
            Dense(1, bias=False, w_init=w),
        )

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        lr: float | LinearRamp = self.lr
        if self.falling:
            every = max(1, self.falling // 100)
            lr = LinearRamp(self.lr, 0.0, self.falling, every, delay=max(0, self.full - every))
        rule = Adam(lr=lr, beta1=self.beta1, beta2=self.beta2, weight_decay=self.decay)
        return rule, rule

    def game(self) -> Game:
        return Game(non_saturating(), order="generator-first")
