"""The dense (fully connected) layer: an affine map of each sample."""

from typing import NamedTuple

from minigan.functional.sums import add_to, sum_rows
from minigan.typing import Array


class DenseCache(NamedTuple):
    x: Array  # (N, I)  the input, for the weight gradient


def dense(x: Array, w: Array, b: Array | None = None) -> tuple[Array, DenseCache]:
    r"""Multiply each sample by the weights and add the bias.

    .. math:: y_{no} = \sum_i x_{ni} w_{io} + b_o \qquad\Longleftrightarrow\qquad y = x w + b

    Parameters: x (N, I); w (I, O); b (O,) or None for no bias. Returns y (N, O) and the cache.
    """
    y = x @ w  # (N, O)
    if b is not None:
        y += b
    return y, DenseCache(x)


def dense_input_grad(dy: Array, w: Array) -> Array:
    r"""Gradient with respect to x; the input itself is not needed.

    .. math:: dx_{ni} = \sum_o dy_{no} w_{io} \qquad\Longleftrightarrow\qquad dx = dy\, w^\top

    Parameters: dy (N, O); w (I, O). Returns dx (N, I).
    """
    return dy @ w.T  # (N, I)


def dense_weight_grad(dy: Array, cache: DenseCache, total: Array | None = None) -> Array:
    r"""Gradient with respect to w, summed over the samples.

    .. math:: dw_{io} = \sum_n x_{ni}\, dy_{no} \qquad\Longleftrightarrow\qquad dw = x^\top dy

    Parameters: dy (N, O); total (I, O), an array that dw is added to in place. Returns dw (I, O), or total.
    """
    return add_to(total, cache.x.T @ dy)  # (I, O)


def dense_bias_grad(dy: Array, total: Array | None = None) -> Array:
    r"""Gradient with respect to b: each sample adds the same bias.

    .. math:: db_o = \sum_n dy_{no}

    Parameters: dy (N, O); total (O,), an array that db is added to in place. Returns db (O,), or total.
    """
    return add_to(total, sum_rows(dy))  # (O,)
