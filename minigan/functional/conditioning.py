"""A condition beside each sample: numbers y that a network is told, in the last channels, the same at every place."""

from minigan.backend import array_module
from minigan.typing import Array, Shape


def with_condition(x: Array, y: Array) -> Array:
    r"""Put y behind the channels of x, at every place of an image.

    .. math:: h = [x, y], \qquad h_{n,p,c} = x_{n,p,c} \text{ for } c < C, \qquad h_{n,p,C+k} = y_{n,k}

    In front of a convolution it is what Radford et al. 2016 do with the label of a digit in each layer; in front of a
    dense layer, where there is one place p, what Mirza & Osindero 2014 do.

    Parameters: x (N, ..., C), y (N, K). Returns h (N, ..., C + K). Raises ValueError if y has another N.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} samples have as many conditions, got {len(y)}")
    channels = x.shape[-1]
    h = array_module(x, y).empty((*x.shape[:-1], channels + y.shape[-1]), x.dtype)  # (N, ..., C + K)
    h[..., :channels] = x
    h[..., channels:] = y.reshape(len(y), *(1,) * (x.ndim - 2), -1)
    return h


def with_condition_backward(dh: Array, size: int) -> tuple[Array, Array]:
    r"""Back to x and to y, which every place has been told.

    .. math:: dx_{n,p,c} = dh_{n,p,c}, \qquad dy_{n,k} = \sum_p dh_{n,p,C+k}

    Parameters: dh (N, ..., C + K); size K. Returns dx (N, ..., C) and dy (N, K).
    """
    dx = dh[..., :-size].copy()  # (N, ..., C), in one piece as products want it
    dy = dh[..., -size:].reshape(len(dh), -1, size).sum(axis=1)  # (N, K)
    return dx, dy


def condition_of(h: Array, size: int) -> Array:
    """The y of h = [x, y], read at the first place as it is the same at all: h (N, ..., C + K) gives (N, K)."""
    return h[_first_place(h.shape, size)]


def condition_of_backward(dy: Array, dh: Array) -> Array:
    """y came from the first place, where its gradient dy (N, K) is added to what else asks of h: dh (N, ..., C + K)."""
    dh = dh.copy()  # it may share its memory with other gradients
    dh[_first_place(dh.shape, dy.shape[-1])] += dy
    return dh


def _first_place(shape: Shape, size: int) -> tuple[int | slice, ...]:
    return (slice(None), *(0,) * (len(shape) - 2), slice(-size, None))
