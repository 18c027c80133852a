"""Which images make up the batch of a step: a pure function of (seed, step).

Nothing moves forward, so there is nothing to save: step 12,345 of a resumed run takes the same
images as in a run that was never stopped.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from minigan.errors import DataError, UsageError
from minigan.randomness import Purpose, check_seed, stream


@dataclass(frozen=True)
class Batches:
    r"""Batches of a data set of `count` images, in an order drawn anew for each epoch.

    With :math:`E` batches an epoch and :math:`\pi_e` the permutation of epoch :math:`e`,

    .. math:: \text{indices}(t) = \pi_{e}[\,jB : (j+1)B\,], \qquad e = \lfloor t / E \rfloor, \quad j = t \bmod E

    The last partial batch, where the batch size B does not divide the count N:

    * ``last="drop"`` (default): left out, E = floor(N / B). All batches have one size, which a
      captured GPU graph and BatchNorm need; `dropped` images are left out in each epoch, other
      ones each time since the order is drawn anew.
    * ``last="keep"``: used, E = ceil(N / B); each epoch holds every image exactly once.

    With `independent`, each batch is the first B images of an order of its own: always full, and an
    image may come again before all have been seen.

    Raises UsageError for batch_size < 1, an unknown `last` or a seed out of range, and DataError
    where a batch needs more images than there are.
    """

    count: int  # N
    batch_size: int  # B
    seed: int
    last: Literal["drop", "keep"] = "drop"
    independent: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch size {self.batch_size} is out of range: the smallest is 1")
        if self.last not in ("drop", "keep"):
            raise UsageError(f"unknown rule {self.last!r} for the last batch: choose drop or keep")
        check_seed(self.seed)
        if self.count < 1:
            raise DataError("the data set holds no images")
        if self.batch_size > self.count:
            raise DataError(
                f"batch size {self.batch_size} for {self.count} images: the largest batch allowed is {self.count}"
            )

    @property
    def per_epoch(self) -> int:
        """E, the number of batches (steps) in an epoch."""
        full, rest = divmod(self.count, self.batch_size)
        return full + (rest > 0 and self.last == "keep")

    @property
    def dropped(self) -> int:
        """How many images each epoch leaves out."""
        return max(0, self.count - self.per_epoch * self.batch_size)

    def epoch_of(self, step: int) -> int:
        """The epoch, from 0, that a step belongs to; steps count from 0."""
        if step < 0:
            raise ValueError(f"steps count from 0, got {step}")
        return step // self.per_epoch

    def indices(self, step: int) -> np.ndarray:
        """The images of a step: (B,) int64, or fewer in the last batch of an epoch that is kept.

        Raises ValueError for a negative step.
        """
        order = _epoch_order(self.seed, step if self.independent else self.epoch_of(step), self.count)  # (N,)
        if self.independent:
            return order[: self.batch_size].copy()
        start = step % self.per_epoch * self.batch_size
        return order[start : start + self.batch_size].copy()


# The cache only saves time, as otherwise each step would shuffle all the images again: the function
# is pure, and forgetting its results changes nothing.
@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The permutation of 0 ... count-1 for an epoch, (N,) int64, read-only as all callers see the same."""
    order = stream(seed, Purpose.SHUFFLE, epoch).permutation(count).astype(np.int64)
    order.flags.writeable = False
    return order
