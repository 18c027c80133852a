"""Images of one's own: a folder of image files, flat or one folder a class, or a zip file of the same shape.

* What counts as an image file, and what is left out: `minigan.data.listing`.
* How each mode of Pillow becomes grey or RGB bytes: `minigan.data.decode`. All images are grey (1 channel)
  if each one is, else all are RGB.
* How images get another size: `minigan.data.resize`.
* Classes: a folder that alone holds everything is looked through; if then every image lies in a folder,
  the outermost of these folders are the classes, numbered by their sorted names.
* Files that are no images, or damaged, are skipped and counted; more than 1% of them is an error.
* Images that together take more memory than allowed are not kept. Every file is still decoded once at the
  start, so that the same ones are skipped as otherwise, and then again for each batch that it is in. A file that
  has changed in between, or is gone, is an error: a run never goes on with other images than it began with.
"""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import numpy as np

from minigan.data.decode import Header, decode, read_header
from minigan.data.listing import File, Listing, Parts, Unreadable, list_images
from minigan.data.resize import MEMORY, RULE, Size, streaming, times
from minigan.data.stream import WORKERS, StreamedImages, quiet
from minigan.errors import DataError
from minigan.typing import Images

MAX_SKIPPED = 0.01  # of the image files

T = TypeVar("T")


def read_folder(
    path: Path, size: Size | None, memory: float = MEMORY
) -> tuple[Images, np.ndarray | None, tuple[str, ...]]:
    """Return (images (N, H, W, C) uint8, labels (N,) or None, notices for the user).

    The headers of all files are read first, so that sizes, modes and the memory needed are known before
    anything is decoded.

    Parameters: size, the (H, W) that all images get; None: their own; memory, bytes above which the images
    come as StreamedImages.
    Raises DataError: no images; an unknown mode; more than 1% damaged files; images of several sizes
    with size None.
    """
    listing = list_images(path)
    reading = _Reading(listing.where, len(listing.files))
    with quiet():
        items = reading.headers(listing.files, exact=size is None)
        wanted = size or _only_size([item.header.size for item in items], listing.where)
        images, items = reading.pixels(items, wanted, size is not None, memory)
    labels, classes = _labels([item.file.parts for item in items])
    notices = [
        _summary(listing.where, items, images, classes),
        *_conversions(items, grey=images.shape[3] == 1),
        *_resizing(items, wanted),
        *([streaming(images.shape, memory)] if isinstance(images, StreamedImages) else []),
        *_left_out(reading.skipped, listing),
    ]
    return images, labels, tuple(notices)


@dataclass
class _Item:
    """An image on its way in."""

    file: File
    header: Header
    size: Size = (0, 0)  # (H, W) before it was cropped and resized
    turned: bool = False  # by EXIF
    checksum: int = 0  # of the file's bytes; CRC-32


@dataclass
class _Reading:
    """Reads files in several threads, and keeps count of those that cannot be read."""

    where: str
    total: int  # image files
    skipped: list[tuple[File, str]] = field(default_factory=list)  # with the reason

    def headers(self, files: list[File], exact: bool) -> list[_Item]:
        """The files that look like images."""
        found = self._each(files, lambda _, file: _Item(file, read_header(file.read(), file.name, exact)))
        good = [item for item in found if isinstance(item, _Item)]
        self._count(zip(files, found, strict=True))
        return good

    def pixels(self, items: list[_Item], size: Size, cut: bool, memory: float) -> tuple[Images, list[_Item]]:
        """Images (N, H, W, C) of this size, and the items that they come from.

        Parameters: cut, whether images of other sizes are cropped and resized to this one; memory, as above.
        """
        grey = all(item.header.grey for item in items)
        shape = (*size, 1 if grey else 3)
        fits = len(items) * math.prod(shape) <= memory
        kept = np.empty((len(items), *shape), np.uint8) if fits else None

        def fill(index: int, item: _Item) -> None:
            data = item.file.read()
            pixels, item.size, item.turned = decode(data, item.file.name, grey, size if cut else None)
            if pixels.shape[:2] != tuple(size):
                raise Unreadable(f"damaged: {times(pixels.shape[:2])} pixels, its header says {times(size)}")
            item.checksum = zlib.crc32(data)
            if kept is not None:
                kept[index] = pixels.reshape(shape)

        found = self._each(items, fill)
        self._count((item.file, failure) for item, failure in zip(items, found, strict=True))
        good = [index for index, failure in enumerate(found) if failure is None]
        good_items = [items[index] for index in good]
        if kept is None:
            again = _Again(self.where, good_items, grey, size if cut else None)
            return StreamedImages(shape, again, range(len(good))), good_items
        for row, index in enumerate(good):  # moved up in place, as a copy would need the memory twice
            if row != index:
                kept[row] = kept[index]
        return kept[: len(good)], good_items

    def _each(self, things: Sequence[T], function: Callable[[int, T], object]) -> list[object]:
        """What the function returns for (index, thing), or the Unreadable that it raised; in order."""

        def attempt(index: int, thing: T) -> object:
            try:
                return function(index, thing)
            except Unreadable as err:
                return err

        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(attempt, range(len(things)), things))

    def _count(self, results: Iterable[tuple[File, object]]) -> None:
        """Note the failures. Raises DataError if they have become too many."""
        self.skipped += [(file, str(result)) for file, result in results if isinstance(result, Unreadable)]
        if len(self.skipped) > MAX_SKIPPED * self.total:
            raise DataError(
                f"{self.where}: {len(self.skipped)} of {self.total} image files cannot be read, "
                f"more than {MAX_SKIPPED:.0%}: {_examples(self.skipped)}"
            )


@dataclass(frozen=True)
class _Again:
    """Decodes images that were decoded before, from files with the same bytes as then."""

    where: str
    items: list[_Item]
    grey: bool
    size: Size | None

    def __call__(self, number: int) -> np.ndarray:
        """Pixels (H, W, C) of an image. Raises DataError if its file is not what it was."""
        item = self.items[number]
        try:
            data = item.file.read()
        except Unreadable as err:
            raise DataError(f"{self.where}: {item.file.name} could be read when the run began, not now: {err}") from err
        if zlib.crc32(data) != item.checksum:
            raise DataError(f"{self.where}: {item.file.name} has changed since the run began")
        pixels, _, _ = decode(data, item.file.name, self.grey, self.size)
        return pixels[..., np.newaxis] if self.grey else pixels


def _only_size(sizes: list[Size], where: str) -> Size:
    """The size of all images. Raises DataError if there are several."""
    counts = Counter(sizes).most_common()
    if len(counts) > 1:
        raise DataError(
            f"{where} holds images of {len(counts)} sizes (height x width): {_list_sizes(counts)}; take a recipe "
            "that makes images of one size, as it crops and resizes them, or give images of one size"
        )
    return counts[0][0]


def _labels(paths: list[Parts]) -> tuple[np.ndarray | None, list[str]]:
    """(class numbers (N,), names of the classes), or (None, []) if not every image lies in a class folder."""
    folders = [parts[:-1] for parts in paths]
    ends = zip(min(folders), max(folders), strict=False)  # what the first and the last share, all share
    outer = len(list(takewhile(lambda pair: pair[0] == pair[1], ends)))  # folders that hold everything
    if any(len(parts) <= outer for parts in folders):
        return None, []
    names = sorted({parts[outer] for parts in folders})
    number = {name: index for index, name in enumerate(names)}
    dtype = np.uint8 if len(names) <= 256 else np.int64
    return np.array([number[parts[outer]] for parts in folders], dtype), names


# What the user is told -------------------------------------------------------------------------------


def _summary(where: str, items: list[_Item], images: Images, classes: list[str]) -> str:
    """How many images of which kind, and the classes."""
    kind = "grey" if images.shape[3] == 1 else "RGB"
    sizes = Counter(item.size for item in items).most_common()
    text = f"{where}: {len(items)} {kind} images, height x width {_list_sizes(sizes)}"
    if not classes:
        return text
    more = ", ..." if len(classes) > 3 else ""
    return f"{text}; {len(classes)} classes: {', '.join(map(repr, classes[:3]))}{more}"


def _conversions(items: list[_Item], grey: bool) -> Iterator[str]:
    """The images that were not what they have become: other modes, rotated ones."""
    kind = "L" if grey else "RGB"
    modes = Counter(item.header.mode for item in items if item.header.mode != kind)
    if modes:
        found = ", ".join(f"{count} {mode}" for mode, count in modes.most_common())
        into = "grey" if grey else "RGB"
        yield f"made {into} of other modes ({found}): transparent parts are put on black, 16 bits divided by 257"
    if turned := sum(item.turned for item in items):
        yield f"turned as their EXIF data say: {turned} images"


def _resizing(items: list[_Item], size: Size) -> Iterator[str]:
    """The rule for images that had another size."""
    if others := sum(item.size != tuple(size) for item in items):
        yield f"{others} images are {RULE} to {times(size)}"


def _left_out(skipped: list[tuple[File, str]], listing: Listing) -> Iterator[str]:
    """The files that were not used, and why."""
    if skipped:
        yield f"skipped {len(skipped)} of {len(listing.files)} image files: {_examples(skipped)}"
    if listing.others:
        yield f"left out {len(listing.others)} files without an image's extension, such as {listing.others[0]!r}"
    if listing.runs:
        yield f"left out folders of runs, with what was drawn in them: {listing.runs}"
    if listing.special:
        yield f"left out {listing.special} links that lead nowhere or in circles, pipes or devices"


def _examples(skipped: list[tuple[File, str]]) -> str:
    """The first three files with their reasons."""
    more = ", ..." if len(skipped) > 3 else ""
    return ", ".join(f"{file.name} ({reason})" for file, reason in skipped[:3]) + more


def _list_sizes(counts: list[tuple[Size, int]]) -> str:
    """The most frequent sizes first, with their counts."""
    if len(counts) == 1:
        return times(counts[0][0])
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    return ", ".join(f"{times(size)} ({count})" for size, count in counts[:5]) + more
