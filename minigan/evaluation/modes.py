r"""Counting modes where they are known: Gaussians on a ring or a grid, and stacked digits.

A generator that draws one thing well fools D for a while and misses the rest of the data (mode collapse). On data
whose modes are known they can simply be counted:

* covered: modes that are the nearest to at least one high-quality sample (all samples, for stacked digits);
* high quality: share of the samples within 3 standard deviations of the nearest mode (Srivastava et al.
  2017, "VEEGAN", section 4.1); Azadi et al. 2019 ("Discriminator Rejection Sampling") take 4. Even a perfect generator
  has only 1 - exp(-9/2) = 98.9 % of its samples within 3 in the plane, and 99.97 % within 4;
* reverse KL: with q the shares of the modes among the samples, p those in the data (uniform here),

.. math:: \mathrm{KL}(q \,\|\, p) = \sum_k q_k \log \frac{q_k}{p_k} \quad \text{nats, 0 is best}

Weakness: a mode counts as covered by a single sample, and nothing is said about the shape inside a mode. The
reverse KL is biased upwards: N perfect samples of K modes have about (K - 1) / (2N) if N is much larger than K
(26,000 samples of 1,000 modes: 0.019). What is counted on toy data need not hold for images.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minigan.backend import to_host
from minigan.evaluation.classifier import Classifier
from minigan.evaluation.classifier_score import class_histogram
from minigan.evaluation.neighbours import nearest
from minigan.typing import Array

RING_STD = 0.02
GRID_STD = 0.05


class ModeReport(NamedTuple):
    counts: np.ndarray  # (K,) samples whose nearest mode, or class, it is
    covered: int  # modes, of K
    high_quality: float  # share of the samples; 1 for stacked digits, where a classifier always answers
    reverse_kl: float  # nats, against equal shares


def ring(modes: int = 8, radius: float = 2.0) -> np.ndarray:
    r"""Centres on a circle, (modes, 2): :math:`r (\cos \frac{2\pi k}{K}, \sin \frac{2\pi k}{K})`, k = 0 ... K - 1.

    With `RING_STD` this is the ring of Metz et al. 2017 ("Unrolled GANs", appendix A). The angle 2 pi is the angle 0: a
    linspace(0, 2 pi, 8) that counts both ends has only seven modes, one of them twice.
    """
    angles = np.linspace(0, 2 * math.pi, modes, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def grid(side: int = 5, spacing: float = 2.0) -> np.ndarray:
    """Centres on a square grid around 0, (side^2, 2); with `GRID_STD` the 25 of Lin et al. 2018 ("PacGAN")."""
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


def draw_gaussians(centres: np.ndarray, std: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points (count, 2) float32 of the mixture, every mode equally likely."""
    chosen = centres[rng.integers(0, len(centres), count)]
    return (chosen + std * rng.standard_normal(chosen.shape)).astype(np.float32)


def gaussian_modes(points: Array, centres: Array, std: float, within: float = 3.0) -> ModeReport:
    """Which of the Gaussians around `centres` (K, 2) the points (N, 2) come from.

    A point is of high quality `within` so many standard deviations of its nearest centre.
    Raises ValueError for points that are not finite or of another dimension than the centres.
    """
    found = nearest(points, centres)
    index = to_host(found.index)
    good = to_host(found.squared) <= (within * std) ** 2
    counts = np.bincount(index, minlength=len(centres))
    return ModeReport(counts, len(np.unique(index[good])), float(good.mean()), reverse_kl(counts))


def reverse_kl(counts: np.ndarray, expected: np.ndarray | None = None) -> float:
    """KL(q || p) in nats of the shares in `counts` (K,) from those in `expected` (K,), without it from equal ones.

    Infinite where something was counted that is never expected.
    """
    q = counts / counts.sum()
    p = np.full(len(counts), 1 / len(counts)) if expected is None else expected / expected.sum()
    seen = q > 0
    if (p[seen] == 0).any():
        return math.inf
    return float((q[seen] * np.log(q[seen] / p[seen])).sum())


@dataclass(frozen=True)
class StackedClassifier(Classifier):
    r"""A digit classifier that reads each colour of stacked digits (`minigan.data.stacked`) by itself.

    Three digits a, b, c are of class 100 a + 10 b + c. Its probability is the product of those of the digits, so

    .. math:: \text{logit}_{100a + 10b + c} = \text{red}_a + \text{green}_b + \text{blue}_c
    """

    def look(self, images: np.ndarray) -> tuple[Array, Array]:
        """Features (N, 3 x 128) and logits (N, 1000) of images (N, 28, 28, 3) of bytes: 4 KB an image."""
        read = super().look
        features, logits = zip(*(read(images[..., c : c + 1]) for c in range(3)), strict=True)
        red, green, blue = logits  # (N, 10) each
        together = red[:, :, None, None] + green[:, None, :, None] + blue[:, None, None, :]  # (N, 10, 10, 10)
        return self.device.xp.concatenate(features, axis=1), together.reshape(len(images), -1)


def stacked_modes(logits: Array) -> ModeReport:
    """Which modes samples show to a `StackedClassifier` that gives them these logits (N, 1000)."""
    counts = class_histogram(logits)
    return ModeReport(counts, int((counts > 0).sum()), 1.0, reverse_kl(counts))
