"""Names for types used everywhere."""

from typing import Any, Protocol, TypeAlias

import numpy as np

# A numpy.ndarray or a cupy.ndarray. Any, because a type that covers both would make every
# expression of the mathematics need a cast; `backend.array_module` checks at run time.
Array: TypeAlias = Any

Shape: TypeAlias = tuple[int, ...]


class Images(Protocol):
    """All images of a data set, (N, H, W, C) uint8: an array, or what makes them when asked (data.stream).

    A slice gives Images again, an array of indices gives the pixels of those; `np.asarray` gives all pixels.
    """

    @property
    def shape(self) -> Shape: ...
    def __len__(self) -> int: ...
    def __getitem__(self, which: Any) -> Any: ...
    def __array__(self) -> np.ndarray: ...


# Where randomness is an argument; None where there is none (dropout refuses None in training).
Rng: TypeAlias = np.random.Generator | None
