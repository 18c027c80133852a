"""Transformed weights from one call to the next: a network multiplies by its weights several times between updates.

Nobody tells when weights change, so they are compared with a copy, number by number, which takes a fraction of the time
of the transformation.
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np

from minigan.kernels.workers import share

KEEP = 96 << 20  # bytes of all that is kept, and of the copies


class Kept(NamedTuple):
    """Weights as they were, and what was made of them."""

    weights: np.ndarray
    made: np.ndarray


_kept: dict[tuple[Hashable, ...], Kept] = {}  # by what was done, where the weights lie, and what they look like


def made_of(w: np.ndarray, make: Callable[[np.ndarray], np.ndarray], how: Hashable) -> np.ndarray:
    """``make(w)``, from the last call if no number of w has changed; `how` tells one way to make it from another.

    It is to be read only. What comes first stays, as far as there is room, until `forget`: to replace it would not help
    a network that needs more, as each pass comes back to the same layer when it has seen all others.
    """
    key = (how, w.__array_interface__["data"][0], w.shape, w.strides, w.dtype)
    kept = _kept.get(key)
    if kept is None:
        kept = Kept(w, make(w))
        if sum(array.nbytes for each in (*_kept.values(), kept) for array in each) <= KEEP:
            _kept[key] = Kept(w.copy(), kept.made)
    elif not _same(kept.weights, w):
        kept.made[...] = make(w)
        kept.weights[...] = w
    return kept.made


def forget() -> None:
    """Give the memory back."""
    _kept.clear()


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether all numbers are equal; those that are no numbers never are."""
    a, b = (array.reshape(-1, array.shape[-1]) for array in (a, b))
    return all(share(lambda i, j: np.array_equal(a[i:j], b[i:j]), len(a), smallest=1 + (1 << 16) // max(1, a.shape[1])))
