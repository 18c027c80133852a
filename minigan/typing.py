"""Names for types used everywhere."""

from typing import Any, TypeAlias

import numpy as np

# A numpy.ndarray or a cupy.ndarray. Any, because a type that covers both would make every
# expression of the mathematics need a cast; `backend.array_module` checks at run time.
Array: TypeAlias = Any

Shape: TypeAlias = tuple[int, ...]

# Where randomness is an argument; None where there is none (dropout refuses None in training).
Rng: TypeAlias = np.random.Generator | None
