"""How real images reach a training step: they lie on the device, or are made and put there a batch at a time."""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from minigan.backend import Device
from minigan.data.batches import Batches
from minigan.data.stream import WORKERS, StreamedImages, quiet
from minigan.parallel.team import ALONE, Team
from minigan.typing import Array, Images

AHEAD = 2 * WORKERS  # batches that are made in advance,
AHEAD_BYTES = 2**30  # unless they would take more than this; one always is
PATIENCE = 10  # seconds after which it can be said whether training has to wait
WORTH_TELLING = 0.05  # share of the time


@dataclass(eq=False)
class Feed:
    """The real batches of a run, by their number from 0 on: images that lie on the device."""

    images: Array  # (N, H, W, C) uint8
    batches: Batches
    device: Device
    team: Team = ALONE
    labels: np.ndarray | None = None  # (N,) on the host, the class of each image

    def batch(self, number: int) -> Array:
        """(B, H, W, C) uint8 on the device: the images `batches.indices(number)`, or this process's part of them."""
        return self.images[self.device.put(self.indices(number))]

    def indices(self, number: int) -> np.ndarray:
        """(B,) int64: which images batch `number` is, or this process's part of it."""
        return self.team.part(self.batches.indices(number))

    def complaint(self) -> str:
        """What the user should know about the speed of the images; empty if nothing, or if it was said before."""
        return ""

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        """Nothing to end here."""


class StreamedFeed(Feed):
    """Images that are made while training goes on: a few batches ahead, in threads that end with the context.

    Which images a batch needs is known before it is needed, so that training waits only where making
    images takes longer than training on them.
    """

    def __init__(
        self,
        images: StreamedImages,
        batches: Batches,
        device: Device,
        team: Team = ALONE,
        labels: np.ndarray | None = None,
    ) -> None:
        super().__init__(images, batches, device, team, labels)
        batch_bytes = batches.batch_size // team.size * math.prod(images.image_shape)
        self._ahead = max(1, min(AHEAD, AHEAD_BYTES // batch_bytes))
        self._pending: dict[int, Future[np.ndarray]] = {}
        self._began = 0.0  # when the first batch was there: nothing can be made ahead of that one
        self._waited = 0.0  # seconds since then
        self._told = False

    def __enter__(self) -> "StreamedFeed":
        with ExitStack() as stack:
            stack.enter_context(quiet())
            self._pool = stack.enter_context(ThreadPoolExecutor(WORKERS))
            stack.callback(self._cancel)  # first, so that the threads have little left to do
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._open.close()

    def batch(self, number: int) -> Array:
        """As above. Raises DataError where an image file is no longer what it was when the run began."""
        for later in range(number, number + 1 + self._ahead):
            if later not in self._pending:
                self._pending[later] = self._pool.submit(self.images.__getitem__, self.indices(later))
        asked = time.monotonic()
        pixels = self._pending.pop(number).result()
        there = time.monotonic()
        if self._began:
            self._waited += there - asked
        self._began = self._began or there
        return self.device.put(pixels)

    def complaint(self) -> str:
        passed = time.monotonic() - self._began
        if self._told or not self._began or passed < PATIENCE or self._waited < WORTH_TELLING * passed:
            return ""
        self._told = True
        return (
            f"training waits {self._waited / passed:.0%} of the time for images to be decoded; "
            "smaller image files help, or --image-memory large enough for all of them"
        )

    def _cancel(self) -> None:
        for future in self._pending.values():
            future.cancel()
        self._pending.clear()


def feed(
    images: Images, batches: Batches, device: Device, team: Team = ALONE, labels: np.ndarray | None = None
) -> Feed:
    """The feed for images in memory or out of it. Threads start in its context."""
    if isinstance(images, StreamedImages):
        return StreamedFeed(images, batches, device, team, labels)
    return Feed(device.put(np.asarray(images)), batches, device, team, labels)
