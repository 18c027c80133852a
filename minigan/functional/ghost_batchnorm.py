r"""Batch normalisation of several batches that lie one after the other in one array, each by its own statistics.

With two parts a discriminator takes real and generated samples at once and computes what it would for each alone. The
same with any number of parts is known as ghost batch normalisation (Hoffer, Hubara & Soudry 2017, Algorithm 1).
A rectifier may stand behind it, as in functional.batchnorm_leaky; slope 1 leaves it out.
"""

from typing import NamedTuple

from minigan.backend import array_module
from minigan.functional.batchnorm import update_running_statistics
from minigan.functional.batchnorm_leaky import BatchNormLeakyCache, batchnorm_leaky, batchnorm_leaky_backward
from minigan.typing import Array


class GhostBatchNormCache(NamedTuple):
    parts: tuple[BatchNormLeakyCache, ...]  # one of each part


def ghost_batchnorm(
    x: Array, gamma: Array, beta: Array, eps: float, slope: float, parts: int
) -> tuple[Array, GhostBatchNormCache]:
    r"""Normalise each of P equal parts by its own mean and variance, then rectify.

    .. math:: y_r = f(\gamma\, \hat x_r + \beta), \qquad
              \hat x_r = \frac{x_r - \mu_p}{\sqrt{\sigma_p^2 + \epsilon}} \quad \text{for rows } r \text{ of part } p

    Parameters: x (N, ..., C), the first N/P samples of which are the first part; gamma, beta (C,); slope s >= 0.
    Returns y (N, ..., C) and what backward needs. Raises ValueError if N is no multiple of P, or if a part has one
    row only, which has no variance.
    """
    forward = [batchnorm_leaky(part, gamma, beta, eps, slope) for part in split(x, parts)]
    outputs, caches = zip(*forward, strict=True)
    return array_module(x).concatenate(outputs), GhostBatchNormCache(caches)


def ghost_batchnorm_backward(
    dy: Array, gamma: Array, cache: GhostBatchNormCache, slope: float
) -> tuple[Array, Array, Array]:
    r"""Gradients with respect to x, gamma and beta, which all parts share; no part moves the statistics of another.

    .. math:: d\beta = \sum_p d\beta_p, \qquad d\gamma = \sum_p d\gamma_p

    Parameters: dy (N, ..., C); gamma (C,). Returns dx (N, ..., C), dgamma (C,), dbeta (C,).
    """
    pieces = zip(split(dy, len(cache.parts)), cache.parts, strict=True)
    backward = [batchnorm_leaky_backward(part, gamma, one, slope) for part, one in pieces]
    dx, dgamma, dbeta = zip(*backward, strict=True)
    return array_module(dy).concatenate(dx), sum(dgamma), sum(dbeta)


def update_ghost_statistics(mean: Array, var: Array, cache: GhostBatchNormCache, momentum: float) -> None:
    """Move the running statistics towards those of one part after the other, in place: see `update_running_statistics`.

    Parameters: mean, var (C,), changed in place.
    """
    for part in cache.parts:
        update_running_statistics(mean, var, part.norm, momentum)


def split(x: Array, parts: int) -> list[Array]:
    """Views of the P parts of (N, ...). Raises ValueError if N is no multiple of P."""
    size, rest = divmod(len(x), parts)
    if rest or not size:
        raise ValueError(f"{len(x)} samples do not make {parts} equal parts")
    return [x[start : start + size] for start in range(0, len(x), size)]
