"""Random numbers drawn on a GPU, to the bit those that NumPy draws on the host (pcg64.cu)."""

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
    has the one that layers use, and masks in one launch.
    """

    def __init__(self, state: Callable[[], Array]) -> None:
        self._state, self._drawn = cache(state), 0

    def random(self, size: Shape, dtype: Any) -> Array:
        """U[0, 1) of shape `size`. Raises TypeError for another dtype than float32."""
        if dtype != np.float32:
            raise TypeError(f"numbers are drawn on the device in float32, not in {np.dtype(dtype)}")
        return self._draw("uniform", size, np.float32)

    def draw_keep(self, shape: Shape, rate: float) -> Array:
        """See `minigan.functional.dropout.draw_keep`."""
        return self._draw("draw_keep", shape, np.bool_, np.float32(rate))

    def _draw(self, kernel: str, shape: Shape, dtype: Any, *numbers: Any) -> Array:
        state, first = self._state(), self._drawn
        drawn = array_module(state).empty(shape, dtype)
        self._drawn += drawn.size
        words = -(-self._drawn // 2) - first // 2
        if drawn.size:
            each = max(WORDS, -(-words // MOST_THREADS))
            blocks = -(-words // (each * THREADS))
            sizes = np.int64(first), np.int64(drawn.size), np.int32(each)
            launch("pcg64", kernel, (blocks,), (THREADS,), state, drawn, *sizes, *numbers, real="float32")
        return drawn
