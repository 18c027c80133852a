"""mlp-2014: the MNIST network of the first GAN paper, as its authors published it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigan.games import Game, non_saturating
from minigan.nn import Dense, Dropout, Maxout, ReLU, Sequential, Sigmoid
from minigan.nn.initialisers import Uniform, Values
from minigan.optim import ExponentialDecay, LinearRamp, Momentum, Optimiser
from minigan.recipes.recipe import Recipe
from minigan.typing import Images, Shape


@dataclass(frozen=True)
class MLP2014(Recipe):
    """Goodfellow et al. 2014: ReLU generator, maxout discriminator with dropout, simultaneous SGD."""

    name: ClassVar[str] = "mlp-2014"
    source: ClassVar[str] = "Goodfellow et al. 2014, Generative Adversarial Nets; code goodfeli/adversarial, mnist.yaml"
    steps: ClassVar[int] = 125_000  # 250 epochs of 500 batches, where the momentum stops rising; the source has no end
    limits: ClassVar[dict[str, tuple[float, float]]] = {
        "weights_g": (0, 10), "weights_d": (0, 10), "drop_input": (0, 0.99), "drop_hidden": (0, 0.99),
        "lr": (1e-9, 10), "lr_factor": (1, 2), "lr_floor": (0, 10),
        "momentum": (0, 0.9999), "momentum_end": (0, 0.9999), "d_loss_scale": (1e-3, 1e3), "holdout": (0, 1e9),
    }  # fmt: skip

    batch_size: int = 100
    """images in a batch, for each player"""
    latent: int = 100
    """numbers in z, each U(-sqrt(3), sqrt(3)): variance 1"""
    hidden_g: int = 1200
    """units of each of G's two hidden layers"""
    hidden_d: int = 240
    """maxout units of each of D's two hidden layers"""
    pieces: int = 5
    """linear pieces of a maxout unit"""
    weights_g: float = 0.05
    """G's weights start as U(-w, w)"""
    weights_d: float = 0.005
    """D's weights start as U(-w, w)"""
    drop_input: float = 0.2
    """share of D's input pixels that dropout removes"""
    drop_hidden: float = 0.5
    """share of D's hidden units that dropout removes"""
    lr: float = 0.1
    """learning rate at the start, of both players"""
    lr_factor: float = 1.000004
    """the learning rate is divided by this after each batch"""
    lr_floor: float = 1e-6
    """the learning rate never falls below this"""
    momentum: float = 0.5
    """momentum in the first epoch"""
    momentum_end: float = 0.7
    """momentum from epoch `momentum_epochs` on"""
    momentum_epochs: int = 250
    """epoch, counted from 1, in which the momentum stops rising"""
    d_loss_scale: float = 0.5
    """D's loss is this times the sum of its two cross-entropies"""
    holdout: int = 10_000
    """images kept for validation, from the end of the data; at most a sixth of them"""

    def sample_shape(self, image_shape: Shape) -> Shape:
        return (math.prod(image_shape),)

    def draw_latents(self, rng: np.random.Generator, count: int) -> np.ndarray:
        unit = rng.random((count, self.latent), dtype=np.float32)  # [0, 1)
        return (unit * 2 - 1) * math.sqrt(3)

    def training_part(self, images: Images) -> Images:
        return images[: len(images) - min(self.holdout, len(images) // 6)]

    def generator(self, images: Images) -> Sequential:
        w = Uniform(self.weights_g)
        # The output bias alone already draws the mean image: b = logit(mean), kept finite where a
        # pixel is always black.
        mean = (_mean_image(images) / 255).clip(1e-7, 1 - 1e-7)  # (P,)
        b_out = Values(np.log(mean) - np.log1p(-mean))
        return Sequential(
            Dense(self.hidden_g, w_init=w),
            ReLU(),
            Dense(self.hidden_g, w_init=w),
            ReLU(),
            Dense(mean.size, w_init=w, b_init=b_out),
            Sigmoid(),
        )

    def discriminator(self, images: Images) -> Sequential:
        w = Uniform(self.weights_d)
        return Sequential(
            Dropout(self.drop_input),
            Dense(self.hidden_d * self.pieces, w_init=w),
            Maxout(self.pieces),
            Dropout(self.drop_hidden),
            Dense(self.hidden_d * self.pieces, w_init=w),
            Maxout(self.pieces),
            Dropout(self.drop_hidden),
            Dense(1, w_init=w),
        )

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        lr = ExponentialDecay(self.lr, self.lr_factor, self.lr_floor)
        ramp = max(1, (self.momentum_epochs - 1) * batches_per_epoch)
        momentum = LinearRamp(self.momentum, self.momentum_end, ramp, every=batches_per_epoch)
        rule = Momentum(lr=lr, momentum=momentum)
        return rule, rule

    def game(self) -> Game:
        return Game(non_saturating(scale=self.d_loss_scale), order="simultaneous")


def _mean_image(images: Images) -> np.ndarray:
    """(P,), through pieces of the data, which may not fit in memory; sums of bytes are exact in any order."""
    pieces = (images[start : start + 1000] for start in range(0, len(images), 1000))
    total = sum(np.asarray(piece).sum(axis=0, dtype=np.int64) for piece in pieces)
    return np.ravel(total) / len(images)
