"""What a recipe tells about a system, so that one training loop can run them all."""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigan import ops
from minigan.backend import array_module
from minigan.errors import UsageError, UserError
from minigan.games import Game, OwnRound
from minigan.nn.layer import Layer
from minigan.optim import Optimiser
from minigan.typing import Array, Images, Shape

COMMON_LIMITS: dict[str, tuple[float, float]] = {"average": (0, 0.999999), "jitter": (0, 1)}


@dataclass(frozen=True)
class Recipe:
    """A published system. Subclasses add its constants as fields and fill in the methods.

    Images are (N, H, W, C) bytes; the networks see pixels in [low, high].
    """

    name: ClassVar[str]  # what the command line calls it
    source: ClassVar[str]  # where it was published
    steps: ClassVar[int]  # rounds of a default run
    list_channels: ClassVar[int] = 1  # colour channels that the published system was for, for `train --list`
    low: ClassVar[float] = 0.0  # the value of a black pixel
    high: ClassVar[float] = 1.0  # the value of a white pixel
    # Allowed (lowest, highest) of the constants; whole numbers without an entry: 1 to a million.
    limits: ClassVar[dict[str, tuple[float, float]]] = {}

    batch_size: int = 64
    """images in a batch, for each player"""
    latent: int = 100
    """numbers in z"""
    average: float = 0.0
    """samples are drawn with an exponential average of G's parameters of this decay; 0 for the last ones"""
    flip: bool = False
    """mirror each real image with probability 1/2; for images that may be mirrored, which digits may not"""
    jitter: float = 0.0
    """brightness, contrast and saturation of each real image are changed by factors from U(1 - j, 1 + j)"""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            numbers = value if isinstance(value, tuple) else (value,)
            if isinstance(value, bool) or not all(isinstance(number, int | float) for number in numbers):
                continue
            whole = all(isinstance(number, int) for number in numbers)
            usual = (1, 1_000_000) if whole else (-math.inf, math.inf)
            low, high = (COMMON_LIMITS | self.limits).get(field.name, usual)
            for number in numbers:
                if not low <= number <= high:  # also false for NaN
                    option = "--" + field.name.replace("_", "-")
                    raise UsageError(f"{option} {number} is out of range: allowed are {low:g} to {high:g}")

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(H, W) that the networks make; None: any."""
        return None

    @property
    def critic(self) -> bool:
        """Whether D is a critic, whose scores have no targets: nothing can be said of D(x) and D(G(z)) then."""
        game = self.game()
        return isinstance(game, Game) and game.loss.critic

    @property
    def condition(self) -> int:
        """How many classes both networks are told of, each by its one-hot code; 0: they are told nothing."""
        return 0

    @property
    def latent_shape(self) -> Shape:
        """Shape of what G takes: z, and behind it the condition."""
        return (self.latent + self.condition,)

    @property
    def latent_of_image(self) -> bool:
        """Whether each image has one z for the whole run, instead of new ones in each round."""
        return False

    @property
    def independent_batches(self) -> bool:
        """Whether each batch is chosen from all images, instead of from those that the epoch has not shown yet."""
        return False

    def draw_latents(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """z, (count, latent) float32, drawn on the host: N(0, 1), unless the recipe says otherwise."""
        return rng.standard_normal((count, self.latent), dtype=np.float32)

    def told(self, z: np.ndarray, codes: np.ndarray | None = None) -> np.ndarray:
        """What G takes, (N, *latent_shape): z (N, latent), and with a condition the code of a class behind each.

        codes (N, condition): without them of 0, 1, ... in turn.
        """
        return np.concatenate([z, self.codes(len(z)) if codes is None else codes], axis=1) if self.condition else z

    def codes(self, count: int, labels: np.ndarray | int | None = None) -> np.ndarray:
        """(count, condition) float32: codes of these classes, or of one for all; without them of 0, 1, ... in turn."""
        if not self.condition:
            return np.empty((count, 0), np.float32)
        chosen = in_turn(count, self.condition) if labels is None else np.broadcast_to(labels, count)
        return one_hot(chosen, self.condition)

    def training_part(self, images: Images) -> Images:
        """The images to train on; the others are for validation. With a condition, it is asked of the classes, too."""
        return images

    def generator(self, images: Images) -> Layer:
        """G for images (N, H, W, C) of this kind; it may measure them for its initialisation."""
        raise self._without("generator")

    def discriminator(self, images: Images) -> Layer:
        """D for images of this kind."""
        raise self._without("discriminator")

    def optimisers(self, batches_per_epoch: int) -> tuple[Optimiser, Optimiser]:
        """The update rules of G and of D."""
        raise self._without("optimisers")

    def game(self) -> Game | OwnRound:
        """The losses, the order of moves, the number of moves."""
        raise self._without("game")

    def _without(self, method: str) -> UserError:
        return UserError(f"the recipe {self.name} has no method {method}(), which a recipe needs")

    def sample_shape(self, image_shape: Shape) -> Shape:
        """Shape of one image as the networks see it."""
        return image_shape

    def judged_shape(self, image_shape: Shape) -> Shape:
        """Shape of what D takes: an image as the networks see it, and the condition behind its channels."""
        *places, channels = self.sample_shape(image_shape)
        return (*places, channels + self.condition)

    def encode(self, images: Array, dtype: np.dtype, chosen: Array | None = None) -> Array:
        """Pixels (N, H, W, C) from 0 to 255 to numbers (N, *sample_shape) in [low, high], where the images live.

        chosen (B,): only these images, by their indices.
        """
        pixels = images.reshape(len(images), *self.sample_shape(images.shape[1:]))
        return ops.scaled_pixels(pixels, chosen, (self.high - self.low) / 255, self.low, np.dtype(dtype))

    def decode(self, x: Array, image_shape: Shape) -> Array:
        """What G makes to bytes (N, H, W, C), rounded; a condition behind it is left out."""
        xp = array_module(x)
        if self.condition:
            x = x[..., : self.sample_shape(image_shape)[-1]]
        pixels = xp.clip((x - self.low) * (255 / (self.high - self.low)), 0, 255)
        return xp.rint(pixels).astype(np.uint8).reshape(len(x), *image_shape)


def in_turn(count: int, classes: int) -> np.ndarray:
    """(count,) int64: class 0, 1, ..., and 0 again after the last."""
    return np.arange(count) % classes


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """(N, classes) float32: 1 at the class of each, else 0. Raises ValueError for a class that there is not."""
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"{classes} classes are counted from 0, got {labels.min()} to {labels.max()}")
    return np.equal.outer(labels, np.arange(classes)).astype(np.float32)


@dataclass(frozen=True)
class SizedRecipe(Recipe):
    """A system whose G starts from a small image and doubles it, so that it can make many sizes, but not all."""

    unit: ClassVar[int]  # times that a side of the image is as long as that of G's first one

    size: tuple[int, int] = (64, 64)
    """height and width of the images"""

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest = [sorted({max(n // self.unit, 1) * self.unit, -(-n // self.unit) * self.unit}) for n in self.size]
        if self.size not in itertools.product(*nearest):
            fitting = ", ".join(f"{height} {width}" for height, width in itertools.product(*nearest))
            raise UsageError(
                f"--size {self.size[0]} {self.size[1]}: {self.name} makes heights and widths that are multiples of "
                f"{self.unit}; the nearest are {fitting}"
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) that the networks make."""
        return self.size

    @property
    def start(self) -> tuple[int, int]:
        """(H, W) of G's first image, and of D's last one where D is G in the mirror."""
        return self.size[0] // self.unit, self.size[1] // self.unit
