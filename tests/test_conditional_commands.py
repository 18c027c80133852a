"""Runs whose networks are told of classes, as a person starts the commands: trained, drawn, scored, exported."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageSequence
from safetensors.numpy import load_file, save_file

from minigan.backend import CPU
from minigan.data.sources import load_images
from minigan.randomness import Purpose, stream
from minigan.runs import latents
from minigan.runs.saved import load_run
from tests.commands import error_of, run

NARROW = ("--width", "2", "--units", "6", "--latent", "3", "--batch-size", "16", "--device", "cpu")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A few rounds on embedded digits, scored along the way, stopped, and gone on with."""
    cwd = tmp_path_factory.mktemp("told")
    done = run(cwd, "minigan.train", "cdcgan-28", *NARROW, "--steps", "4", "--evaluate-every", "3", "--out", "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "in the class that was told 0.998" in done.stdout  # of real images
    done = run(cwd, "minigan.train", "--resume", "--out", "run", "--steps", "6", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    return cwd


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_each_column_of_ten_is_a_class(told):
    saved = load_run(told / "run", CPU)
    z = saved.recipe.draw_latents(np.random.default_rng(0), 20)
    drawn, threes = saved.draw(z), saved.draw(z, saved.recipe.codes(20, 3))
    assert [bool((a == b).all()) for a, b in zip(drawn, threes, strict=True)] == [i % 10 == 3 for i in range(20)]


def test_samples_of_a_class_are_drawn_into_a_file_of_their_own(told):
    for label in ((), ("--label", "2"), ("--label", "5")):
        done = run(told, "minigan.sample", "run", "--count", "8", *label, "--device", "cpu")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"8 samples{f' of class {label[1]}' if label else ''} of cdcgan-28, step 6: ")
    turn, twos, fives = (
        pixels(told / "run" / f"more-samples-{name}0.png") for name in ("", "label-2-", "label-5-")
    )  # fmt: skip
    assert not np.array_equal(twos, fives)
    third = (slice(60), slice(120, 176))  # the third of a row of three
    assert np.array_equal(turn[third], twos[third])
    assert not np.array_equal(turn[third], fives[third])


@pytest.mark.parametrize("label", [(), ("--label", "4")], ids=["in turn", "of one class"])
def test_a_walk_goes_from_class_to_class_and_arithmetic_stays_in_the_first_one(told, label):
    for words in (["--walk", "2", "--between", "2"], ["--arithmetic", "1", "2", "3"]):
        done = run(told, "minigan.sample", "run", *words, *label, "--scale", "1", "--device", "cpu")
        assert (done.returncode, done.stderr) == (0, "")
    saved, of = load_run(told / "run", CPU), "label-4-" if label else ""
    z = saved.recipe.draw_latents(stream(0, Purpose.SAMPLE), 4)
    codes = saved.recipe.codes(4, *map(int, label[1:]))
    halves = (codes[0] + codes[1]) / 2
    way = saved.draw(latents.walk(z[:2], 2), np.stack([codes[0], halves, codes[1], halves]))
    with Image.open(told / "run" / f"walk-{of}0.gif") as walk:
        frames = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(walk)]
    again = [True, *(not np.array_equal(*pair) for pair in pairwise(way))]  # frames that are the same are shown as one
    np.testing.assert_array_equal(frames, way[again, ..., 0])
    fourth = saved.draw(latents.arithmetic(z, (1, 2, 3)), codes[[1, 2, 3, 1]])[3, ..., 0]
    np.testing.assert_array_equal(pixels(told / "run" / f"arithmetic-{of}0.png")[:, -28:], fourth)


def test_two_scores_ask_for_the_class(told):
    done = run(told, "minigan.evaluate", "run", "--samples", "30", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["score"]: row for row in json.loads((told / "run" / "evaluation.json").read_text())["scores"]}
    right, wrong = rows["in the class that was told"], rows["error of nearest neighbours"]
    assert (right["metric"], right["space"], wrong["metric"], wrong["space"]) == (
        "class-accuracy", "classifier-mnist", "nearest-neighbour", "pixels",
    )  # fmt: skip
    assert right["value"] < 0.5 < 0.9 < right["real"]
    assert wrong["value"] > 0.5 > wrong["real"]
    assert "in the class that was told" in (told / "run" / "scores.csv").read_text().splitlines()[0]


def test_images_without_classes_are_compared_all_the_same(told):
    (told / "flat").mkdir()
    for number, image in enumerate(load_images().images[:60, ..., 0]):
        Image.fromarray(image).save(told / "flat" / f"{number:02}.png")
    done = run(told, "minigan.evaluate", "run", "--data", "folder:flat", "--samples", "20", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "note: folder:flat does not tell the classes of its images, which nearest-neighbour would need" in done.stdout
    )
    assert "error of nearest neighbours" not in done.stdout


@pytest.mark.parametrize("form", ["safetensors", "onnx"])
def test_it_is_exported_and_what_goes_in_is_said(told, form):
    if form == "onnx":
        pytest.importorskip("onnx", reason="writes ONNX, and onnx is not installed: pip install '.[export]'")
    done = run(told, "minigan.export", "run", "--format", form)
    assert (done.returncode, done.stderr) == (0, "")
    said = {
        "safetensors": "input (N, 13) with the code of the class in the last 10 channels, output (N, 11, 28, 28) with",
        "onnx": "input (N, 3) and y (N, 10), the one-hot code of the class, output (N, 1, 28, 28); pixels in [0, 1]",
    }
    assert said[form] in done.stdout


def test_exported_networks_make_a_run_again(told):
    for network in ("generator", "discriminator"):
        assert run(told, "minigan.export", "run", "--network", network).returncode == 0
    done = run(
        told, "minigan.load", "run/generator.safetensors", "--discriminator", "run/discriminator.safetensors",
        "--out", "again",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    before, after = load_run(told / "run", CPU), load_run(told / "again", CPU)
    assert after.recipe == before.recipe
    z = before.recipe.draw_latents(np.random.default_rng(0), 10)
    np.testing.assert_array_equal(after.draw(z), before.draw(z))
    done = run(told, "minigan.train", "--resume", "--out", "again", "--steps", "1", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "arguments", "code", "part"),
    [
        ("minigan.sample", ["run", "--label", "10"], 2, "--label 10 is out of range: the G of run is told of 0 to 9"),
        ("minigan.sample", ["run", "--label", "-1"], 2, "--label -1 is out of range: the G of run is told of 0 to 9"),
        (
            "minigan.train",
            ["cdcgan-28", "--data", "folder:flat"],
            1,
            "has to know the class of each image, and folder:",
        ),
        ("minigan.train", ["cdcgan-28", "--classes", "4"], 1, "told of 4 classes, and mnist5k has 10: --classes 10"),
        ("minigan.train", ["cdcgan-28", "--classes", "0"], 2, "--classes 0 is out of range: allowed are 1 to 1000"),
    ],
)
def test_bad_input_gives_one_line(told, name, arguments, code, part):
    (told / "flat").mkdir(exist_ok=True)
    Image.new("L", (28, 28)).save(told / "flat" / "black.png")
    done = run(told, name, *arguments, "--device", "cpu")
    assert part in error_of(done)
    assert done.returncode == code


def test_a_g_that_is_told_nothing_draws_no_class(tmp_path):
    small = ("--hidden-g", "8", "--hidden-d", "8", "--latent", "3", "--batch-size", "8", "--device", "cpu")
    assert run(tmp_path, "minigan.train", *small, "--steps", "1", "--out", "run").returncode == 0
    done = run(tmp_path, "minigan.sample", "run", "--label", "3")
    assert done.returncode == 2
    assert "--label 3: the G of run is told of no classes" in error_of(done)
    done = run(tmp_path, "minigan.evaluate", "run", "--metric", "class-accuracy")
    assert "--metric class-accuracy is for runs whose G is told of classes, and this one is of" in error_of(done)


def test_samples_that_are_normalised_among_themselves(tmp_path):
    """In groups as large as a batch, none of which is a single sample; one alone is refused."""
    own = ("--no-running-statistics", "--batch-size", "9")  # of 100 samples one would be left over
    done = run(tmp_path, "minigan.train", "cdcgan-28", *NARROW, *own, "--steps", "2", "--out", "run")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(tmp_path, "minigan.train", "--resume", "--out", "run", "--steps", "3", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    for count in ("2", "17"):
        assert run(tmp_path, "minigan.sample", "run", "--count", count, "--device", "cpu").returncode == 0
    done = run(tmp_path, "minigan.sample", "run", "--count", "1", "--device", "cpu")
    assert done.returncode == 1
    assert "one sample alone cannot be drawn: G normalises samples among themselves" in error_of(done)
    assert run(tmp_path, "minigan.evaluate", "run", "--samples", "33", "--device", "cpu").returncode == 0
    assert run(tmp_path, "minigan.export", "run").returncode == 0
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(tmp_path / "run" / "generator.safetensors"), bare)
    done = run(tmp_path, "minigan.load", bare, "--recipe", "cdcgan-28", "--out", "again")
    assert (done.returncode, done.stderr) == (0, "")
    assert not load_run(tmp_path / "again", CPU).recipe.running_statistics
    done = run(tmp_path, "minigan.export", "run", "--format", "onnx")
    assert re.search("ONNX's batch normalisation needs running statistics|needs the package onnx", error_of(done))


def test_a_folder_with_a_folder_for_each_class(tmp_path):
    digits = load_images()
    for name, digit in (("ones", 1), ("twos", 2), ("zeros", 0)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.labels == digit][:20, ..., 0]):
            Image.fromarray(image).save(tmp_path / "images" / name / f"{number:02}.png")
    done = run(tmp_path, "minigan.train", "cdcgan-28", *NARROW, "--data", "folder:images", "--classes", "3",
               "--steps", "2", "--out", "run")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "cdcgan-28 on cpu, 60 images" in done.stdout  # nothing is kept back of so few
    assert run(tmp_path, "minigan.sample", "run", "--label", "2", "--device", "cpu").returncode == 0
    done = run(tmp_path, "minigan.sample", "run", "--label", "3", "--device", "cpu")
    assert "--label 3 is out of range: the G of run is told of 0 to 2" in error_of(done)
    done = run(tmp_path, "minigan.evaluate", "run", "--samples", "20", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert "error of nearest neighbours" in done.stdout


def test_a_loaded_run_is_told_what_it_lacks_to_be_trained_further(told):
    (told / "flat").mkdir(exist_ok=True)
    Image.new("L", (28, 28)).save(told / "flat" / "black.png")
    for network in ("generator", "discriminator"):
        assert run(told, "minigan.export", "run", "--network", network).returncode == 0
    done = run(
        told, "minigan.load", "run/generator.safetensors", "--discriminator", "run/discriminator.safetensors",
        "--data", "folder:flat", "--out", "flat-run",
    )  # fmt: skip
    assert done.returncode == 0
    assert "it cannot be trained further: cdcgan-28 has to know the class of each image" in done.stdout
