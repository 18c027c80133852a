"""Maxout (Goodfellow et al. 2013, "Maxout Networks", section 3): the largest of P linear pieces."""

from typing import NamedTuple

from minigan.backend import array_module
from minigan.typing import Array


class MaxoutCache(NamedTuple):
    winner: Array  # (N, U, P)  True at the piece that was largest


def maxout(x: Array, pieces: int) -> tuple[Array, MaxoutCache]:
    r"""Take the maximum of each group of P neighbouring features.

    .. math:: y_{nu} = \max_{p < P} x_{n,\, uP + p}

    Parameters: x (N, U*P); pieces P. Returns y (N, U) and the cache.
    Raises ValueError if the number of features is no multiple of P.
    """
    xp = array_module(x)
    if x.shape[-1] % pieces:
        raise ValueError(f"maxout over {pieces} pieces needs a multiple of {pieces} features, got {x.shape[-1]}")
    groups = x.reshape(len(x), x.shape[-1] // pieces, pieces)  # (N, U, P)
    winner = groups.argmax(axis=-1)[..., None] == xp.arange(pieces)  # (N, U, P)  the first one, if several are equal
    return groups.max(axis=-1), MaxoutCache(winner)


def maxout_backward(dy: Array, cache: MaxoutCache) -> Array:
    r"""The gradient goes to the winning piece alone.

    .. math:: dx_{n,\, uP + p} = dy_{nu} \quad\text{if } p \text{ won, else } 0

    Parameters: dy (N, U). Returns dx (N, U*P).
    """
    dx = cache.winner * dy[..., None]  # (N, U, P)
    return dx.reshape(len(dy), dx.shape[1] * dx.shape[2])


def maxout_double_backward(ddx: Array, cache: MaxoutCache) -> Array:
    r"""The adjoint of backward, which put dy at the winner: :math:`ddy_{nu} = ddx_{n,\, uP + p}` of the p that won.

    Parameters: ddx (N, U*P). Returns ddy (N, U).
    """
    return (cache.winner * ddx.reshape(cache.winner.shape)).sum(axis=-1)  # (N, U)
