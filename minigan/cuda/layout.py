"""How arrays lie in memory.

Convolutions on a GPU want the rows of all images first, and so make arrays with the axes (N, H, W, C) that lie in
memory as (H, N, W, C): see conv.py. What is done number by number, or channel by channel, does not depend on the order
of pixels. Such kernels take the memory as it lies, and their results lie likewise, so that nothing is copied on the way
from one convolution to the next.
"""

from minigan.backend import array_module
from minigan.typing import Array


def contiguous(array: Array) -> Array:
    """The array, or a copy of it, whose numbers lie side by side in the order of its axes."""
    return array if array.flags.c_contiguous else array.copy()


def rows_first(array: Array) -> bool:
    """Whether its numbers lie side by side with the first two axes exchanged, and not in their order."""
    return array.ndim > 2 and not array.flags.c_contiguous and array.swapaxes(0, 1).flags.c_contiguous


def laid(array: Array, by_rows: bool) -> Array:
    """The array, or a copy of it, that lies with its rows or with its images first."""
    return contiguous(array.swapaxes(0, 1)).swapaxes(0, 1) if by_rows else contiguous(array)


def side_by_side(array: Array) -> Array:
    """The array, or a copy of it, whose numbers lie side by side, with its rows or with its images first."""
    return laid(array, rows_first(array))


def laid_like(array: Array, other: Array) -> Array:
    """The array, or a copy of it, that lies as the other one does, whose numbers lie side by side."""
    return laid(array, rows_first(other))


def flat(array: Array) -> Array:
    """Its numbers, which lie side by side, in the order of memory: a view."""
    in_order = array.swapaxes(0, 1) if rows_first(array) else array
    assert in_order.flags.c_contiguous  # else reshape would copy, and what a kernel writes there would be lost
    return in_order.reshape(-1)


def empty_like(array: Array, channels: int | None = None) -> Array:
    """Memory for numbers of that kind that lie in that order, with anything in it; of so many channels, if given."""
    xp, shape = array_module(array), array.shape if channels is None else (*array.shape[:-1], channels)
    if rows_first(array):
        return xp.empty((shape[1], shape[0], *shape[2:]), array.dtype).swapaxes(0, 1)
    return xp.empty(shape, array.dtype)
