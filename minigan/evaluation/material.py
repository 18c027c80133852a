"""What scores are computed from: the samples, and the real images that they are compared with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from minigan.backend import Device
from minigan.data.resize import fit
from minigan.data.sources import load_images
from minigan.errors import DataError
from minigan.evaluation.classifier import IMAGE_SHAPE, Classifier
from minigan.randomness import Purpose, stream
from minigan.typing import Array, Shape

FEWEST = 20  # real images in a set, so that every score has its neighbours and its parts
WITH_TEST_SPLIT = ("mnist", "fashion")
CLASSIFIERS = {"mnist5k": "classifier-mnist", "mnist": "classifier-mnist", "fashion": "classifier-fashion"}


@dataclass(frozen=True, eq=False)
class Images:
    """A set of images (N, H, W, C) of bytes on the host, and what the classifier sees in them."""

    pixels: np.ndarray
    device: Device
    classifier: Classifier | None = None

    @cached_property
    def there(self) -> Array:
        """The bytes on the device; scores count them as numbers in [0, 1]."""
        return self.device.put(self.pixels)

    @cached_property
    def _seen(self) -> tuple[Array, Array]:
        assert self.classifier is not None
        return self.classifier.look(fit(self.pixels, IMAGE_SHAPE[:2]))

    @property
    def logits(self) -> Array:
        return self._seen[1]

    @property
    def features(self) -> Array:
        """Points to measure distances between: the classifier's features, or without one the pixels."""
        return self.there if self.classifier is None else self._seen[0]


@dataclass(frozen=True, eq=False)
class Real:
    """The real images that samples are compared with."""

    reference: Images  # held out from training where there is a test split
    validation: Images  # for Parzen's sigma
    stand_in: Images  # other real images, to take the samples' place
    training: Images  # what G has learnt from
    held_out: bool  # whether the reference was
    words: str  # what the reference is, for people


def classifier_name(source: str, image_shape: Shape) -> str | None:
    """The shipped classifier that knows the classes of this data source, if there is one."""
    return CLASSIFIERS.get(source.partition(":")[0]) if image_shape[2] == 1 else None


def load_real(
    source: str,
    image_shape: Shape,
    training_part: Callable[[np.ndarray], np.ndarray],
    count: int,
    seed: int,
    wrap: Callable[[np.ndarray], Images],
) -> Real:
    """Real images of one shape (H, W, C), at most `count` to compare with and as many stand-ins.

    A sixth of the training images is set aside for the choice of Parzen's sigma: of 60,000 the last 10,000, as in
    2014. The reference is the test split; where there is none, the other five sixths are split at random into
    reference and stand-ins. Raises DataError for images of other colours, or too few of them.
    """
    height, width, channels = image_shape
    train = np.asarray(load_images(source, size=(height, width)).images)
    if train.shape[3] != channels:
        raise DataError(f"{source} has images of {train.shape[3]} colour channels, the run makes {channels}")
    sixth = len(train) // 6
    held_out = source.partition(":")[0] in WITH_TEST_SPLIT
    if held_out:
        reference = _shuffled(np.asarray(load_images(source, "test", (height, width)).images), seed)
        stand_in, validation = _shuffled(train[: len(train) - sixth], seed), train[len(train) - sixth :]
    else:
        mixed = _shuffled(train, seed)
        validation, (reference, stand_in) = mixed[:sixth], np.array_split(mixed[sixth:], 2)
    count = min(count, len(reference), len(stand_in))
    if count < FEWEST:
        raise DataError(f"{source}: {len(train)} images are too few to score samples with: {count} to compare with")
    kind = "test images of" if held_out else "training images (there is no test split) of"
    return Real(
        reference=wrap(reference[:count]),
        validation=wrap(validation),
        stand_in=wrap(stand_in[:count]),
        training=wrap(training_part(train)),
        held_out=held_out,
        words=f"{count} {kind} {source}",
    )


def _shuffled(images: np.ndarray, seed: int) -> np.ndarray:
    return images[stream(seed, Purpose.SHUFFLE).permutation(len(images))]
