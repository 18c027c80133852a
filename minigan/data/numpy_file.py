"""Images in a file of NumPy's: an array (``.npy``), or several by name (``.npz``, a zip file of the former).

    images  uint8, (N, H, W) or (N, H, W, 1) grey, (N, H, W, 3) RGB
    labels  whole numbers from 0 on, (N,) or (N, 1); may be missing

In an ``.npz`` file they have one of the pairs of names in NAMES; a single array may have any name.

    bytes 0-5   93 'NUMPY'
    bytes 6-7   the version: 1 0 or 2 0
    then        the size of the header, and a Python literal in it: type, order and shape
    then        the numbers

Source: NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays".

As with IDX files, a header can claim anything and nothing is allocated on its word. Nothing is unpickled.
"""

import io
import math
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from numpy.lib import format as npy

from minigan.data.idx import folder_contents, read_at_most, shown
from minigan.data.listing import ZIP_METHODS, one_line
from minigan.data.resize import MEMORY, times
from minigan.errors import DataError
from minigan.typing import Images, Shape

# Of images and labels: minigan's own, those of Keras' mnist.npz, those of MedMNIST.
NAMES = (("images", "labels"), ("x_train", "y_train"), ("train_images", "train_labels"))
ZIP_MAGIC = b"PK"
# By version: bytes of the size of the header, and what reads both.
HEADERS: dict[tuple[int, int], tuple[int, Callable]] = {
    (1, 0): (2, npy.read_array_header_1_0),
    (2, 0): (4, npy.read_array_header_2_0),
}
LONGEST = 10_000  # bytes of a header; NumPy would read whatever it claims before it refuses more
MOST_CLASSES = 2**31
Order = Literal["C", "F"]  # which index runs fastest: the last one, the first one
BYTES = "numpy.round(255 * x).astype('uint8') makes bytes of numbers from 0 to 1"
WHOLE = "x.astype('uint8') makes them of whole numbers in that range"


def read_numpy_file(path: Path, memory: float = MEMORY) -> tuple[Images, np.ndarray | None]:
    """Return images (N, H, W, C) uint8 and labels (N,), or None, of an ``.npy`` or ``.npz`` file (told by content).

    Parameters: memory, bytes that the images may take.
    Raises DataError: no such file, one that is damaged, and arrays that are not as above.
    """
    if not os.path.isfile(path):  # keeps out pipes and devices
        raise DataError(f"{shown(path)} is not a file; {folder_contents(path.parent)}")
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == ZIP_MAGIC
            file.seek(0)
            if zipped:
                return _read_zip(file, shown(path), memory)
            return _read_images(file, shown(path), memory), None
    except OSError as err:
        raise DataError(f"{shown(path)} cannot be read: {err.strerror or err}") from err


def _read_zip(file: BinaryIO, name: str, memory: float) -> tuple[Images, np.ndarray | None]:
    try:
        archive = zipfile.ZipFile(file)
    except Exception as err:  # a damaged directory gives BadZipFile, but also struct.error, ValueError and more
        raise DataError(f"{name} is no .npz file that can be read: {one_line(err)}") from err
    with archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        images, labels = _names(list(members), name)
        with _open(archive, members[images], name) as array:
            pixels = _read_images(array, f"{name}: {images!r}", memory)
        if labels not in members:
            return pixels, None
        with _open(archive, members[labels], name) as array:
            return pixels, _read_labels(array, f"{name}: {labels!r}", len(pixels))


def _names(found: list[str], where: str) -> tuple[str, str]:
    """What images and labels are called here. Raises DataError."""
    for images, labels in NAMES:
        if images in found:
            return images, labels
    if len(found) == 1:
        return found[0], ""
    wanted = " or ".join(repr(images) for images, _ in NAMES)
    there = ", ".join(map(repr, sorted(found)[:4])) or "nothing"
    raise DataError(f"{where} has no array called {wanted}; found there: {there}{', ...' if len(found) > 4 else ''}")


def _open(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> BinaryIO:
    if member.flag_bits & 1 or member.compress_type not in ZIP_METHODS:
        raise DataError(
            f"{where}: {member.filename!r} is encrypted or packed by a rare method; write it by numpy.savez"
        )
    try:
        return cast(BinaryIO, archive.open(member))
    except Exception as err:
        raise DataError(f"{where} is damaged: {one_line(err)}") from err


def _read_images(file: BinaryIO, name: str, memory: float) -> Images:
    dtype, shape, order = _read_header(file, name)
    if dtype != np.uint8:
        ways = BYTES if dtype.kind == "f" else WHOLE
        raise DataError(f"{name} has numbers of type {dtype}; images are bytes (uint8) from 0 to 255: {ways}")
    if not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))):
        raise DataError(f"{name} has shape {shape}; images are (N, H, W), (N, H, W, 1) or (N, H, W, 3){_hint(shape)}")
    if min(shape) < 1:
        raise DataError(f"{name} has shape {shape}: no images, or images of no pixels")
    if math.prod(shape) > memory:
        raise DataError(
            f"{name}: {times(shape)} numbers take {math.prod(shape) / 2**30:.3g} GiB, allowed are {memory / 2**30:.3g} "
            "(--image-memory); images in a folder can be read as they are needed"
        )
    images = _read_numbers(file, name, dtype, shape, order)
    return images if len(shape) == 4 else images[..., np.newaxis]


def _hint(shape: Shape) -> str:
    if len(shape) == 4 and shape[1] in (1, 3):
        return ": x.transpose(0, 2, 3, 1) puts channels last"
    if len(shape) == 2 and math.isqrt(shape[1]) ** 2 == shape[1]:
        return f": x.reshape(-1, {math.isqrt(shape[1])}, {math.isqrt(shape[1])}) makes squares of rows"
    return ""


def _read_labels(file: BinaryIO, name: str, count: int) -> np.ndarray:
    dtype, shape, order = _read_header(file, name)
    if dtype.kind not in "iu" or shape not in ((count,), (count, 1)):
        raise DataError(f"{name} has numbers of type {dtype} and shape {shape}; labels are {count} whole numbers")
    labels = _read_numbers(file, name, dtype, shape, order).reshape(count)
    if not 0 <= labels.min() <= labels.max() < MOST_CLASSES:
        raise DataError(f"{name}: classes are counted from 0, found {labels.min()} to {labels.max()}")
    return labels.astype(np.int64 if labels.max() > 255 else np.uint8)


def _read_header(file: BinaryIO, name: str) -> tuple[np.dtype, Shape, Order]:
    """Type, shape and order of the array. Raises DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote it
            digits, read = HEADERS[npy.read_magic(file)]
            size = file.read(digits)
            if int.from_bytes(size, "little") > LONGEST:
                raise ValueError(f"its header claims {int.from_bytes(size, 'little')} bytes")
            shape, columns_first, dtype = read(io.BytesIO(size + file.read(int.from_bytes(size, "little"))))
    except KeyError as err:
        raise DataError(f"{name} is an array of a version of NumPy's format that is not read: {err}") from err
    except Exception as err:  # what is no literal gives any error that a Python source can give
        raise DataError(f"{name} is no array of NumPy's that can be read: {one_line(err)}") from err
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise DataError(f"{name} claims the shape {shape}")
    return dtype, shape, "F" if columns_first else "C"


def _read_numbers(file: BinaryIO, name: str, dtype: np.dtype, shape: Shape, order: Order) -> np.ndarray:
    expected = math.prod(shape) * dtype.itemsize
    try:
        data = read_at_most(file, expected + 1)  # one more: shows trailing bytes, and a zip file its checksum
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError) as err:
        raise DataError(f"{name} is damaged: {one_line(err)}") from err
    if len(data) != expected:
        found = len(data) if len(data) < expected else "more"
        raise DataError(f"{name}: shape {shape} needs {expected} bytes after the header, found {found}")
    return np.ascontiguousarray(np.frombuffer(data, dtype).reshape(shape, order=order))
