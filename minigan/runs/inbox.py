"""The numbers that rounds take from the host, brought to places on the device that never change.

A replayed launch reads from the addresses that it was captured with. So images, latents, learning rates and the states
of random generators of every round have to lie where those of the captured round lay.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from minigan.backend import Device
from minigan.cuda.pcg64 import DeviceGenerator
from minigan.optim import Coefficients
from minigan.runs.draws import HostDraws, SeededDraws
from minigan.typing import Array, Shape

AT_ONCE = 4  # rounds whose numbers are drawn in one go: who wakes another thread for each waits longer than it draws
AHEAD = 4 * AT_ONCE  # rounds that have memory of their own: drawn in advance, or still to be copied
ALIGNMENT = 256  # bytes, that of CUDA's own allocations


@dataclass(frozen=True)
class Item:
    """An array that each round has one of, by the method that draws it."""

    method: Callable[[HostDraws, int], np.ndarray]
    k: int

    def draw(self, host: HostDraws) -> np.ndarray:
        return self.method(host, self.k)


@dataclass(frozen=True)
class Place:
    """Where an array lies in a stretch of bytes, on the host and on the device alike."""

    start: int
    shape: Shape
    dtype: np.dtype

    def of(self, stretch: Array) -> Array:
        stop = self.start + prod(self.shape) * self.dtype.itemsize
        return stretch[self.start : stop].view(self.dtype).reshape(self.shape)


class Parcel:
    """Host memory for the numbers of a round, from which the device copies by itself."""

    def __init__(self, cuda: Any, size: int) -> None:
        self.numbers = np.frombuffer(cuda.alloc_pinned_memory(size), np.uint8, size)
        # Before this the memory must not change. Who waits for it sleeps, and takes no processor from others.
        self.copied = cuda.Event(block=True, disable_timing=True)


class Inbox:
    """One stretch of device memory, in which every array that a round asks for has its place.

    Which these are is learnt from a round that is played between `learn` and `settle`: until then each array is put
    on the device by itself. From then on `deliver` brings the numbers of a round in one copy; a thread draws those of
    the rounds after it meanwhile. (One is quicker than several, which would take turns at Python's lock.)
    """

    def __init__(self, device: Device, dtype: np.dtype) -> None:
        self._device, self._dtype = device, dtype  # of the coefficients
        self._places: dict[Item, Place] = {}
        self._coefficients = 0  # of a round
        self._size = 0
        self._stretch: Array = None  # until settled
        self._asked = 0  # how many of its coefficients the present round has asked for
        self._pending: dict[int, Future[None]] = {}  # by the number of a group of rounds
        self._thread: ThreadPoolExecutor | None = None

    def learn(self, host: HostDraws) -> None:
        """From here to `settle`, note what is asked for and take the numbers of this round."""
        self._host = host

    def take(self, item: Item) -> Array:
        """The array on the device."""
        if self._stretch is not None:
            return self._places[item].of(self._stretch)
        numbers = item.draw(self._host)
        self._places[item] = self._next_place(numbers.shape, numbers.dtype)
        return self._device.put(numbers)

    def take_coefficients(self, numbers: Sequence[float]) -> Coefficients:
        """Those of the next update of a round: arrays of one number. Once settled, they are those delivered."""
        if self._stretch is None:
            self._coefficients += len(numbers)
            row = self._device.put(np.array(numbers, self._dtype))
        else:
            row = self._at_end.of(self._stretch)[self._asked : self._asked + len(numbers)]
            self._asked += len(numbers)
        return [row[i] for i in range(len(numbers))]

    def settle(self, draws: Callable[[int], HostDraws]) -> None:
        """Give each array its place; `draws` are those of a round, by its number."""
        self._draws = draws
        self._at_end = self._next_place((self._coefficients,), self._dtype)
        cuda = self._device.xp.cuda
        self._stretch = self._device.xp.empty(self._size, dtype=np.uint8)
        self._parcels = [Parcel(cuda, self._size) for _ in range(AHEAD)]
        self._thread = ThreadPoolExecutor(1)

    def deliver(self, step: int, coefficients: Sequence[float]) -> None:
        """Copy the numbers of round `step` to the device; rounds come one after the other.

        Raises what went wrong in drawing them, or those of the rounds that are drawn with them.
        """
        assert self._thread is not None  # settled
        group = step // AT_ONCE
        for number in (group, group + 1):
            if number not in self._pending:
                rounds = range(max(step, number * AT_ONCE), (number + 1) * AT_ONCE)
                self._pending[number] = self._thread.submit(self._fill, rounds)
        self._pending.pop(group - 1, None)
        self._pending[group].result()
        parcel = self._parcels[step % AHEAD]
        self._at_end.of(parcel.numbers)[...] = coefficients
        self._stretch.set(parcel.numbers)
        parcel.copied.record()
        self.begin()

    def begin(self) -> None:
        """From here on, the coefficients of a round are asked for from the first one on."""
        self._asked = 0

    def close(self) -> None:
        """End the thread."""
        for future in self._pending.values():
            future.cancel()
        self._pending.clear()
        if self._thread is not None:
            self._thread.shutdown()

    def _next_place(self, shape: Shape, dtype: np.dtype) -> Place:
        place = Place(self._size, shape, dtype)
        self._size += -(-prod(shape) * dtype.itemsize // ALIGNMENT) * ALIGNMENT
        return place

    def _fill(self, steps: range) -> None:
        """Draw the numbers of these rounds, in the thread."""
        for step in steps:
            parcel, host = self._parcels[step % AHEAD], self._draws(step)
            parcel.copied.synchronize()  # the round before that had this memory
            for item, place in self._places.items():
                place.of(parcel.numbers)[...] = item.draw(host)


@dataclass(frozen=True)
class InboxDraws(SeededDraws):
    """The draws of a round, taken from the inbox."""

    inbox: Inbox

    def dropout(self, k: int) -> Any:
        return DeviceGenerator(partial(self._there, HostDraws.state_of_masks, k))

    def _unchanged(self, k: int) -> Array:
        return self.recipe.encode(self.feed.images, self.dtype, self._there(HostDraws.indices, k))

    def _images(self, k: int) -> Array:
        return self.feed.images[self._there(HostDraws.indices, k)]

    def _there(self, draw: Callable[[HostDraws, int], np.ndarray], k: int) -> Array:
        return self.inbox.take(Item(draw, k))
