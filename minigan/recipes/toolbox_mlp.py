"""toolbox-mlp: the GAN of a few MATLAB lines on DeepLearnToolbox, with its quirks."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from minigan.backend import array_module
from minigan.errors import UsageError
from minigan.games.toolbox import LOSSES, CopyOfD, ToolboxGame
from minigan.nn import Dense, Dropout, Sequential, Sigmoid
from minigan.nn.initialisers import GlorotUniform, Uniform
from minigan.optim import Momentum, Optimiser
from minigan.recipes.recipe import Recipe
from minigan.typing import Array, Images, Shape


@dataclass(frozen=True)
class ToolboxMLP(Recipe):
    """One layer of G and two of D in MATLAB: D and G in epochs of their own, G trained together with a copy of D.

    The options of its five quirks: --copy-of-d, --drop-pixels, --loss, --no-scale-rows, --no-fixed-noise.
    """

    name: ClassVar[str] = "toolbox-mlp"
    source: ClassVar[str] = "a MATLAB article of 2018 on DeepLearnToolbox (rasmusbergpalm)"
    steps: ClassVar[int] = 1500
    limits: ClassVar[dict[str, tuple[float, float]]] = {
        "lr": (1e-9, 100), "momentum": (0, 0.9999), "decay_g": (0, 10), "decay_d": (0, 10),
        "drop": (0, 0.99), "drop_pixels": (0, 0.99),
    }  # fmt: skip

    batch_size: int = 1000
    """real images in a round, and as many generated ones: D's epoch has both, G's only the latter"""
    minibatch: int = 100
    """images in a step; a round is 2 batch_size / minibatch steps of D and batch_size / minibatch of G"""
    latent: int = 100
    """numbers in z"""
    hidden_d: int = 100
    """units of D's hidden layer"""
    lr: float = 0.01
    """learning rate of both players"""
    momentum: float = 0.5
    """momentum of both players"""
    decay_g: float = 1e-4
    """weight decay (L2, without the biases) of the combined network: G and the copy of D"""
    decay_d: float = 1e-4
    """weight decay of D"""
    drop: float = 0.5
    """share of D's hidden units that dropout removes"""
    copy_of_d: CopyOfD = "learns"
    """the D that G is trained against learns too, its momentum outliving its weights; forgets: its momentum starts
    from zero in each round; frozen: it does not learn"""
    drop_pixels: float = 0.5
    """share of the generated pixels that dropout removes while G is trained, as if they were hidden units"""
    loss: Literal["squared", "cross-entropy"] = "squared"
    """of both players; the gradient of the squared error vanishes where D is sure that an image is generated"""
    scale_rows: bool = True
    """stretch each image and each z by itself to reach from 0 to 1 exactly; else z is N(0, 1)"""
    fixed_noise: bool = True
    """each image has one z for the whole run; else they are new in each round"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.minibatch:
            raise UsageError(
                f"--batch-size {self.batch_size} does not make whole steps of --minibatch {self.minibatch}: "
                f"the nearest that does is {max(1, round(self.batch_size / self.minibatch)) * self.minibatch}"
            )

    @property
    def latent_of_image(self) -> bool:
        return self.fixed_noise

    @property
    def independent_batches(self) -> bool:
        return True

    def sample_shape(self, image_shape: Shape) -> Shape:
        return (math.prod(image_shape),)

    def draw_latents(self, rng: np.random.Generator, count: int) -> np.ndarray:
        z = super().draw_latents(rng, count)
        return stretched(z) if self.scale_rows else z

    def encode(self, images: Array, dtype: np.dtype, chosen: Array | None = None) -> Array:
        x = super().encode(images, dtype, chosen)
        return stretched(x) if self.scale_rows else x

    def generator(self, images: Images) -> Sequential:
        return Sequential(_dense(self.latent, math.prod(images.shape[1:])), Sigmoid())

    def discriminator(self, images: Images) -> Sequential:
        return Sequential(
            _dense(math.prod(images.shape[1:]), self.hidden_d),
            Sigmoid(),
            Dropout(self.drop, "classic"),
            _dense(self.hidden_d, 1),
        )

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        g, d = (Momentum(lr=self.lr, momentum=self.momentum, weight_decay=w) for w in (self.decay_g, self.decay_d))
        return g, d

    def game(self) -> ToolboxGame:
        return ToolboxGame(LOSSES[self.loss], self.minibatch, self.drop_pixels, self.copy_of_d, self.decay_g)


def stretched(x: Array) -> Array:
    """MATLAB's mapminmax(x, 0, 1): each row (N, P) from its smallest number, 0, to its largest, 1; constant rows stay.

    mapminmax takes rows for variables; in the toolbox they are samples.
    """
    xp = array_module(x)
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)  # (N, 1)
    varies = high > low
    y = x - xp.where(varies, low, xp.zeros_like(low))
    y /= xp.where(varies, high - low, xp.ones_like(low))
    return y


def _dense(inputs: int, units: int) -> Dense:
    """The toolbox keeps the bias as a column of W and draws it like the others: U(-a, a), a = 4 sqrt(6 / (I + O))."""
    bound = 4 * math.sqrt(6 / (inputs + units))
    return Dense(units, w_init=GlorotUniform(4.0), b_init=Uniform(bound))
