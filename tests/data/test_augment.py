"""Mirrored and jittered images: against loops written from the formulas, and against Pillow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageEnhance

from minigan.backend import to_host
from minigan.data.augment import brightness, contrast, draw_changes, grey, jitter, mirror, saturation
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

FACTORS = [0.0, 0.3, 0.8, 1.0, 1.2, 1.7, 2.0]
shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))
batches = shapes.flatmap(lambda shape: arrays(np.uint8, shape))
seeds = st.integers(0, 1000)


def photos(count, channels=3, size=(9, 7)):
    return np.random.default_rng(0).integers(0, 256, (count, *size, channels), dtype=np.uint8)


# Mirroring ----------------------------------------------------------------------------------------------


@given(images=batches, seed=seeds)
def test_the_chosen_samples_are_mirrored_and_the_others_are_not(images, seed):
    chosen = np.random.default_rng(seed).random(len(images)) < 0.5
    turned = mirror(images, chosen)
    assert turned.dtype == np.uint8
    for sample, before, is_chosen in zip(turned, images, chosen, strict=True):
        for w in range(images.shape[2]):
            from_column = images.shape[2] - 1 - w if is_chosen else w
            assert np.array_equal(sample[:, w], before[:, from_column])


def test_mirroring_is_pillow_s_and_twice_nothing():
    images, every = photos(3), np.ones(3, bool)
    turned = mirror(images, every)
    for sample, before in zip(turned, images, strict=True):
        assert np.array_equal(sample, Image.fromarray(before).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert np.array_equal(mirror(turned, every), images)


# Colours: the formulas ----------------------------------------------------------------------------------


def loops(image, b, c, s):
    """One image (H, W, C) changed pixel by pixel, in Python's own numbers."""

    def cut(value):
        return min(max(value, 0.0), 255.0)

    def luma(pixel):
        return pixel[0] if len(pixel) == 1 else 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]

    rows = [[[cut(b * float(v)) for v in pixel] for pixel in row] for row in image]
    greys = [luma(pixel) for row in rows for pixel in row]
    mean = sum(greys) / len(greys)
    rows = [[[cut(mean + c * (v - mean)) for v in pixel] for pixel in row] for row in rows]
    if image.shape[2] == 1:
        return np.array(rows)
    return np.array([[[cut(luma(pixel) + s * (v - luma(pixel))) for v in pixel] for pixel in row] for row in rows])


@given(images=batches, seed=seeds, radius=st.floats(0, 1))
def test_jitter_agrees_with_a_loop_over_the_pixels(images, seed, radius):
    """In float64 to the last digits: a few operations on numbers up to 510, and a mean of 25."""
    factors = draw_changes(np.random.default_rng(seed), len(images), radius).factors
    found = jitter(images.astype(np.float64), factors)
    assert found.shape == images.shape
    for sample, image, (b, c, s) in zip(found, images, factors, strict=True):
        np.testing.assert_allclose(sample, loops(image, b, c, s), rtol=0, atol=1e-11)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(
    ("change", "pillow", "roundings"),
    [
        (brightness, ImageEnhance.Brightness, 0),
        (contrast, ImageEnhance.Contrast, 1),
        (saturation, ImageEnhance.Color, 0.5),
    ],
)
def test_each_change_is_pillow_s_up_to_its_rounding(change, pillow, roundings, factor):
    """Pillow gives whole numbers, by cutting off less than 1 at the end. It also rounds each grey (by at most 0.5), and
    for contrast their mean (another 0.5), which count |1 - factor| times. 1e-9 is for our own arithmetic.
    """
    images = photos(2)
    found = change(images.astype(np.float64), np.full(2, factor))
    for sample, image in zip(found, images, strict=True):
        expected = np.asarray(pillow(Image.fromarray(image)).enhance(factor), np.float64)
        assert abs(sample - expected).max() <= 1 + roundings * abs(1 - factor) + 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_factors_of_one_change_nothing(channels, dtype):
    x = photos(3, channels).astype(dtype)
    found = jitter(x, np.ones((3, 3), dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, x, rtol=0, atol=255 * 4 * np.finfo(dtype).eps)


def test_factors_of_zero_give_black_one_grey_and_a_grey_picture():
    x, zero = photos(2).astype(np.float64), np.zeros(2)
    assert not brightness(x, zero).any()
    flat = contrast(x, zero)
    assert np.ptp(flat, axis=(1, 2, 3)).max() == 0
    np.testing.assert_allclose(flat[:, 0, 0, 0], (x @ [0.299, 0.587, 0.114]).mean(axis=(1, 2)))
    pale = saturation(x, zero)
    assert np.array_equal(pale[..., 0], pale[..., 1])
    assert np.array_equal(pale[..., 0], pale[..., 2])


def test_contrast_keeps_the_mean_grey_and_saturation_every_grey_where_nothing_is_cut():
    x = 100 + photos(2).astype(np.float64) / 8
    strong = np.full(2, 1.9)
    np.testing.assert_allclose(grey(contrast(x, strong)).mean(axis=(1, 2, 3)), grey(x).mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(grey(saturation(x, strong)), grey(x))


def test_grey_images_have_no_saturation():
    x = photos(2, channels=1).astype(np.float64)
    assert np.array_equal(saturation(x, np.array([0.0, 2.0])), x)
    np.testing.assert_allclose(saturation(np.repeat(x, 3, axis=3), np.array([0.0, 2.0])), np.repeat(x, 3, axis=3))


@given(images=batches, seed=seeds)
def test_pixels_stay_between_black_and_white(images, seed):
    factors = draw_changes(np.random.default_rng(seed), len(images), 1.0).factors
    found = jitter(images.astype(np.float32), factors.astype(np.float32))
    assert found.min() >= 0
    assert found.max() <= 255


def test_each_sample_has_its_own_factors_and_its_own_mean():
    x = photos(4).astype(np.float64)
    factors = draw_changes(np.random.default_rng(1), 4, 1.0).factors
    together = jitter(x, factors)
    for n in range(4):
        alone = jitter(x[n : n + 1], factors[n : n + 1])[0]
        np.testing.assert_allclose(together[n], alone, rtol=0, atol=1e-11)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_than_grey_and_rgb_are_refused(channels):
    x = photos(1, channels).astype(np.float64)
    for change in (contrast, saturation):
        with pytest.raises(ValueError, match=rf"grey or RGB .* got \(1, 9, 7, {channels}\)"):
            change(x, np.ones(1))


def test_the_images_given_are_left_alone():
    images = photos(3)
    x, before = images.astype(np.float64), images.copy()
    mirror(images, np.ones(3, bool))
    jitter(x, np.full((3, 3), 0.5))
    assert np.array_equal(images, before)
    assert np.array_equal(x, before)


def test_a_gpu_computes_the_same_without_waiting_and_in_single_precision(strict):
    images = photos(5)
    mirrored, factors = draw_changes(np.random.default_rng(0), 5, 0.4)
    factors = factors.astype(np.float32)
    with forbid_synchronisation(), forbid_dtype("float64"):
        there = mirror(strict.put(images), strict.put(mirrored))
        there = jitter(there.astype(np.float32), strict.put(factors))
    assert np.array_equal(to_host(there), jitter(mirror(images, mirrored).astype(np.float32), factors))


@pytest.mark.gpu
def test_a_real_gpu_computes_the_same_up_to_the_order_of_sums(gpu):
    images = photos(5, size=(64, 64))
    mirrored, factors = draw_changes(np.random.default_rng(0), 5, 0.4)
    there = mirror(gpu.put(images), gpu.put(mirrored))
    assert np.array_equal(to_host(there), mirror(images, mirrored))
    there = jitter(there.astype(np.float64), gpu.put(factors))
    np.testing.assert_allclose(to_host(there), jitter(mirror(images, mirrored).astype(np.float64), factors), atol=1e-10)


# The numbers that are drawn -----------------------------------------------------------------------------


def test_half_are_mirrored_and_factors_are_uniform():
    mirrored, factors = draw_changes(np.random.default_rng(0), 10_000, 0.2)
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / 100  # five standard deviations of a mean of 10,000
    assert factors.shape == (10_000, 3)
    assert 0.8 <= factors.min() < 0.8001
    assert 1.1999 < factors.max() <= 1.2
    assert abs(factors.mean(axis=0) - 1).max() < 5 * 0.2 / np.sqrt(3) / 100
    assert abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.05  # three numbers, not one three times


def test_the_radius_scales_the_same_draws():
    narrow, wide = (draw_changes(np.random.default_rng(0), 6, radius) for radius in (0.1, 1.0))
    assert np.array_equal(narrow.mirrored, wide.mirrored)
    np.testing.assert_allclose((narrow.factors - 1) * 10, wide.factors - 1)
    assert (draw_changes(np.random.default_rng(0), 6, 0.0).factors == 1).all()
