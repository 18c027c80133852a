"""The IDX format of MNIST: a header of a few numbers, then the bytes of one array.

    bytes 0-1   0 0
    byte  2     type code; 0x08 = unsigned byte, the only one read here
    byte  3     D, the number of dimensions: 3 in an image file (N, H, W), 1 in a label file (N,)
    then        D sizes, each a big-endian unsigned 32-bit number
    then        the product of the sizes in bytes, the last index running fastest

Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", section "File formats".

A header can claim anything, so nothing is allocated on its word: the claim is capped, and then
memory grows only with bytes that are really there, to one byte more than claimed at most.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from minigan.errors import DataError
from minigan.typing import Shape

MAX_BYTES = 2**30  # 20 times MNIST; a larger claim is a damaged header
PIECE = 2**20  # read(n) sets n bytes aside at once, so large payloads are read in pieces
GZIP_MAGIC = b"\x1f\x8b"
KINDS = {1: "a label file", 3: "an image file"}


def read_idx(path: str | os.PathLike[str], ndim: int) -> np.ndarray:
    """Return the uint8 array of an IDX file, plain or gzipped (told by content, not by name).

    Parameters: ndim, the expected number of dimensions: 3 for images (N, H, W), 1 for labels (N,).
    Raises DataError for anything that is not exactly such a file; damaged bytes give no other error.
    """
    path = Path(path)
    if not os.path.isfile(path):  # keeps out pipes and devices too; False also for a path too long to ask about
        raise DataError(f"{shown(path)} is not a file; {folder_contents(path.parent)}")
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
            return _read_array(file, shown(path), ndim)
    except OSError as err:
        raise DataError(f"{shown(path)} cannot be read: {err.strerror or err}") from err


def _read_array(file: BinaryIO, name: str, ndim: int) -> np.ndarray:
    try:
        shape = _read_sizes(file, name, ndim)
        expected = math.prod(shape)
        data = read_at_most(file, expected + 1)  # one more: shows trailing bytes, and gzip its checksum
    except (gzip.BadGzipFile, EOFError, zlib.error) as err:
        raise DataError(f"{name} is damaged at byte {file.tell()} of the unpacked data: {err}") from err
    if len(data) != expected:
        found = len(data) if len(data) < expected else "more"
        raise DataError(f"{name}: sizes {_times(shape)} need {expected} bytes after the header, found {found}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _read_sizes(file: BinaryIO, name: str, ndim: int) -> Shape:
    """Read the header; no size is 0 and their product is at most MAX_BYTES."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != b"\0\0\x08":
        raise DataError(
            f"{name} is not an IDX file of bytes: it starts with {magic.hex(' ') or 'nothing'}, "
            f"expected 00 00 08 {ndim:02x}"
        )
    if magic[3] != ndim:
        kind = KINDS.get(magic[3], "an IDX file of another kind")
        raise DataError(f"{name}: this is {kind} ({magic[3]} dimensions), expected {ndim} dimensions")
    sizes = file.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"{name}: the header needs {4 + 4 * ndim} bytes, found {4 + len(sizes)}")
    shape = struct.unpack(f">{ndim}I", sizes)
    if not 0 < math.prod(shape) <= MAX_BYTES:
        raise DataError(f"{name}: the header claims {_times(shape)} bytes, allowed are 1 to {MAX_BYTES}")
    return shape


def read_at_most(file: BinaryIO, limit: int) -> bytearray:
    """The next bytes, to the end or so many: memory grows with those that are there, not with the limit."""
    data = bytearray()
    while len(data) < limit and (piece := file.read(min(PIECE, limit - len(data)))):
        data += piece
    return data


def _times(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def shown(path: Path) -> str:
    """A path for a message: quoted, with line breaks and undecodable bytes escaped."""
    return repr(str(path))


def folder_contents(folder: Path) -> str:
    """Say what a folder holds, IDX files first, for a message about a file that is not there."""
    try:
        names = sorted(os.listdir(folder), key=lambda name: ("ubyte" not in name, name))
    except (OSError, ValueError) as err:  # ValueError: a path with a null byte
        return f"folder {shown(folder)} cannot be listed: {getattr(err, 'strerror', None) or err}"
    if not names:
        return f"folder {shown(folder)} is empty"
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"folder {shown(folder)} holds {', '.join(map(repr, names[:4]))}{more}"
