r"""Batch normalisation of a batch that lies in equal parts in several processes (docs/parallel.md).

Each process calls these functions with its own part, all of them at the same time. The n rows of one of P
processes are measured where they are, and only the measurements travel: 2 C numbers each way.
"""

from collections.abc import Callable
from typing import TypeAlias

from minigan.backend import array_module
from minigan.functional.batchnorm import BatchNormCache
from minigan.functional.sums import mean_rows, sum_rows
from minigan.typing import Array

# One array of each process, of one shape, stacked in the order of the processes: (...) -> (P, ...).
Gather: TypeAlias = Callable[[Array], Array]


def merge_moments(part: tuple[int, Array, Array], gather: Gather) -> tuple[int, Array, Array]:
    r"""Count, mean and sum of squared distances M from it, of all parts together (Chan, Golub & LeVeque 1979).

    .. math:: R = P n, \qquad \mu = \tfrac1P \sum_p \mu_p, \qquad M = \sum_p M_p + n \sum_p (\mu_p - \mu)^2

    Parameters: n, mean (C,), M (C,) of this process's part; n is the same in all of them.
    Returns R, mean (C,), M (C,).
    """
    count, mean, spread = part
    gathered = gather(array_module(mean).stack([mean, spread]))  # (P, 2, C)
    means, spreads = gathered[:, 0], gathered[:, 1]  # (P, C)
    mean = means.mean(axis=0)  # (C,)
    apart = means - mean  # (P, C)
    return count * len(gathered), mean, spreads.sum(axis=0) + count * (apart * apart).sum(axis=0)


def sync_batchnorm(x: Array, gamma: Array, beta: Array, eps: float, gather: Gather) -> tuple[Array, BatchNormCache]:
    r"""Normalise this process's part by the statistics of the whole batch; see functional.batchnorm.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \qquad \sigma^2 = M / R

    Parameters: x (..., C), n rows; gamma, beta (C,). Returns y (..., C) and what backward needs, with the mean,
    the variance and R of the whole batch. Two processes have two rows at least, so there is always a variance.
    """
    xp = array_module(x)
    rows = x.reshape(-1, x.shape[-1])  # (n, C)
    local = mean_rows(rows)  # (C,)
    centred = rows - local  # (n, C)
    samples, mean, spread = merge_moments((len(rows), local, sum_rows(centred * centred)), gather)
    var = spread / samples  # (C,)
    inv_std = 1 / xp.sqrt(var + eps)  # (C,)
    x_hat = (rows - mean) * inv_std  # (n, C)
    y = gamma * x_hat + beta  # (n, C)
    return y.reshape(x.shape), BatchNormCache(x_hat, inv_std, mean, var, samples)


def sync_batchnorm_backward(
    dy: Array, gamma: Array, cache: BatchNormCache, gather: Gather
) -> tuple[Array, Array, Array]:
    r"""Gradients with respect to this process's part of x, and this process's share of those of gamma and beta.

    The two sums in dx go over the whole batch, since every row has moved the mean and the variance:

    .. math:: dx = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}
              \Big(dy - \tfrac1R \sum_p d\beta_p - \tfrac1R\, \hat x \sum_p d\gamma_p\Big)

    dgamma and dbeta stay apart: they are summed with the gradients of all other parameters.

    Parameters: dy (..., C); gamma (C,). Returns dx (..., C), dgamma (C,), dbeta (C,).
    """
    drows = dy.reshape(-1, dy.shape[-1])  # (n, C)
    dbeta = sum_rows(drows)  # (C,)
    dgamma = sum_rows(drows * cache.x_hat)  # (C,)
    sums = gather(array_module(dy).stack([dgamma, dbeta])).sum(axis=0)  # (2, C)
    dx = gamma * cache.inv_std * (drows - (sums[1] + cache.x_hat * sums[0]) / cache.samples)  # (n, C)
    return dx.reshape(dy.shape), dgamma, dbeta
