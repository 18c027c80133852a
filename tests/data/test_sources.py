"""Data sources: the embedded digits, and the IDX files of MNIST and Fashion-MNIST."""

import gzip
import hashlib
import os
import struct
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from minigan.data.sources import Dataset, _unpack_embedded, load_images
from minigan.errors import DataError, UsageError

real_data = pytest.mark.skipif(
    not os.environ.get("MINIGAN_DATA"),
    reason="MINIGAN_DATA is not set: give a folder that holds mnist/ and fashion-mnist/ to run this",
)


def write_idx(path: Path, array: np.ndarray) -> None:
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_pair(folder: Path, prefix="train", dash="-", end="", images=6, labels=6) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(images * 20, dtype=np.uint8).reshape(images, 4, 5)
    write_idx(folder / f"{prefix}-images{dash}idx3-ubyte{end}", pixels)
    write_idx(folder / f"{prefix}-labels{dash}idx1-ubyte{end}", np.arange(labels, dtype=np.uint8))


def test_the_default_is_the_embedded_digits():
    data = load_images()
    assert data.name == "mnist5k"
    assert data.images.shape == (5000, 28, 28, 1)
    assert data.images.dtype == data.labels.dtype == np.uint8
    assert np.bincount(data.labels).tolist() == [500] * 10
    assert data.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert (data.images.min(), data.images.max()) == (0, 255)


@pytest.mark.parametrize("where", [0, 100, 400_000, -1])
def test_a_single_flipped_bit_in_the_embedded_digits_is_noticed(where):
    data = bytearray(resources.files("minigan.data").joinpath("mnist5k.npz").read_bytes())
    _unpack_embedded(bytes(data))
    data[where] ^= 1
    with pytest.raises(DataError, match=r"damaged \(checksum mismatch\): reinstall minigan"):
        _unpack_embedded(bytes(data))


def test_an_incomplete_installation_is_a_data_error(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "files", lambda _package: tmp_path)
    with pytest.raises(DataError, match=r"No such file or directory.*reinstall minigan"):
        load_images("mnist5k")


@pytest.mark.parametrize("kind", ["mnist", "fashion"])
@pytest.mark.parametrize("dash", ["-", "."])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_folders_in_every_spelling(tmp_path, kind, dash, end):
    write_pair(tmp_path, "train", dash, end, images=6, labels=6)
    write_pair(tmp_path, "t10k", dash, end, images=2, labels=2)
    train, test = load_images(f"{kind}:{tmp_path}"), load_images(f"{kind}:{tmp_path}", split="test")
    assert (train.name, train.images.shape, test.images.shape) == (kind, (6, 4, 5, 1), (2, 4, 5, 1))
    assert train.images[1, 2, 3, 0] == 20 + 2 * 5 + 3
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_colon_and_a_tilde_in_the_folder(tmp_path, monkeypatch):
    write_pair(tmp_path / "a:b")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_images("mnist:~/a:b").images) == 6


def test_bare_names_look_under_minigan_data(tmp_path, monkeypatch):
    write_pair(tmp_path / "mnist", images=3, labels=3)
    write_pair(tmp_path / "fashion-mnist", images=4, labels=4)
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path))
    assert len(load_images("mnist").images) == 3
    assert len(load_images("fashion").images) == 4


@pytest.mark.parametrize("source", ["mnist", "mnist:", "fashion"])
def test_bare_names_without_minigan_data_ask_for_the_folder(source, monkeypatch):
    monkeypatch.delenv("MINIGAN_DATA", raising=False)
    with pytest.raises(UsageError, match=f"as {source.rstrip(':')}:DIR"):
        load_images(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("minst:data", r"unknown data source 'minst:data'; did you mean 'mnist'\?; known are mnist5k"),
        ("Fashion", r"did you mean 'fashion'\?"),
        ("mnist5", r"did you mean 'mnist5k'\?"),
        ("zzz", "unknown data source 'zzz'; known are mnist5k .embedded., mnist:DIR, fashion:DIR"),
        ("", "unknown data source ''; known are"),
        ("mnist5k:here", "takes no folder: write mnist5k, or mnist:here"),
    ],
)
def test_an_unknown_source_is_answered_with_the_known_ones(source, message):
    with pytest.raises(UsageError, match=message):
        load_images(source)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.npz", "numpy"), ("a.NPY", "numpy"), ("photos", "folder"), ("a.zip", "folder")]
)
def test_a_path_alone_is_answered_with_its_kind(tmp_path, monkeypatch, name, kind):
    (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=rf"unknown data source '{name}'; did you mean '{kind}:{name}'\?; known are"):
        load_images(name)


def test_splits():
    with pytest.raises(UsageError, match="mnist5k has no test split"):
        load_images("mnist5k", split="test")
    with pytest.raises(UsageError, match="choose train or test"):
        load_images("mnist5k", split="valid")


def test_missing_files_are_named_with_what_is_there(tmp_path):
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte\[.gz\] in .*is empty"):
        load_images(f"mnist:{tmp_path}")
    write_pair(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"no train-labels-idx1-ubyte\[.gz\] in .*holds 'train-images-idx3-ubyte'"):
        load_images(f"mnist:{tmp_path}")
    with pytest.raises(DataError, match="No such file or directory"):
        load_images(f"mnist:{tmp_path}/none")
    with pytest.raises(DataError, match="File name too long"):
        load_images("mnist:" + "x" * 5000)


def test_labels_in_place_of_images(tmp_path):
    write_pair(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").replace(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match="this is a label file"):
        load_images(f"mnist:{tmp_path}")


def test_as_many_labels_as_images(tmp_path):
    write_pair(tmp_path, images=6, labels=5)
    with pytest.raises(DataError, match="mnist: 5 labels for 6 images"):
        load_images(f"mnist:{tmp_path}")


def test_a_dataset_holds_images_and_may_go_without_labels():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    assert Dataset(images, None, "some").labels is None
    with pytest.raises(DataError, match="some: no images"):
        Dataset(images[:0], None, "some")


@real_data
@pytest.mark.parametrize(
    ("file", "md5"),
    [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ],
)
def test_real_mnist_files_are_the_originals(file, md5):
    path = Path(os.environ["MINIGAN_DATA"], "mnist", file)
    assert hashlib.md5(path.read_bytes()).hexdigest() == md5


@real_data
@pytest.mark.parametrize(("source", "mean"), [("mnist", 33.318), ("fashion", 72.940)])
def test_real_training_images(source, mean):
    data = load_images(source)
    assert data.images.shape == (60000, 28, 28, 1)
    assert np.bincount(data.labels).sum() == 60000
    assert data.labels.max() == 9
    assert round(float(data.images.mean()), 3) == pytest.approx(mean, abs=2e-3)


@real_data
def test_real_test_images():
    data = load_images("mnist", split="test")
    assert data.images.shape == (10000, 28, 28, 1)
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]


@real_data
def test_every_embedded_digit_is_a_training_image_of_mnist_with_its_label():
    def keys(data: Dataset) -> set[bytes]:
        return {image.tobytes() + bytes([label]) for image, label in zip(data.images, data.labels, strict=True)}

    assert keys(load_images("mnist5k")) <= keys(load_images("mnist"))
