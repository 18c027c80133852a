r"""Classifier score: are the samples clearly of one class each, and of all classes together?

.. math:: \exp\Big( \frac1N \sum_n \mathrm{KL}\big(p(y | x_n) \,\|\, p(y)\big) \Big), \qquad
          p(y) = \frac1N \sum_n p(y | x_n)

between 1 (all samples look alike to the classifier) and the number of classes. Salimans et al. 2016 ("Improved
Techniques for Training GANs", section 4) proposed it with Inception-v3 as the "Inception score"; they give mean and
standard deviation over ten parts of the samples, and so does this. With another network it is another number:
give the network's name with it.

Weakness: it never looks at real images. One perfect image of each class is the best that it can imagine, so variety
within a class, and copying, go unseen. It finds classes in noise, because a classifier has to answer; and it is
biased downwards in small parts. The histogram beside it shows which classes are missing.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from minigan.backend import array_module, to_host
from minigan.typing import Array


class ClassifierScore(NamedTuple):
    mean: float  # over the parts
    std: float  # between the parts


def classifier_score(logits: Array, splits: int = 10) -> ClassifierScore:
    """Mean and standard deviation over `splits` consecutive parts.

    Parameters: logits (N, K), what the classifier gives before its softmax. Computed in float64, a part at
    a time, in five arrays (N/splits, K). Raises ValueError where a part would be empty or logits are not finite.
    """
    xp = array_module(logits)
    if not 1 <= splits <= len(logits):
        raise ValueError(f"{len(logits)} samples cannot be split into {splits} parts")
    if not bool(xp.isfinite(logits).all()):
        raise ValueError("there are logits that are not finite numbers (NaN or infinity)")
    ends = [len(logits) * part // splits for part in range(splits + 1)]
    scores = [_score(log_softmax(logits[start:stop])) for start, stop in itertools.pairwise(ends)]
    return ClassifierScore(float(np.mean(scores)), float(np.std(scores)))


def _score(log_p: Array) -> float:
    xp = array_module(log_p)
    p = xp.exp(log_p)  # (N, K)
    marginal = xp.log(xp.maximum(p.mean(axis=0), 1e-300))  # (K,)  a class without any p counts 0 below
    divergences = (p * (log_p - marginal)).sum(axis=1)  # (N,)
    return math.exp(float(divergences.mean()))


def log_softmax(logits: Array) -> Array:
    """log p (N, K), float64; the largest logit is subtracted first."""
    xp = array_module(logits)
    shifted = logits.astype("float64") - logits.max(axis=1, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))


def class_histogram(logits: Array) -> np.ndarray:
    """How many samples are likeliest of each class: (K,) integers on the host.

    Weakness: the classifier has to name something, so noise has a class too, and what a class looks like is not seen.
    """
    return np.bincount(to_host(logits.argmax(axis=1)), minlength=logits.shape[1])


def entropy(counts: np.ndarray) -> float:
    r"""Of a histogram, in nats: :math:`-\sum_k q_k \log q_k`, at most log K; its exp: how many are in use.

    Shannon 1948, section 6. Weakness: it says how evenly classes occur, nothing of the variety within one.
    """
    q = counts[counts > 0] / counts.sum()
    return float((q * -np.log(q)).sum())
