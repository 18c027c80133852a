r"""Parzen window log-likelihood: the score of the first GAN paper (Goodfellow et al. 2014, section 5).

G gives samples but no density, so one is put around the samples, a small Gaussian on each
(Breuleux, Bengio & Vincent 2011), and the test images are scored under that:

.. math:: \log p(x) = \log \frac1M \sum_{m=1}^M
          \exp\Big(-\frac{\lVert x - \mu_m \rVert^2}{2\sigma^2}\Big) - D \log\big(\sigma \sqrt{2\pi}\big)

in nats an image, for images in [0, 1]^D.

The protocol is that of the paper's code (github.com/goodfeli/adversarial, parzen_ll.py): M = 10,000 samples;
sigma is, of the ten values logspace(-1, 0, 10), that with the largest mean on the first 1,000 of 10,000
validation images; the result is the mean over the 10,000 test images, with its standard error std / sqrt(N). The
paper reports 225 +- 2 for MNIST. It takes 10 s on one core: 10,000 x 10,000 distances in 784 dimensions, and the
10 x 1,000 x 10,000 of the choice.

Weakness: in 784 dimensions 10,000 samples are nearly nothing, and the score says little about the model. Theis,
van den Oord & Bethge 2016 ("A note on the evaluation of generative models") show that already in patches of 6 x 6
pixels it stays far from the true likelihood even with millions of samples, and that on MNIST real training images
score 243 (table 1; this code finds 241.9 +- 2.1), less than the centres of a k-means clustering (313), which nobody
would call better. It also rewards blurred images, sees no copying, and depends on sigma's grid. Use it to compare
with 2014.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minigan.backend import array_module, to_host
from minigan.evaluation.distances import check_points, distance_blocks
from minigan.typing import Array

SIGMAS = tuple(np.logspace(-1, 0, 10).tolist())
VALIDATION = 1000  # images that choose sigma


class ParzenScore(NamedTuple):
    log_likelihood: float  # mean over the test images, nats an image
    standard_error: float  # of that mean
    sigma: float  # the one chosen
    validation: tuple[float, ...]  # the mean log-likelihood for each of the sigmas


def parzen_score(samples: Array, validation: Array, test: Array, sigmas: Sequence[float] = SIGMAS) -> ParzenScore:
    """Choose sigma on the first 1,000 validation images, then score the test images.

    Parameters: samples (M, ...), validation (V, ...) and test (N, ...) with pixels in [0, 1]. Raises ValueError for
    points that are not finite or not of one size.
    """
    means = log_densities(validation[:VALIDATION], samples, sigmas).mean(axis=1)  # (S,)
    sigma = sigmas[int(means.argmax())]
    (scores,) = log_densities(test, samples, [sigma])  # (N,)
    return ParzenScore(scores.mean().item(), scores.std().item() / math.sqrt(len(test)), sigma, tuple(means.tolist()))


def log_densities(points: Array, samples: Array, sigmas: Sequence[float]) -> np.ndarray:
    """log p of each point under Gaussians on the samples: (S, N) float64 on the host, a row for each sigma.

    A running logsumexp over blocks of samples, in which all sigmas share the distances; at most 160 MiB beside the
    arguments (see `distances`). Raises ValueError as `parzen_score` does.
    """
    check_points(points, samples)
    xp = array_module(points, samples)
    nearest = xp.full(len(points), xp.inf, dtype="float64")  # (N,)  the smallest squared distance so far
    sums = xp.zeros((len(sigmas), len(points)), dtype="float64")  # of exp(-(distance - nearest) / (2 sigma^2))
    for rows, _, distances in distance_blocks(points, samples):  # (B, C)
        closer = xp.minimum(nearest[rows], distances.min(axis=1))  # (B,)
        distances -= closer[:, None]
        for index, sigma in enumerate(sigmas):
            scale = -1 / (2 * sigma**2)
            sums[index, rows] *= xp.exp(scale * (nearest[rows] - closer))
            sums[index, rows] += xp.exp(scale * distances).sum(axis=1)
        nearest[rows] = closer
    dimension = points[0].size
    log_p = [
        xp.log(sums[index] / len(samples)) - nearest / (2 * sigma**2) - dimension / 2 * math.log(2 * math.pi * sigma**2)
        for index, sigma in enumerate(sigmas)
    ]
    return to_host(xp.stack(log_p))
