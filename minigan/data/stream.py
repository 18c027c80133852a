"""Images that do not fit in memory: made each time they are asked for, from their files or from smaller ones."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from minigan.typing import Shape

WORKERS = min(4, os.cpu_count() or 1)  # threads: Pillow decodes without Python's lock


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Stands where an array of all images (N, H, W, C) uint8 would, and keeps none of them.

    ``images[a:b]`` is a part of them, and makes nothing; ``images[indices]`` are the pixels of a batch, and
    ``np.asarray(images)`` those of all. What `make` raises for an image, these two raise.
    """

    image_shape: Shape  # (H, W, C)
    make: Callable[[int], np.ndarray]  # (H, W, C) uint8 of an image, by its number; always the same, in any thread
    numbers: range  # of the images that belong here

    @property
    def shape(self) -> Shape:
        return (len(self.numbers), *self.image_shape)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, which: slice) -> "StreamedImages": ...
    @overload
    def __getitem__(self, which: Sequence[int] | np.ndarray) -> np.ndarray: ...
    def __getitem__(self, which: slice | Sequence[int] | np.ndarray) -> "StreamedImages | np.ndarray":
        if isinstance(which, slice):
            return replace(self, numbers=self.numbers[which])
        batch = np.empty((len(which), *self.image_shape), np.uint8)
        for row, index in enumerate(which):
            batch[row] = self.make(self.numbers[index])
        return batch

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All the pixels, made in several threads."""
        pixels = np.empty(self.shape, np.uint8)
        with quiet(), ThreadPoolExecutor(WORKERS) as pool:
            for row, image in enumerate(pool.map(self.make, self.numbers)):
                pixels[row] = image
        return pixels if dtype is None else pixels.astype(dtype, copy=False)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings, as Pillow has them for odd files. Around threads, not in them: they share the filters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
