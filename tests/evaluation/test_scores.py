"""From images to rows: what is compared with what, and what each row says about itself."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from minigan.backend import CPU
from minigan.data.sources import Dataset, load_images
from minigan.data.stream import StreamedImages
from minigan.errors import DataError
from minigan.evaluation import material, scores
from minigan.evaluation.classifier import load_classifier
from minigan.evaluation.material import Images, choose_real, classifier_name, load_real, wrapper
from minigan.evaluation.scores import METRICS, compute, neighbour_rows, possible_metrics

GREY, COLOUR = (28, 28, 1), (28, 28, 3)


def wrap(pixels: np.ndarray) -> Images:
    return Images(pixels, CPU)


def real(count: int = 100, seed: int = 0, **options: Any) -> material.Real:
    arguments = {"training_part": lambda images: images, "wrap": wrap} | options
    return load_real("mnist5k", GREY, count=count, seed=seed, **arguments)


def keys(images: Images) -> set[bytes]:
    return {image.tobytes() for image in images.pixels}


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded digits with a test split: the first 1,000 of them."""
    data = load_images("mnist5k")

    def load(source: str, part: str = "train", size: Any = None, memory: float = 0) -> Any:
        assert size == (28, 28)
        assert memory >= 0
        images = data.images[:1000] if part == "test" else data.images[1000:]
        return type(data)(images, None, source)

    monkeypatch.setattr(material, "load_images", load)
    monkeypatch.setattr(material, "has_test_split", lambda _source: True)


def test_the_sets_share_no_image_but_with_the_training_images() -> None:
    found = real(count=10_000)
    sets = [keys(s) for s in (found.reference, found.stand_in, found.validation)]
    assert [len(s) for s in sets] == [2083, 2083, 833]
    assert len(set.union(*sets)) == sum(map(len, sets))
    assert set.union(*sets) <= keys(found.training)
    assert len(found.training.pixels) == 5000
    assert not found.held_out


@pytest.mark.usefixtures("split")
def test_with_a_test_split_the_reference_is_from_it_and_nothing_else_is() -> None:
    found = real(count=700)
    test = {image.tobytes() for image in load_images("mnist5k").images[:1000]}
    assert found.held_out
    assert keys(found.reference) <= test
    assert len(found.reference.pixels) == len(found.stand_in.pixels) == 700
    assert not test & (keys(found.stand_in) | keys(found.validation) | keys(found.training))
    assert not keys(found.stand_in) & keys(found.validation)
    np.testing.assert_array_equal(found.validation.pixels, load_images("mnist5k").images[-666:])  # in order, as in 2014


def test_another_seed_chooses_other_images() -> None:
    np.testing.assert_array_equal(real().reference.pixels, real().reference.pixels)
    assert keys(real(seed=1).reference) != keys(real().reference)


def test_a_recipe_that_keeps_images_back_has_not_seen_them() -> None:
    found = real(training_part=lambda images: images[:4000])
    np.testing.assert_array_equal(found.training.pixels, load_images("mnist5k").images[:4000])


def test_images_get_the_size_of_the_samples() -> None:
    found = load_real("mnist5k", (20, 14, 1), lambda images: images, 30, 0, wrap)
    assert found.reference.pixels.shape == (30, 20, 14, 1)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="mnist5k has images of 1 colour channels, the run makes 3"):
        load_real("mnist5k", COLOUR, lambda images: images, 30, 0, wrap)
    with pytest.raises(DataError, match="too few to score samples with: 19 to compare with"):
        real(count=19)


@pytest.mark.parametrize(
    ("source", "shape", "name"),
    [
        ("mnist5k", GREY, "classifier-mnist"),
        ("mnist:/a:b", (64, 64, 1), "classifier-mnist"),
        ("fashion", GREY, "classifier-fashion"),
        ("folder:mnist", GREY, None),
        ("mnist5k", COLOUR, None),
        ("stacked:/a", COLOUR, "classifier-mnist"),
        ("stacked", (64, 64, 3), "classifier-mnist"),
        ("stacked", GREY, None),
    ],
)
def test_the_classifier_is_that_of_the_data(source: str, shape: Any, name: str | None) -> None:
    assert classifier_name(source, shape) == name


def test_larger_digits_are_made_smaller_for_the_classifier() -> None:
    classifier = load_classifier("classifier-mnist")
    small = load_images("mnist5k", size=(56, 56))
    logits = Images(small.images[:200], CPU, classifier).logits
    assert (logits.argmax(axis=1) == small.labels[:200]).mean() > 0.98


@pytest.mark.parametrize("name", METRICS)
def test_real_images_score_like_the_others_and_rows_say_what_they_looked_at(name: str, device: Any) -> None:
    classifier = load_classifier("classifier-mnist", device)
    found = real(count=60, wrap=lambda pixels: Images(pixels, device, classifier))
    rows = compute(name, found.stand_in, found)
    assert [row.metric for row in rows] == [name] * len(rows)
    for row in rows:
        assert row.space == ("pixels" if METRICS[name].in_pixels else "classifier-mnist")
        assert np.isfinite(row.value)
        if name != "copies":
            assert (row.value, row.error) == (row.real, row.real_error)


@pytest.mark.usefixtures("split")
def test_copies_are_told_from_new_images_by_their_distance() -> None:
    found = real(count=500)
    rows = {row.score: row for row in compute("copies", wrap(found.training.pixels[:200]), found)}
    assert rows["distance to training images"].value < 1e-6
    assert rows["nearer than 99 % of real"].value == 1
    assert rows["nearer than 99 % of real"].real == 0.01
    assert rows["distance to training images"].real == pytest.approx(0.17, abs=0.03)


@pytest.mark.usefixtures("split")
def test_the_distance_is_a_root_mean_square_of_pixels_in_zero_to_one() -> None:
    found = real()
    darker = found.training.pixels[:50].copy()
    darker[:, 0, 0] += 51  # a fifth, in one of 784 pixels that is black in all digits
    (row, _) = compute("copies", wrap(darker), found)
    assert row.value == pytest.approx(0.2 / 28, rel=1e-6)


def test_the_picture_has_samples_above_their_neighbours() -> None:
    found = real()
    new = found.reference.pixels[:1] // 2
    samples = wrap(np.concatenate([new, found.training.pixels[[7, 9]]]))
    rows = neighbour_rows(samples, found, 2)
    assert rows.shape == (8, 28, 28, 1)
    np.testing.assert_array_equal(rows[:2], samples.pixels[:2])
    np.testing.assert_array_equal(rows[3], found.training.pixels[7])
    np.testing.assert_array_equal(rows[4:6], found.training.pixels[[7, 9]])  # the nearest first
    np.testing.assert_array_equal(rows[6:], found.training.pixels[[7, 9]])


def test_images_out_of_memory_give_the_same_sets_and_only_these_are_made() -> None:
    digits, made = load_images("mnist5k").images, set()

    def make(number: int) -> Any:
        made.add(number)
        return digits[number]

    streamed = StreamedImages(GREY, make, range(len(digits)))
    found = choose_real("mnist5k", Dataset(streamed, None, "streamed"), lambda images: images, 50, 0, wrap)
    for name in ("reference", "validation", "stand_in"):
        np.testing.assert_array_equal(getattr(found, name).pixels, getattr(real(count=50), name).pixels)
    assert len(made) == 50 + 833 + 50


def test_training_images_are_looked_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that no memory holds at once: never more than one part of them is made."""
    found, parts = real(count=30), []
    samples = wrap(np.concatenate([found.training.pixels[[4000, 7]], 255 - found.training.pixels[:18]]))
    whole = [(row.value, row.real) for row in compute("copies", samples, found)]

    class Parts:  # stands for StreamedImages
        shape = found.training.pixels.shape

        def __len__(self) -> int:
            return len(found.training.pixels)

        def __getitem__(self, which: Any) -> np.ndarray:
            part = found.training.pixels[which]
            parts.append(len(part))
            return part

    monkeypatch.setattr(scores, "PART", 700 * 28 * 28)
    in_parts = replace(found, training=replace(found.training, pixels=Parts()))
    assert [(row.value, row.real) for row in compute("copies", samples, in_parts)] == whole
    assert parts == [700] * 7 + [100]
    rows = neighbour_rows(samples, in_parts, 2)
    np.testing.assert_array_equal(rows[2:4], found.training.pixels[[4000, 7]])


@pytest.mark.parametrize(
    ("source", "shape", "missing"),
    [
        ("mnist5k", GREY, {"modes"}),
        ("stacked:a", COLOUR, {"classifier-score"}),
        ("folder:a", COLOUR, {"modes", "classifier-score", "frechet"}),
    ],
)
def test_stacked_digits_are_counted_in_modes_and_others_in_classes(source: str, shape: Any, missing: set[str]) -> None:
    told = {"class-accuracy", "nearest-neighbour"}  # for a G that is told of classes
    assert set(METRICS) - set(possible_metrics(source, shape)) == missing | told
    of_classifier = set() if source == "mnist5k" else {"class-accuracy"}
    assert set(METRICS) - set(possible_metrics(source, shape, told=True)) == missing | of_classifier


def test_stacked_digits_are_looked_at_colour_by_colour() -> None:
    data = load_images("stacked")
    images = wrapper("stacked", COLOUR, CPU)(data.images[:300])
    assert images.features.shape == (300, 384)
    assert (images.logits.argmax(axis=1) == data.labels[:300]).mean() > 0.98
