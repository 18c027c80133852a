"""Random numbers drawn on a GPU, to the bit those that NumPy draws on the host (pcg64.cu, dropout.cu)."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from minigan.backend import array_module
from minigan.cuda.launch import launch
from minigan.typing import Array, Shape

THREADS = 64  # in a block: few, so that also small masks keep many processors busy
WORDS = 4  # of two numbers, that a thread draws at least
MOST_THREADS = 2**16  # enough to fill a GPU; then each draws more words, as jumping to them costs as much as dozens


class DeviceGenerator:
    """Stands where a generator of NumPy's does, and goes on where the last call stopped.

    The state that it starts from lies on the device, (4,) uint64 (`minigan.randomness.state_words`), and is asked for
    when it is first needed. How many numbers came before a call is baked into its launch. Of a generator's methods it
    has the one that layers use, and launches that draw for themselves.

    Where it draws for several parts of a batch, each gets its numbers from a place of its own, `apart` after the place
    of the part before.
    """

    def __init__(self, state: Callable[[], Array], drawn: int = 0, parts: int = 1, apart: int = 0) -> None:
        """state: that of NumPy's generator after `drawn` numbers fewer."""
        self._state, self._drawn, self._parts, self._apart = cache(state), drawn, parts, apart

    def parted(self, parts: int, apart: int) -> "DeviceGenerator":
        """See `minigan.randomness.parted`."""
        assert self._parts == 1  # what belongs to a part is not known here
        generator = DeviceGenerator(self._state, self._drawn, parts, apart)
        self._drawn += parts * apart
        return generator

    def random(self, size: Shape, dtype: Any) -> Array:
        """U[0, 1) of shape `size`. Raises TypeError for another dtype than float32."""
        if dtype != np.float32:
            raise TypeError(f"numbers are drawn on the device in float32, not in {np.dtype(dtype)}")
        drawn = self._empty(size, np.float32)
        self.draw("uniform", drawn)
        return drawn

    def draw_keep(self, shape: Shape, rate: float) -> Array:
        """See `minigan.functional.dropout.draw_keep`."""
        keep = self._empty(shape, np.bool_)
        self.draw("draw_keep", keep, np.float32(rate))
        return keep

    def _empty(self, shape: Shape, dtype: Any) -> Array:
        return array_module(self._state()).empty(shape, dtype)

    def draw(self, kernel: str, drawn: Array, *others: Any, real: str = "float32") -> None:
        """Launch a kernel of dropout.cu, which takes a number for each of `drawn`, and whatever else.

        Raises ValueError if the array has not as many equal parts as the generator.
        """
        first = self._drawn
        count, rest = divmod(drawn.size, self._parts)  # of a part
        if rest:
            raise ValueError(f"an array of shape {drawn.shape} has no {self._parts} equal parts")
        self._drawn += count
        words = count // 2 + 1  # at most: the first and the last may be used by halves
        if count:
            each = max(WORDS, -(-words // MOST_THREADS))
            grid = -(-words // (each * THREADS)), self._parts
            sizes = np.int64(first), np.int64(count), np.int64(self._apart), np.int32(each)
            launch("dropout", kernel, grid, (THREADS,), self._state(), *sizes, drawn, *others, real=real)
