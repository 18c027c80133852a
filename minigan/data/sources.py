"""Where images come from: ``load_images("mnist5k")``, ``"mnist:DIR"``, ``"fashion:DIR"``, ``"stacked:DIR"``,
``"folder:PATH"``, ``"numpy:FILE"``.

Pixels stay bytes (uint8) here. How they become numbers, [0, 1] or [-1, 1], belongs to a system's
recipe. Nothing is ever downloaded.
"""

import hashlib
import io
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from minigan.data.idx import folder_contents, read_idx, shown
from minigan.data.numpy_file import read_numpy_file
from minigan.data.resize import MEMORY, RULE, Size, fit, streaming, times
from minigan.data.stacked import stack_digits
from minigan.data.stream import StreamedImages
from minigan.errors import DataError, UsageError, did_you_mean
from minigan.typing import Images

Split = Literal["train", "test"]

DEFAULT_SOURCE = "mnist5k"
KNOWN = (
    "mnist5k (embedded), mnist:DIR, fashion:DIR, stacked, stacked:DIR, folder:PATH (folder or zip file of images), "
    "numpy:FILE (.npy or .npz)"
)
MNIST5K_SHA256 = "36ae894615c73396de14d2207d45ce6983403bbfcb414f71b9b2855ed960e33f"  # of the file


@dataclass(frozen=True, eq=False)  # eq: comparing arrays gives an array, not a truth value
class Dataset:
    """Images of one size, with their classes where these are known.

    Raises DataError if there are no images, or if there are more or fewer labels than images.
    """

    images: Images  # (N, H, W, C) uint8
    labels: np.ndarray | None  # (N,) uint8; int64 where there are more than 256 classes
    name: str
    notices: tuple[str, ...] = ()  # what was done to the images, one line each, to be shown to the user

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise DataError(f"{self.name}: no images")
        if self.labels is not None and len(self.labels) != len(self.images):
            raise DataError(f"{self.name}: {len(self.labels)} labels for {len(self.images)} images")


def load_images(
    source: str = DEFAULT_SOURCE, split: Split = "train", size: Size | None = None, memory: float = MEMORY
) -> Dataset:
    """Load the images that a source such as ``mnist5k`` or ``mnist:DIR`` names.

    * ``mnist5k``: 5,000 MNIST training digits, shipped with minigan, 500 a class; no test split.
    * ``mnist:DIR``, ``fashion:DIR``: the IDX files of MNIST or Fashion-MNIST in folder DIR, plain or
      gzipped. Without ``:DIR``: in ``mnist`` or ``fashion-mnist`` under the folder $MINIGAN_DATA.
    * ``stacked:DIR``: three random digits of MNIST's IDX files in folder DIR as red, green and blue, in 1,000 classes;
      ``stacked``: three of mnist5k, without a test split (see `minigan.data.stacked`).
    * ``folder:PATH``: the image files in a folder, flat or one folder a class, or in a zip file of such a
      folder (rules: `minigan.data.folder`); no test split.
    * ``numpy:FILE``: an array of bytes in an ``.npy`` file, or in an ``.npz`` file under ``images`` (rules:
      `minigan.data.numpy_file`); no test split.

    Parameters: size, the (H, W) that all images get, cropped and resized by the rule of
    `minigan.data.resize.fit`; None for their own, which then has to be one and the same. memory, bytes: what
    takes more once decoded and resized comes as StreamedImages instead of an array.
    Raises UsageError for an unknown source or split, DataError for missing or damaged files.
    """
    kind, _, path = source.partition(":")
    if kind not in KINDS:
        raise UsageError(f"unknown data source {source!r}{_perhaps(source)}; known are {KNOWN}")
    if split not in get_args(Split):
        raise UsageError(f"unknown split {split!r}: choose train or test")
    if kind in _OWN:
        if split != "train":
            raise UsageError(f"{kind}: has no test split: give the test images themselves, as {kind}:...")
        return _OWN[kind](Path(os.path.expanduser(path)) if path else None, size, memory)
    return _resized(_LOADERS[kind](path, split), size, memory)


def _perhaps(source: str) -> str:
    """The kind that was left out before a path, or the one that is spelt nearly like this."""
    path = os.path.expanduser(source)
    if source and os.path.exists(path):
        kind = "numpy" if path.lower().endswith((".npy", ".npz")) else "folder"
        return f"; did you mean {f'{kind}:{source}'!r}?"
    return did_you_mean(source.partition(":")[0].lower(), KINDS)


def fingerprint(images: Images) -> str:
    """SHA-256 of the pixels of 64 images from all over the set (all of a smaller one), by which others are noticed."""
    return checksum(evenly(images, 64))


def checksum(array: np.ndarray) -> str:
    """SHA-256 of the numbers of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def evenly(images: Images, count: int) -> np.ndarray:
    """So many images from all over the set, all of a smaller one: those of a folder come class by class."""
    return np.asarray(images[np.linspace(0, len(images) - 1, min(count, len(images))).astype(np.int64)])


def has_test_split(source: str) -> bool:
    """Whether there are images of this (known) source that no run trains on."""
    kind, _, path = source.partition(":")
    return kind in ("mnist", "fashion") or (kind == "stacked" and path != "")


def _resized(data: Dataset, size: Size | None, memory: float) -> Dataset:
    """The data set with images of another size, and a notice of it."""
    count, *found, channels = data.images.shape
    if size is None or tuple(found) == tuple(size):
        return data
    originals, shape = np.asarray(data.images), (*size, channels)
    notices = (*data.notices, f"{data.name}: images of {times(found)} are {RULE} to {times(size)}")
    if count * math.prod(shape) <= memory:
        return replace(data, images=fit(originals, size), notices=notices)
    streamed = StreamedImages(shape, lambda n: fit(originals[n : n + 1], size)[0], range(count))
    return replace(data, images=streamed, notices=(*notices, streaming(streamed.shape, memory)))


def _load_embedded(folder: str, split: Split) -> Dataset:
    if folder:
        raise UsageError(f"mnist5k is embedded and takes no folder: write mnist5k, or mnist:{folder}")
    if split != "train":
        raise UsageError("mnist5k has no test split: give mnist:DIR with the full MNIST")
    try:
        data = resources.files("minigan.data").joinpath("mnist5k.npz").read_bytes()
    except OSError as err:
        raise DataError(f"the embedded mnist5k.npz cannot be read ({err.strerror}): reinstall minigan") from err
    return _unpack_embedded(data)


def _unpack_embedded(data: bytes) -> Dataset:
    # The checksum comes first: bytes that pass it are known to unpack, and to what size.
    if hashlib.sha256(data).hexdigest() != MNIST5K_SHA256:
        raise DataError("the embedded mnist5k.npz is damaged (checksum mismatch): reinstall minigan")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return Dataset(arrays["images"][..., np.newaxis], arrays["labels"], "mnist5k")


def _load_mnist(folder: str, split: Split) -> Dataset:
    return _load_idx_folder(_folder("mnist", folder, "mnist"), split, "mnist")


def _load_fashion(folder: str, split: Split) -> Dataset:
    return _load_idx_folder(_folder("fashion", folder, "fashion-mnist"), split, "fashion")


def _load_stacked(folder: str, split: Split) -> Dataset:
    digits = _load_mnist(folder, split) if folder else _load_embedded(folder, split)
    assert digits.labels is not None
    return Dataset(*stack_digits(np.asarray(digits.images), digits.labels, split), "stacked")


_LOADERS: dict[str, Callable[[str, Split], Dataset]] = {
    "mnist5k": _load_embedded,
    "mnist": _load_mnist,
    "fashion": _load_fashion,
    "stacked": _load_stacked,
}


def _load_folder(path: Path | None, size: Size | None, memory: float) -> Dataset:
    from minigan.data.folder import read_folder  # not needed for the digits, and Pillow takes a while

    if path is None:
        raise UsageError("folder: give a folder or a zip file with images as folder:PATH")
    images, labels, notices = read_folder(path, size, memory)
    return Dataset(images, labels, "folder", notices)


def _load_numpy(path: Path | None, size: Size | None, memory: float) -> Dataset:
    if path is None:
        raise UsageError("numpy: give an .npy or .npz file with images as numpy:FILE")
    images, labels = read_numpy_file(path, memory)
    kind = "grey" if images.shape[3] == 1 else "RGB"
    notices = [f"{shown(path)}: {len(images)} {kind} images, height x width {times(images.shape[1:3])}"]
    if np.asarray(images).max() <= 1:
        notices.append(f"{shown(path)}: no byte is above 1, which is black, as white is 255: multiply by 255?")
    return _resized(Dataset(images, labels, "numpy", tuple(notices)), size, memory)


_OWN: dict[str, Callable[[Path | None, Size | None, float], Dataset]] = {"folder": _load_folder, "numpy": _load_numpy}
KINDS = (*_LOADERS, *_OWN)


def _folder(kind: str, given: str, default: str) -> Path:
    if given:
        return Path(os.path.expanduser(given))  # a shell leaves the ~ of mnist:~/data alone
    root = os.environ.get("MINIGAN_DATA")
    if not root:
        raise UsageError(
            f"{kind}: give the folder with its IDX files as {kind}:DIR "
            f"(or set MINIGAN_DATA to a folder that holds {default!r})"
        )
    return Path(root, default)


def _load_idx_folder(folder: Path, split: Split, name: str) -> Dataset:
    prefix = {"train": "train", "test": "t10k"}[split]
    images = read_idx(_find(folder, f"{prefix}-images", 3), ndim=3)  # (N, H, W)
    labels = read_idx(_find(folder, f"{prefix}-labels", 1), ndim=1)  # (N,)
    return Dataset(images[..., np.newaxis], labels, name)


def _find(folder: Path, stem: str, ndim: int) -> Path:
    """Find ``train-images-idx3-ubyte``, also with ``.idx3``, also with ``.gz``; the plain file first."""
    for end in ("", ".gz"):
        for dash in "-.":
            path = folder / f"{stem}{dash}idx{ndim}-ubyte{end}"
            if os.path.isfile(path):  # unlike Path.is_file, no error for a path too long to ask about
                return path
    raise DataError(f"no {stem}-idx{ndim}-ubyte[.gz] in {shown(folder)}: {folder_contents(folder)}")
