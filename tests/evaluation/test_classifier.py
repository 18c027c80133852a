"""The shipped classifiers: undamaged, as good as they say, and made by the command that they say."""

import os
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from minigan import ops
from minigan.backend import CPU
from minigan.data.resize import fit
from minigan.data.sources import load_images
from minigan.errors import DataError
from minigan.evaluation import classifier as module
from minigan.evaluation.classifier import (
    FEATURES,
    IMAGE_SHAPE,
    WEIGHTS,
    Classifier,
    load_classifier,
    network,
    read_weights,
    write_weights,
)

FILES = Path(module.__file__).parent
TEST_DATA = {"classifier-mnist": "mnist", "classifier-fashion": "fashion"}
GOAL = {"classifier-mnist": 0.992, "classifier-fashion": 0.915}


@pytest.fixture
def fast() -> Iterator[None]:
    """For thousands of images, which take plain kernels several times as long."""
    with ops.fast_kernels(1):
        yield


@pytest.mark.skipif(not os.environ.get("MINIGAN_DATA"), reason="MINIGAN_DATA is not set: it holds the test images")
@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_accuracy_on_the_test_images_is_what_the_table_says(name):
    data = load_images(TEST_DATA[name], split="test")
    accuracy = (load_classifier(name).classes(data.images) == data.labels).mean()
    assert accuracy == pytest.approx(WEIGHTS[name].accuracy, abs=3e-4)  # other BLAS, other rounding: 3 images
    assert accuracy >= GOAL[name]


@pytest.mark.usefixtures("fast")
def test_the_embedded_digits_are_read():
    """They are training images of this classifier, so this tells damage, not skill."""
    data = load_images("mnist5k")
    assert (load_classifier("classifier-mnist").classes(data.images) == data.labels).mean() > 0.995


def drawn_clothes():
    """Trousers, a bag and a T-shirt, as rectangles of grey: (3, 28, 28, 1)."""
    images = np.zeros((3, 28, 28, 1), np.uint8)
    trousers, bag, shirt = images
    trousers[1:5, 9:20] = trousers[5:27, 9:13] = trousers[5:27, 16:20] = 200
    bag[12:25, 3:25] = bag[6:12, 8:10] = bag[6:12, 18:20] = bag[5:7, 8:20] = 180
    shirt[3:26, 8:20] = shirt[4:11, 2:26] = 170
    return images


def test_drawn_clothes_are_recognised():
    """Trousers are class 1, bags 8, T-shirts 0; real ones may not be shipped."""
    assert load_classifier("classifier-fashion").classes(drawn_clothes()).tolist() == [1, 8, 0]


@pytest.mark.usefixtures("fast")
def test_each_knows_nothing_of_the_others_images():
    """A score must say which network looked: the wrong one answers too."""
    digits = load_images("mnist5k")
    share = (load_classifier("classifier-fashion").classes(digits.images) == digits.labels).mean()
    assert share < 0.3


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_file_says_how_it_was_made(name):
    with safe_open(FILES / WEIGHTS[name].file, "np") as file:
        command, accuracy = file.metadata()["made"].split("; ")
    assert accuracy == f"test accuracy {WEIGHTS[name].accuracy:.4f}"
    source, *options = command.split()[3:]
    assert source == f"{TEST_DATA[name]}:DIR"
    assert ("--flip" in options) == (name == "classifier-fashion")


def test_all_that_is_shipped_is_small():
    assert sum((FILES / weights.file).stat().st_size for weights in WEIGHTS.values()) < 2**20


def test_the_network_is_cheap_and_gives_the_features_it_says():
    net = network()
    assert net.macs(IMAGE_SHAPE) == 4_047_232
    body, head = net.layers
    assert body.out_shape(IMAGE_SHAPE) == (FEATURES,)
    assert head.out_shape((FEATURES,)) == (10,)


def test_every_device_sees_the_same_whatever_the_block(device, monkeypatch):
    images = load_images("mnist5k").images[:7]
    whole = load_classifier("classifier-mnist").look(images)
    monkeypatch.setattr(Classifier, "rows", 3)
    parts = load_classifier("classifier-mnist", device).look(images)
    for mine, theirs in zip(whole, parts, strict=True):
        np.testing.assert_allclose(theirs.tolist(), mine, rtol=1e-4, atol=1e-4)
    assert [part.shape for part in parts] == [(7, 128), (7, 10)]


def test_the_features_and_logits_are_those_of_the_whole_network():
    classifier = load_classifier("classifier-mnist")
    images = load_images("mnist5k").images[:5]
    _, logits = classifier.look(images)
    whole, _ = network().forward(classifier.theta, module.encode(images), train=False)
    np.testing.assert_array_equal(logits, whole)


@pytest.mark.parametrize("where", [0, 50_000, -1])
def test_a_flipped_bit_is_noticed(tmp_path, monkeypatch, where):
    file = WEIGHTS["classifier-mnist"].file
    data = bytearray((FILES / file).read_bytes())
    data[where] ^= 1
    (tmp_path / file).write_bytes(data)
    monkeypatch.setattr(resources, "files", lambda _package: tmp_path)
    with pytest.raises(DataError, match=r"damaged \(checksum mismatch\): reinstall minigan"):
        load_classifier("classifier-mnist")


def test_a_missing_file_is_a_data_error(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "files", lambda _package: tmp_path)
    with pytest.raises(DataError, match=r"No such file or directory.*reinstall minigan"):
        load_classifier("classifier-fashion")


def test_images_of_other_sizes_are_resized():
    images, classifier = load_images("mnist5k", size=(56, 56)).images[:3], load_classifier("classifier-mnist")
    assert all(map(np.array_equal, classifier.look(images), classifier.look(fit(images, (28, 28)))))


@pytest.mark.parametrize("images", [np.zeros((2, 28, 28, 3), np.uint8), np.zeros((2, 28, 28, 1), np.float32)])
def test_other_images_are_refused(images):
    with pytest.raises(DataError, match="classifier-mnist takes images of 1 colour channels of bytes"):
        load_classifier("classifier-mnist").look(images)


def test_weights_survive_the_file_but_for_their_rounding():
    theta = load_classifier("classifier-mnist", CPU).theta
    again = read_weights(write_weights(theta))
    assert again.flat.tobytes() == theta.flat.tobytes()  # they were float16 already
    assert len(theta.flat) == 132_266
    assert sys.getsizeof(write_weights(theta)) < 270_000
