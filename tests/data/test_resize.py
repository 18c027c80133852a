"""The one rule for sizes: cut at the centre to the shape wanted, then bilinear with averaging."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minigan.data.resize import MEMORY, centre_crop, fit, streaming
from minigan.data.sources import load_images
from minigan.data.stream import StreamedImages
from minigan.runs.options import RunOptions

real_data = pytest.mark.skipif(not os.environ.get("MINIGAN_DATA"), reason="MINIGAN_DATA is not set: give a data folder")
lengths = st.integers(1, 40)
sizes = st.tuples(lengths, lengths)


@given(sizes, sizes)
def test_the_crop_is_the_largest_centred_part_of_the_shape_wanted(found, wanted):
    (h, w), (H, W) = found, wanted
    left, top, width, height = centre_crop(found, wanted)
    assert 1 <= width <= w
    assert 1 <= height <= h
    assert (width, height) == (w, height) or (width, height) == (width, h)  # it touches two edges
    assert (w - width) - 2 * left in (0, 1)
    assert (h - height) - 2 * top in (0, 1)
    # The aspect is right to half a pixel, where there is a pixel to lose.
    assert abs(width - height * W / H) <= 0.5 or abs(height - width * H / W) <= 0.5 or 1 in (width, height)


@pytest.mark.parametrize(
    ("found", "wanted", "crop"),
    [
        ((28, 28), (64, 64), (0, 0, 28, 28)),
        ((48, 64), (64, 64), (8, 0, 48, 48)),
        ((65, 48), (24, 24), (0, 8, 48, 48)),
        ((100, 100), (50, 100), (0, 25, 100, 50)),
        ((3, 1000), (8, 8), (498, 0, 3, 3)),
        ((1000, 1), (1, 1000), (0, 499, 1, 1)),
    ],
)
def test_crops_by_hand(found, wanted, crop):
    assert centre_crop(found, wanted) == crop


@given(sizes, sizes, st.sampled_from([1, 3]), st.integers(0, 255), st.integers(1, 3))
def test_a_flat_image_stays_flat_and_the_shape_is_as_asked(found, wanted, channels, value, count):
    result = fit(np.full((count, *found, channels), value, np.uint8), wanted)
    assert result.shape == (count, *wanted, channels)
    assert result.dtype == np.uint8
    assert (result == value).all()


@given(sizes, sizes, st.sampled_from(["L", "RGB"]), st.integers(0, 2**32 - 1))
def test_an_image_and_an_array_are_treated_alike(found, wanted, mode, seed):
    shape = (*found, 3) if mode == "RGB" else found
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    image = fit(Image.fromarray(pixels), wanted)
    array = fit(pixels.reshape(1, *found, -1), wanted)
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image).reshape(array[0].shape), array[0])


def test_halving_averages_and_does_not_pick():
    checks = np.indices((32, 32)).sum(axis=0) % 2 * 255
    small = fit(checks.astype(np.uint8)[np.newaxis, ..., np.newaxis], (8, 8))
    assert np.abs(small.astype(int) - 127.5).max() < 8  # a filter without averaging gives 0 or 255


def test_enlarging_is_linear_between_pixel_centres():
    large = fit(np.array([[0, 100]], np.uint8).reshape(1, 1, 2, 1), (1, 2))
    assert large.ravel().tolist() == [0, 100]
    large = fit(np.array([[0, 100], [0, 100]], np.uint8).reshape(1, 2, 2, 1), (4, 4))
    assert large[0, :, :, 0].tolist() == [[0, 25, 75, 100]] * 4


def test_a_mirrored_image_gives_the_mirrored_result():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit(pixels[:, ::-1, ::-1], (7, 5)), fit(pixels, (7, 5))[:, ::-1, ::-1])


def test_images_of_the_right_size_are_not_touched():
    pixels = np.zeros((2, 5, 6, 1), np.uint8)
    assert fit(pixels, (5, 6)) is pixels
    image = Image.new("RGB", (6, 5))
    assert fit(image, (5, 6)) is image


def test_the_user_is_told_how_much_memory_images_would_take():
    assert RunOptions().image_memory * 2**30 == MEMORY
    assert streaming((60000, 256, 256, 3), MEMORY) == (
        "60000 images of 256 x 256 x 3 bytes would take 11 GiB, --image-memory is 4: "
        "they are decoded again and again while training goes on"
    )


def test_the_embedded_digits_in_another_size():
    data = load_images("mnist5k", size=(64, 64))
    assert data.images.shape == (5000, 64, 64, 1)
    assert data.notices == (
        "mnist5k: images of 28 x 28 are cropped at the centre to the shape wanted, "
        "then resized (bilinear, antialiased) to 64 x 64",
    )
    assert data.images.mean() == pytest.approx(load_images().images.mean(), abs=0.5)
    assert load_images("mnist5k", size=(28, 28)).notices == ()


def test_digits_for_which_there_is_no_memory_are_resized_when_they_are_needed():
    kept, streamed = (
        load_images("mnist5k", size=(32, 32), memory=memory) for memory in (5000 * 32 * 32, 5000 * 32 * 31)
    )
    assert isinstance(kept.images, np.ndarray)
    assert isinstance(streamed.images, StreamedImages)
    assert streamed.images.shape == kept.images.shape
    assert np.array_equal(streamed.images[[3, 4999, 3]], kept.images[[3, 4999, 3]])
    assert streamed.notices[:-1] == kept.notices
    assert "5000 images of 32 x 32 x 1 bytes would take 0.00477 GiB, --image-memory is 0.00462" in streamed.notices[-1]
    assert load_images("mnist5k", size=(1024, 1024)).images.shape == (5000, 1024, 1024, 1)  # 4.9 GiB


@real_data
def test_mnist_becomes_square_of_another_size():
    data = load_images("mnist", split="test", size=(32, 32))
    assert data.images.shape == (10000, 32, 32, 1)
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]
