"""Dropout with a given mask (Srivastava et al. 2014): y = scale x where kept, else 0."""

import numpy as np
from numpy.typing import NDArray

from reference import Array


def dropout(x: Array, keep: NDArray[np.bool_], scale: float) -> Array:
    """keep has as many axes as x; where one has length 1, its entry decides for the whole axis of x."""
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        mask_index = tuple(0 if length == 1 else i for i, length in zip(index, keep.shape, strict=True))
        if keep[mask_index]:
            y[index] = scale * x[index]
    return y


def dropout_backward(dy: Array, keep: NDArray[np.bool_], scale: float) -> Array:
    """dy_k reaches x_k where it was kept, with the same factor: the Jacobian is diagonal."""
    return dropout(dy, keep, scale)
