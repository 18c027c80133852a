r"""Dropout (Srivastava et al. 2014): multiply by a random 0/1 mask.

The three forms differ only in the mask's shape and in a factor:

==========  ===============  ==================  =======================================
form        mask             training            inference
==========  ===============  ==================  =======================================
inverted    one an element   x mask / (1 - p)    x
classic     one an element   x mask              x (1 - p)
channel     one a channel    x mask / (1 - p)    x
==========  ===============  ==================  =======================================

p is the probability of dropping. Randomness is an argument: the mask is drawn outside.
"""

from typing import NamedTuple

import numpy as np

from minigan.typing import Array, Shape


class DropoutCache(NamedTuple):
    keep: Array  # (...) or (N, 1, ..., 1, C)  True where the input was kept
    scale: float  # what the kept ones were multiplied by


def draw_keep(rng: np.random.Generator, shape: Shape, rate: float) -> np.ndarray:
    r"""Draw a mask (shape) where the generator is, on the host: each entry is True with probability :math:`1 - p`."""
    return rng.random(shape, dtype=np.float32) >= rate


def dropout(x: Array, keep: Array, scale: float) -> tuple[Array, DropoutCache]:
    r"""Keep some of the inputs and scale them.

    .. math:: y = s\, k \odot x, \qquad k \in \{0, 1\}

    Parameters: x (...); keep, boolean, of the same or a broadcastable shape; scale s, which is
    1 / (1 - p) for the inverted forms, so that E[y] = x, and 1 for the classic one.
    Returns y (...) and the cache.
    """
    return x * keep * scale, DropoutCache(keep, scale)


def dropout_backward(dy: Array, cache: DropoutCache) -> Array:
    r"""The same mask and factor: :math:`dx = s\, k \odot dy`. Parameters: dy (...). Returns dx (...)."""
    return dy * cache.keep * cache.scale
