"""What scores are computed from: the samples, and the real images that they are compared with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from minigan import typing
from minigan.backend import Device
from minigan.data.resize import MEMORY
from minigan.data.sources import Dataset, has_test_split, load_images
from minigan.errors import DataError
from minigan.evaluation.classifier import load_classifier
from minigan.evaluation.modes import StackedClassifier
from minigan.evaluation.network import Network
from minigan.evaluation.parzen import VALIDATION
from minigan.randomness import Purpose, stream
from minigan.typing import Array, Shape

FEWEST = 20  # real images in a set, so that every score has its neighbours and its parts
CLASSIFIERS = {
    "mnist5k": "classifier-mnist", "mnist": "classifier-mnist", "stacked": "classifier-mnist",
    "fashion": "classifier-fashion",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Images:
    """A set of images (N, H, W, C) of bytes on the host, and what the classifier sees in them."""

    pixels: typing.Images
    device: Device
    classifier: Network | None = None
    labels: np.ndarray | None = None  # (N,), the class of each, for a sample the one that G was told; None: not known

    @cached_property
    def there(self) -> Array:
        """The bytes on the device; scores count them as numbers in [0, 1]."""
        return self.device.put(np.asarray(self.pixels))

    @property
    def names_the_data(self) -> bool:
        """Whether there is a classifier, and its classes are those of the data."""
        return self.classifier is not None and self.classifier.names_the_data

    @cached_property
    def _seen(self) -> tuple[Array, Array]:
        assert self.classifier is not None
        return self.classifier.look(np.asarray(self.pixels))

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
    training: Images  # what G has learnt from, or could have
    held_out: bool  # whether the reference was
    words: str  # what the reference is, for people


def classifier_name(source: str, image_shape: Shape) -> str | None:
    """The shipped classifier that knows the classes of this data source, if there is one."""
    channels = 3 if is_stacked(source) else 1
    return CLASSIFIERS.get(source.partition(":")[0]) if image_shape[2] == channels else None


def is_stacked(source: str) -> bool:
    """Whether the colours of the images are digits of their own."""
    return source.partition(":")[0] == "stacked"


def are_photographs(source: str, image_shape: Shape) -> bool:
    """Whether the images are coloured as photographs are, so that a network for these can look at them."""
    return image_shape[2] == 3 and not is_stacked(source)


def wrapper(
    source: str, image_shape: Shape, device: Device, general: Network | None = None
) -> Callable[[typing.Images], Images]:
    """What turns pixels of this source, or samples like them, into material on a device.

    `general` looks at images whose classes no shipped classifier knows; without it they are pixels.
    """
    name = classifier_name(source, image_shape)
    if name is None:
        return lambda pixels: Images(pixels, device, general)
    network = load_classifier(name, device)
    if is_stacked(source):
        network = StackedClassifier(network.name, network.theta, network.device)
    return lambda pixels: Images(pixels, device, network)


def load_real(
    source: str,
    image_shape: Shape,
    training_part: Callable[[typing.Images], typing.Images],
    count: int,
    seed: int,
    wrap: Callable[[typing.Images], Images],
    memory: float = MEMORY,
    learnt_from: bool = True,
) -> Real:
    """Load images of one shape (H, W, C), and `choose_real` ones. Raises DataError for images of other colours.

    memory, bytes: images that take more are not kept but made from their files when they are needed; learnt_from:
    whether the run has been trained on this source.
    """
    height, width, channels = image_shape
    data = load_images(source, size=(height, width), memory=memory)
    if data.images.shape[3] != channels:
        raise DataError(f"{source} has images of {data.images.shape[3]} colour channels, the run makes {channels}")
    return choose_real(source, data, training_part, count, seed, wrap, learnt_from)


def choose_real(
    source: str,
    data: Dataset,
    training_part: Callable[[typing.Images], typing.Images],
    count: int,
    seed: int,
    wrap: Callable[[typing.Images], Images],
    learnt_from: bool = True,
) -> Real:
    """Of the images of a source, at most `count` to compare with and as many stand-ins, with their classes.

    A sixth of them is set aside for the choice of Parzen's sigma: of 60,000 the last 10,000, as in 2014. The
    reference is the test split; where there is none, the other five sixths are split at random into reference and
    stand-ins. Raises DataError for too few images.
    """
    images = data.images
    rest = len(images) - len(images) // 6
    held_out = has_test_split(source)
    if held_out:
        unseen = load_images(source, "test", (images.shape[1], images.shape[2]))
        reference, stand_in = _mixed(len(unseen.images), seed), _mixed(rest, seed)
        validation = np.arange(rest, len(images))
    else:
        unseen, mixed = data, _mixed(len(images), seed)
        validation, (reference, stand_in) = mixed[: len(images) - rest], np.array_split(mixed[len(images) - rest :], 2)
    count = min(count, len(reference), len(stand_in))
    if count < FEWEST:
        raise DataError(f"{source}: {len(images)} images are too few to score samples with: {count} to compare with")
    kind = "test images" if held_out else "training images" if learnt_from else "images"
    split = "" if held_out else " (there is no test split)"

    def chosen(those: Dataset, indices: np.ndarray) -> Images:
        labels = None if those.labels is None else those.labels[indices]
        return replace(wrap(those.images[indices]), labels=labels)

    return Real(
        reference=chosen(unseen, reference[:count]),
        validation=wrap(images[validation[:VALIDATION]]),
        stand_in=chosen(data, stand_in[:count]),
        training=wrap(training_part(images)),
        held_out=held_out,
        words=f"{count} {kind}{split} of {source}",
    )


def told_classes(classes: int, real: Real, count: int) -> np.ndarray | None:
    """(count,): the classes that G is told for samples, each as often as among the real images that they are compared
    with; 0, 1, ... in turn where those are not known, or not all G's. None for a G that is told of no classes."""
    if not classes:
        return None
    labels = real.reference.labels
    if labels is None or labels.max() >= classes:
        return np.arange(count) % classes
    return labels[np.arange(count) % len(labels)].astype(np.int64)


def _mixed(count: int, seed: int) -> np.ndarray:
    """The numbers of `count` images in random order."""
    return stream(seed, Purpose.SHUFFLE).permutation(count)
