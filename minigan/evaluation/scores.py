"""All scores of a generator of images by name: which numbers each gives, and what it looks through.

Every number comes with the space that it was measured in (``pixels``, or the name of a classifier), because without
it the number means nothing; and with what real images get in place of the samples, because no score has a
best value that finite sets reach.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minigan.backend import to_host
from minigan.evaluation.classifier_score import class_histogram, classifier_score, entropy
from minigan.evaluation.frechet import frechet_distance, moments
from minigan.evaluation.material import Images, Real, classifier_name, is_stacked
from minigan.evaluation.modes import stacked_modes
from minigan.evaluation.neighbours import density_coverage, nearest, precision_recall, two_sample_accuracy
from minigan.evaluation.parzen import parzen_score
from minigan.typing import Array, Shape

PIXELS = "pixels"
COPIES = 1000  # images whose nearest training image is looked up
PART = 1 << 26  # bytes of training images that are looked through at a time


class Value(NamedTuple):
    name: str
    value: float
    error: float | None = None
    better: str = ""  # "higher", "lower", or the best value


class Row(NamedTuple):
    """A number of the table."""

    metric: str
    score: str
    value: float
    error: float | None
    real: float | None  # for real images in the samples' place
    real_error: float | None
    better: str
    space: str  # what it looks at


@dataclass(frozen=True)
class Metric:
    compute: Callable[[Images, Real], list[Value]]
    needs_classifier: bool = False
    in_pixels: bool = False  # always, also where there is a classifier
    stacked: bool | None = None  # only for stacked digits, or not for them
    logged: bool = True  # during training too: cheap, and without the training images
    told: bool = False  # only for a G that is told of classes


def compute(name: str, samples: Images, real: Real) -> list[Row]:
    """The numbers of a metric, each beside that of real images in the samples' place."""
    metric = METRICS[name]
    space = PIXELS if metric.in_pixels or samples.classifier is None else samples.classifier.name
    stand_in = _stand_in(name, real)
    mine = metric.compute(samples, real)
    theirs = [None] * len(mine) if stand_in is None else metric.compute(stand_in, real)
    return [
        Row(name, a.name, a.value, a.error, b and b.value, b and b.error, a.better, space)
        for a, b in zip(mine, theirs, strict=True)
    ]


def possible_metrics(source: str, image_shape: Shape, general: bool = False, told: bool = False) -> list[str]:
    """The metrics that make sense for images of this source and shape, with a `general` network or without.

    told: whether G is told of the classes, and they are known of the real images.
    """
    named, stacked = classifier_name(source, image_shape) is not None, is_stacked(source)
    return [
        name
        for name, metric in METRICS.items()
        if (named or (general and not metric.told) or not metric.needs_classifier)
        and metric.stacked in (None, stacked)
        and (told or not metric.told)
    ]


def _stand_in(name: str, real: Real) -> Images | None:
    """The real images in the samples' place; training images would be their own nearest."""
    if name == "copies":
        return real.reference if real.held_out else None
    return real.stand_in


def _parzen(samples: Images, real: Real) -> list[Value]:
    score = parzen_score(samples.there, real.validation.there, real.reference.there)
    return [
        Value("Parzen log-likelihood", score.log_likelihood, score.standard_error, "higher"),
        Value("... with sigma", score.sigma),
    ]


def _classifier(samples: Images, _: Real) -> list[Value]:
    mean, std = classifier_score(samples.logits)
    score = Value("classifier score", mean, std, "higher")
    if not samples.names_the_data:
        return [score]  # cats that look like a few more of ImageNet's classes are no better cats
    counts = class_histogram(samples.logits)
    return [
        score,
        Value("classes seen", int((counts > 0).sum()), better="higher"),
        Value("entropy of classes", entropy(counts), better="higher"),
    ]


def _modes(samples: Images, _: Real) -> list[Value]:
    report = stacked_modes(samples.logits)
    return [
        Value(f"modes covered of {len(report.counts)}", report.covered, better="higher"),
        Value("reverse KL of modes", report.reverse_kl, better="lower"),
    ]


def _frechet(samples: Images, real: Real) -> list[Value]:
    distance = frechet_distance(moments(samples.features), moments(real.reference.features))
    return [Value("Fréchet distance", distance, better="lower")]


def _precision_recall(samples: Images, real: Real) -> list[Value]:
    found = precision_recall(*_equally_many(samples, real))
    return [Value("precision", found.precision, better="higher"), Value("recall", found.recall, better="higher")]


def _density_coverage(samples: Images, real: Real) -> list[Value]:
    found = density_coverage(*_equally_many(samples, real))
    return [Value("density", found.density, better="higher"), Value("coverage", found.coverage, better="higher")]


def _two_sample(samples: Images, real: Real) -> list[Value]:
    found = two_sample_accuracy(*_equally_many(samples, real))
    names = ("two-sample accuracy", "... on real images", "... on samples")
    return [Value(name, value, better="0.5") for name, value in zip(names, found, strict=True)]


def _class_accuracy(samples: Images, _: Real) -> list[Value]:
    """Share of the samples in which the classifier sees the class that G was told."""
    assert samples.labels is not None
    right = to_host(samples.logits).argmax(axis=1) == samples.labels
    return [Value("in the class that was told", float(right.mean()), better="higher")]


def _nearest_neighbour(samples: Images, real: Real) -> list[Value]:
    """How often a real image is not of the class that G was told for the sample nearest to it in pixels: the error of a
    nearest-neighbour classifier with G's samples as its training set (Radford et al. 2016, in their code)."""
    assert samples.labels is not None
    assert real.reference.labels is not None
    found = nearest(real.reference.there, samples.there)
    wrong = samples.labels[to_host(found.index)] != real.reference.labels
    return [Value("error of nearest neighbours", float(wrong.mean()), better="lower")]


def _copies(samples: Images, real: Real) -> list[Value]:
    distances, _ = _nearest_training(samples, real)
    values = [Value("distance to training images", float(distances.mean()), better="as real")]
    if real.held_out:
        near = np.quantile(_nearest_training(real.reference, real)[0], 0.01)
        values.append(Value("nearer than 99 % of real", float((distances < near).mean()), better="0.01"))
    return values


METRICS = {
    "parzen": Metric(_parzen, in_pixels=True),
    "classifier-score": Metric(_classifier, needs_classifier=True, stacked=False),
    "modes": Metric(_modes, needs_classifier=True, stacked=True),
    "frechet": Metric(_frechet, needs_classifier=True),
    "precision-recall": Metric(_precision_recall),
    "density-coverage": Metric(_density_coverage),
    "two-sample": Metric(_two_sample, logged=False),
    "copies": Metric(_copies, in_pixels=True, logged=False),
    "class-accuracy": Metric(_class_accuracy, needs_classifier=True, stacked=False, told=True),
    "nearest-neighbour": Metric(_nearest_neighbour, in_pixels=True, logged=False, told=True),
}


def neighbour_rows(samples: Images, real: Real, count: int) -> np.ndarray:
    """Four rows of `count` images, (4 count, H, W, C): the first samples, the training images nearest to them;
    then the samples that are nearest to a training image, and these."""
    distances, index = _nearest_training(samples, real)
    rows = []
    for chosen in (slice(count), np.argsort(distances, kind="stable")[:count]):
        rows += [samples.pixels[chosen], real.training.pixels[index[chosen]]]
    return np.concatenate(rows)


def _equally_many(samples: Images, real: Real) -> tuple[Array, Array]:
    """As many real images as samples: what most scores by neighbours are defined for."""
    count = min(len(samples.pixels), len(real.reference.pixels))
    return real.reference.features[:count], samples.features[:count]


def _nearest_training(images: Images, real: Real) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square difference a pixel to the nearest training image, and which one, of the first images.

    Training images come in parts: there may be more of them than memory holds.
    """
    points, training = images.there[:COPIES], real.training.pixels
    squared, index = np.full(len(points), np.inf), np.zeros(len(points), np.int64)
    part = max(1, PART // math.prod(training.shape[1:]))
    for start in range(0, len(training), part):
        found = nearest(points, images.device.put(np.asarray(training[start : start + part])))
        distances = to_host(found.squared)
        closer = distances < squared
        squared[closer], index[closer] = distances[closer], start + to_host(found.index)[closer]
    return np.sqrt(squared / images.pixels[0].size), index
