"""Batch normalisation over the last axis (Ioffe & Szegedy 2015, Algorithms 1 and 2).

One formula serves dense (N, C) and convolutional (N, H, W, C) arrays: everything but the
channel axis is a sample. R is their number, R = N or N*H*W.
"""

from collections.abc import Callable
from typing import NamedTuple

from minigan.backend import array_module
from minigan.functional.sums import mean_rows, sum_rows
from minigan.typing import Array


class BatchNormCache(NamedTuple):
    x_hat: Array  # (R, C)  normalised input
    inv_std: Array  # (C,)  1 / sqrt(var + eps)
    mean: Array  # (C,)     batch mean, for the running statistics
    var: Array  # (C,)      biased batch variance, likewise
    samples: int  # R


class BatchNormInferenceCache(NamedTuple):
    x_hat: Array  # (R, C)  input normalised by the running statistics
    inv_std: Array  # (C,)  1 / sqrt(running var + eps)


def batchnorm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, BatchNormCache]:
    r"""Normalise each channel by its batch statistics, then scale and shift.

    .. math:: y = \gamma \hat x + \beta, \qquad
              \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \quad
              \mu = \tfrac1R \sum_r x_r, \quad \sigma^2 = \tfrac1R \sum_r (x_r - \mu)^2

    Parameters: x (..., C); gamma, beta (C,). Returns y (..., C) and what backward needs.
    Raises ValueError if R < 2: one sample has no variance.
    """
    xp = array_module(x)
    rows = x.reshape(-1, x.shape[-1])  # (R, C)
    if len(rows) < 2:
        raise ValueError(f"batch normalisation needs at least 2 samples a channel, got an input of shape {x.shape}")
    mean = mean_rows(rows)  # (C,)
    centred = rows - mean  # (R, C)
    var = mean_rows(centred * centred)  # (C,)
    inv_std = 1 / xp.sqrt(var + eps)  # (C,)
    x_hat = centred * inv_std  # (R, C)
    y = gamma * x_hat + beta  # (R, C)
    return y.reshape(x.shape), BatchNormCache(x_hat, inv_std, mean, var, len(rows))


def batchnorm_backward(dy: Array, gamma: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    r"""Gradients with respect to x, gamma and beta.

    x reaches the loss by three paths: through x_hat directly, through the mean, and through
    the variance. Collected (derivation: docs/derivations/batchnorm.md):

    .. math:: d\beta = \sum_r dy_r, \qquad d\gamma = \sum_r dy_r\, \hat x_r, \qquad
              dx = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}
                   \Big(dy - \tfrac1R\, d\beta - \tfrac1R\, \hat x\, d\gamma\Big)

    A gradient that is the same for every sample (dy constant over r) therefore gives dx = 0.

    Parameters: dy (..., C); gamma (C,). Returns dx (..., C), dgamma (C,), dbeta (C,).
    """
    drows = dy.reshape(-1, dy.shape[-1])  # (R, C)
    dbeta = sum_rows(drows)  # (C,)
    dgamma = sum_rows(drows * cache.x_hat)  # (C,)
    dx = gamma * cache.inv_std * (drows - (dbeta + cache.x_hat * dgamma) / len(drows))  # (R, C)
    return dx.reshape(dy.shape), dgamma, dbeta


def batchnorm_double_backward(
    ddx: Array, dy: Array, gamma: Array, cache: BatchNormCache, mean: Callable[[Array], Array] = mean_rows
) -> tuple[Array, Array, Array]:
    r"""The adjoint of `batchnorm_backward`'s dx: of ddx, a gradient on dx, those on dy, on x, and on gamma.

    With m for means over r, the symmetric map :math:`P v = v - m(v) - \hat x\, m(\hat x v)` and
    :math:`s = 1/\sqrt{\sigma^2 + \epsilon}`, backward is :math:`dx = \gamma s\, P\, dy`. Both s and P depend on x
    (derivation: docs/derivations/double-backward.md):

    .. math:: ddy = \gamma s\, P\, ddx, \qquad d\gamma = s \sum_r dy_r\, (P\, ddx)_r, \qquad
              dx = -\gamma s^2 \Big(\hat x\, m(dy\, P ddx)
                   + P \big(ddx\, m(\hat x\, dy) + dy\, m(\hat x\, ddx)\big)\Big)

    Parameters: ddx, dy (..., C); gamma (C,); mean, of the rows of all processes where these share the batch. Returns
    ddy (..., C), the gradient on x (..., C), and dgamma (C,).
    """
    u, v = (array.reshape(-1, array.shape[-1]) for array in (ddx, dy))  # (R, C)
    x_hat, inv_std = cache.x_hat, cache.inv_std

    def project(rows: Array) -> Array:
        return rows - mean(rows) - x_hat * mean(rows * x_hat)  # (R, C)

    pu = project(u)  # (R, C)
    ddy = gamma * inv_std * pu  # (R, C)
    dgamma = inv_std * sum_rows(v * pu)  # (C,)
    both = project(u * mean(v * x_hat) + v * mean(u * x_hat))  # (R, C)
    dx = -gamma * inv_std * inv_std * (x_hat * mean(v * pu) + both)  # (R, C)
    return ddy.reshape(dy.shape), dx.reshape(dy.shape), dgamma


def batchnorm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, BatchNormInferenceCache]:
    r"""Normalise by the running statistics, which are constants here (Algorithm 2, line 11).

    .. math:: y = \gamma\, \frac{x - \bar\mu}{\sqrt{\bar\sigma^2 + \epsilon}} + \beta

    Parameters: x (..., C); gamma, beta, mean, var (C,). Returns y (..., C) and the cache.
    """
    xp = array_module(x)
    inv_std = 1 / xp.sqrt(var + eps)  # (C,)
    x_hat = (x.reshape(-1, x.shape[-1]) - mean) * inv_std  # (R, C)
    y = gamma * x_hat + beta  # (R, C)
    return y.reshape(x.shape), BatchNormInferenceCache(x_hat, inv_std)


def batchnorm_inference_backward(dy: Array, gamma: Array, cache: BatchNormInferenceCache) -> tuple[Array, Array, Array]:
    r"""Gradients of the inference form: no statistic depends on x, so only the direct path is left.

    .. math:: dx = \frac{\gamma}{\sqrt{\bar\sigma^2 + \epsilon}}\, dy, \qquad
              d\gamma = \sum_r dy_r\, \hat x_r, \qquad d\beta = \sum_r dy_r

    Parameters: dy (..., C); gamma (C,). Returns dx (..., C), dgamma (C,), dbeta (C,).
    """
    drows = dy.reshape(-1, dy.shape[-1])  # (R, C)
    dbeta = sum_rows(drows)  # (C,)
    dgamma = sum_rows(drows * cache.x_hat)  # (C,)
    return gamma * cache.inv_std * dy, dgamma, dbeta


def batchnorm_inference_double_backward(
    ddx: Array, dy: Array, gamma: Array, cache: BatchNormInferenceCache
) -> tuple[Array, Array]:
    r"""The adjoint of dx = gamma s dy, in which nothing depends on x.

    .. math:: ddy = \frac{\gamma}{\sqrt{\bar\sigma^2 + \epsilon}}\, ddx, \qquad
              d\gamma = \frac{1}{\sqrt{\bar\sigma^2 + \epsilon}} \sum_r dy_r\, ddx_r

    Parameters: ddx, dy (..., C); gamma (C,). Returns ddy (..., C) and dgamma (C,).
    """
    products = (dy * ddx).reshape(-1, dy.shape[-1])  # (R, C)
    return gamma * cache.inv_std * ddx, cache.inv_std * sum_rows(products)


def update_running_statistics(mean: Array, var: Array, cache: BatchNormCache, momentum: float) -> None:
    r"""Move the running statistics towards those of one batch, in place.

    .. math:: \bar\mu \leftarrow (1 - m)\,\bar\mu + m\,\mu, \qquad
              \bar\sigma^2 \leftarrow (1 - m)\,\bar\sigma^2 + m\,\tfrac{R}{R-1}\,\sigma^2

    The variance is made unbiased (Algorithm 2, line 10). momentum m is the weight of the new
    batch, as in PyTorch.

    Parameters: mean, var (C,), changed in place.
    """
    mean *= 1 - momentum
    mean += momentum * cache.mean
    var *= 1 - momentum
    var += momentum * cache.samples / (cache.samples - 1) * cache.var


def add_gradients(dgamma: Array, dbeta: Array, gamma_total: Array, beta_total: Array) -> None:
    """Add a pass's gradients of gamma and beta, (C,), to those of the passes before, in place."""
    gamma_total += dgamma
    beta_total += dbeta
