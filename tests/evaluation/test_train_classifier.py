"""Training the classifier: it learns, repeats itself, moves images as it says, and explains errors."""

import struct
import subprocess
import sys

import numpy as np
import pytest

from minigan import cli
from minigan.data.sources import load_images
from minigan.errors import DataError, UsageError
from minigan.evaluation.classifier import Classifier, read_weights
from minigan.evaluation.train_classifier import Options, main, moved

COUNT = 400


def write_idx(path, array):
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small MNIST: embedded digits, the test images other ones than the training images."""
    data = load_images("mnist5k")
    path = tmp_path_factory.mktemp("digits")
    for prefix, part in (("train", slice(COUNT)), ("t10k", slice(COUNT, 2 * COUNT))):
        write_idx(path / f"{prefix}-images-idx3-ubyte", data.images[part, ..., 0])
        write_idx(path / f"{prefix}-labels-idx1-ubyte", data.labels[part])
    return path


def train(folder, out, epochs, *options):
    arguments = ("--epochs", str(epochs), "--batch-size", "20", "--average", "0.9", *options)
    assert main([f"mnist:{folder}", "--out", str(out), *arguments]) == 0
    return out.read_bytes()


def test_the_same_seed_gives_the_same_file(folder, tmp_path):
    first, again, other = (train(folder, tmp_path / "out", 1, "--seed", seed) for seed in ("0", "0", "1"))
    assert first == again != other


def test_it_learns(folder, tmp_path, capsys):
    content = train(folder, tmp_path / "a", 8)
    printed = capsys.readouterr().out
    data = load_images(f"mnist:{folder}", split="test")
    share = (Classifier("", read_weights(content)).classes(data.images) == data.labels).mean()
    assert share > 0.8  # of images it has not seen, after 400 it has
    assert f"accuracy on {COUNT} test images {share:.2%}: {tmp_path / 'a'}" in printed
    assert printed.count("epoch") == 8


def test_an_image_moves_by_no_more_than_it_may_and_keeps_its_pixels():
    images = np.zeros((500, 9, 9, 1), np.uint8)
    images[:, 4, 4] = 7
    shifted = moved(images, 2, False, np.random.default_rng(0))
    assert shifted.shape == images.shape
    _, rows, columns, _ = np.nonzero(shifted == 7)
    assert len(rows) == 500
    assert set(zip((rows - 4).tolist(), (columns - 4).tolist(), strict=True)) == {
        (a, b) for a in range(-2, 3) for b in range(-2, 3)
    }


def test_black_moves_in_and_what_moves_out_is_gone():
    images = np.full((50, 5, 5, 1), 9, np.uint8)
    shifted = moved(images, 1, False, np.random.default_rng(0))
    assert {int((image == 9).sum()) for image in shifted} == {25, 20, 16}
    assert set(np.unique(shifted)) == {0, 9}


def test_half_of_the_images_are_mirrored_if_asked_for():
    images = np.tile(np.arange(6, dtype=np.uint8), (1000, 6, 1))[..., None]
    flipped = moved(images, 0, True, np.random.default_rng(0))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (flipped == images).all(axis=(1, 2, 3))).all()
    assert 400 < mirrored.sum() < 600
    assert (moved(images, 0, False, np.random.default_rng(0)) == images).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("mnist5k", "--out", "x"), UsageError, "mnist5k has no test split"),
        (("mnist:/none", "--out", "x"), DataError, "No such file or directory"),
        (("mnist:/none",), UsageError, "--out"),
        (("mnist:/none", "--out", "/none/x"), UsageError, "there is no folder /none"),
        (("mnist:/none", "--out", "/"), UsageError, "--out / is a folder"),
        (("mnist:/none", "--out", "x", "--epochs", "0"), UsageError, "--epochs 0 is out of range"),
        (("mnist:/none", "--out", "x", "--epoch", "3"), UsageError, "did you mean --epochs"),
    ],
)
def test_errors_say_what_would_work(arguments, error, message):
    with pytest.raises(error, match=message):
        main(list(arguments))


def test_images_of_another_size_are_refused(tmp_path):
    for prefix in ("train", "t10k"):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", np.zeros((30, 8, 8), np.uint8))
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", np.zeros(30, np.uint8))
    with pytest.raises(UsageError, match=r"the classifier is for images of \(28, 28, 1\)"):
        main([f"mnist:{tmp_path}", "--out", str(tmp_path / "x")])


def test_the_defaults_are_options_that_can_be_parsed():
    chosen = cli.parse(Options, ["mnist:DIR", "--out", "x"], prog="p", description="d")
    assert (chosen.epochs, chosen.flip, chosen.shift) == (20, False, 2)


def test_help_loads_no_numpy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "minigan.evaluation.train_classifier", "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "| numpy" not in done.stderr
