r"""Fréchet distance of two Gaussians fitted to features (Heusel et al. 2017, eq. 6; Dowson & Landau 1982).

.. math:: d^2 = \lVert \mu_a - \mu_b \rVert^2
          + \mathrm{tr}\big(A + B - 2\,(A B)^{1/2}\big)

for the means and covariances of the features of real and of generated images; 0 is best.

Which features is half of the score. With those of Inception-v3 on ImageNet at 299 x 299 pixels it is called FID, and
nothing else is: a distance in the feature space of a digit classifier is another number, and is to be given
with that network's name. Compare it only with numbers of the same network and the same N.

Weakness: it is biased upwards, more so for fewer samples (Binkowski et al. 2018; Chong & Forsyth 2020), so that two
sets of real images are not at 0; it sees means and covariances only, as if features were Gaussian; it does not
tell missing variety from bad images; and a generator that copies the training set is perfect.
"""

from typing import NamedTuple

import numpy as np

from minigan.backend import array_module, to_host
from minigan.evaluation.distances import ROWS, check_points, numbers, parts
from minigan.typing import Array


class Moments(NamedTuple):
    mean: Array  # (D,) float64
    covariance: Array  # (D, D) float64, unbiased (N - 1)


def moments(features: Array) -> Moments:
    """Mean and covariance of features (N, D), in blocks: three arrays (D, D) and three of 1024 x D beside the features.

    Raises ValueError for fewer than 2 samples, or features that are not finite.
    """
    check_points(features)
    if len(features) < 2:
        raise ValueError("one sample has no covariance: at least 2 are needed")
    xp = array_module(features)
    mean = sum(numbers(features[rows]).sum(axis=0) for rows in parts(len(features), ROWS)) / len(features)  # (D,)
    scatter = xp.zeros((len(mean), len(mean)), dtype="float64")
    for rows in parts(len(features), ROWS):
        centred = numbers(features[rows]) - mean  # (B, D)
        scatter += centred.T @ centred
    return Moments(mean, scatter / (len(features) - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    r"""The squared distance :math:`d^2` of the formula above, as is usual (for FID too).

    :math:`AB` is not symmetric, but has the eigenvalues of :math:`A^{1/2} B A^{1/2}`, which is. So only
    symmetric eigenvalue problems are solved, which cannot give complex numbers, and

    .. math:: \mathrm{tr}\big((AB)^{1/2}\big) = \sum_i \sqrt{\lambda_i}, \qquad
              \lambda = \mathrm{eig}\big(A^{1/2} B A^{1/2}\big) \ge 0

    where rounding may make zeros negative; they count as 0. All of this is done by NumPy, also for moments on a GPU:
    they are small, and cuSOLVER would be needed there.
    Raises ValueError for features of different number.
    """
    (mean_a, covariance_a), (mean_b, covariance_b) = map(_on_the_host, (a, b))
    if mean_a.shape != mean_b.shape:
        raise ValueError(f"features of different number: {len(mean_a)} and {len(mean_b)}")
    root = _root(covariance_a)
    eigenvalues = np.linalg.eigvalsh(root @ covariance_b @ root)
    difference = mean_a - mean_b
    traces = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum()
    return float(difference @ difference + traces)


def _on_the_host(these: Moments) -> Moments:
    return Moments(*map(to_host, these))


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root, V sqrt(lambda) V^T."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    root: np.ndarray = (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T
    return root
