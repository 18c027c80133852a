"""Stacked MNIST: three digits in one image, the same in each run, with classes that say which."""

import os

import numpy as np
import pytest

from minigan.data.sources import has_test_split, load_images
from minigan.errors import DataError, UsageError


@pytest.fixture(scope="module")
def stacked():
    return load_images("stacked")


def test_each_colour_is_a_digit_of_the_class_that_the_label_says(stacked):
    digits = load_images("mnist5k")
    class_of = {image.tobytes(): label for image, label in zip(digits.images, digits.labels, strict=True)}
    assert stacked.images.shape == (60_000, 28, 28, 3)
    assert (stacked.images.dtype, stacked.labels.dtype) == (np.uint8, np.int64)
    for image, label in zip(stacked.images[:200], stacked.labels[:200], strict=True):
        assert [class_of[image[..., c : c + 1].tobytes()] for c in range(3)] == [int(d) for d in f"{label:03}"]


def test_all_thousand_classes_are_about_equally_frequent(stacked):
    counts = np.bincount(stacked.labels, minlength=1000)
    assert len(counts) == 1000
    chi_square = ((counts - 60) ** 2 / 60).sum()
    assert abs(chi_square - 999) < 4 * np.sqrt(2 * 999)


def test_the_digits_of_an_image_are_chosen_independently(stacked):
    red, green, blue = stacked.labels // 100, stacked.labels // 10 % 10, stacked.labels % 10
    assert np.abs(np.corrcoef([red, green, blue]) - np.eye(3)).max() < 0.02


def test_they_are_the_same_in_each_run(stacked):
    np.testing.assert_array_equal(load_images("stacked").labels, stacked.labels)


def test_they_come_in_other_sizes(stacked):
    from minigan.data.sources import Dataset, _resized

    some = Dataset(stacked.images[:5], stacked.labels[:5], "stacked")
    assert _resized(some, (64, 64), 2**30).images.shape == (5, 64, 64, 3)


def test_the_embedded_digits_have_no_test_split_and_idx_files_have():
    assert has_test_split("stacked:DIR")
    assert not has_test_split("stacked")
    with pytest.raises(UsageError, match="mnist5k has no test split"):
        load_images("stacked", split="test")
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte\[\.gz\] in 'none'"):
        load_images("stacked:none")


@pytest.mark.skipif(not os.environ.get("MINIGAN_DATA"), reason="MINIGAN_DATA is not set: give a folder with mnist/")
def test_test_images_are_stacked_of_test_digits():
    folder = os.path.join(os.environ["MINIGAN_DATA"], "mnist")
    test, digits = load_images(f"stacked:{folder}", split="test"), load_images(f"mnist:{folder}", split="test")
    assert test.images.shape == (26_000, 28, 28, 3)
    known = {image.tobytes() for image in digits.images}
    assert all(image[..., c].tobytes() in known for image in test.images[:100] for c in range(3))
