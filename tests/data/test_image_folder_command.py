"""Training on a folder of images, as a person starts it."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from minigan.runs.checkpoint import read_newest
from tests.commands import run

NARROW = ("--hidden-g", "8", "--hidden-d", "8", "--latent", "3", "--batch-size", "8", "--device", "cpu")


def train(cwd, *arguments):
    return run(cwd, "minigan.train", *NARROW, "--steps", "3", "--out", "run", *arguments)


def write_images(folder, count=20, size=(6, 8)):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def error_of(done):
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert re.fullmatch(r"minigan: error: .+\n", done.stderr), done.stderr
    return done.stderr


def test_training_on_a_folder_says_what_it_found_and_leaves_pictures(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "images" / "notes.txt").write_text("x")
    done = train(tmp_path, "--data", "folder:images")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "note: folder 'images': 20 RGB images, height x width 6 x 8\n"
        "note: left out 1 files without an image's extension, such as 'notes.txt'\n"
    )
    assert "20 images, steps 0 to 3" in done.stdout
    with Image.open(tmp_path / "run" / "samples.png") as picture:
        assert picture.mode == "RGB"


def test_a_run_on_a_folder_can_be_resumed_and_other_images_are_noticed(tmp_path):
    folder = write_images(tmp_path / "images")
    assert train(tmp_path, "--data", "folder:images").returncode == 0
    assert "steps 3 to 5" in train(tmp_path, "--resume", "--steps", "5").stdout
    (folder / "0.png").unlink()
    assert "the run was trained on 20 images, folder:" in error_of(train(tmp_path, "--resume", "--steps", "7"))


@pytest.mark.parametrize("recipe", ["mlp-mnist", "mlp-2014"])
def test_images_that_do_not_fit_in_memory_train_to_the_same_bits(tmp_path, recipe):
    folder = write_images(tmp_path / "images", count=150)
    whole = (folder / "7.png").read_bytes()
    (folder / "7.png").write_bytes(whole[:-40])  # its header is good
    options = ("--device", "cpu", "--batch-size", "8", "--steps", "30", "--data", "folder:images", "--jitter", "0.1")
    kept, streamed = (
        run(tmp_path, "minigan.train", recipe, *options, "--out", name, "--image-memory", memory)
        for name, memory in (("kept", "1"), ("streamed", "1e-6"))
    )
    assert (kept.returncode, streamed.returncode, kept.stderr, streamed.stderr) == (0, 0, "", "")
    assert "note: 149 images of 6 x 8 x 3 bytes would take" in streamed.stdout
    assert "skipped 1 of 150 image files: '7.png' (damaged:" in streamed.stdout
    for name in ("metrics.csv", "samples.png"):
        assert (tmp_path / "kept" / name).read_bytes() == (tmp_path / "streamed" / name).read_bytes()
    ends = [read_newest(tmp_path / name / "checkpoints")[0] for name in ("kept", "streamed")]
    assert ends[0].facts == ends[1].facts
    assert all(np.array_equal(tensor, ends[1].tensors[name]) for name, tensor in ends[0].tensors.items())
    assert {*os.listdir(tmp_path / "streamed")} == {*os.listdir(tmp_path / "kept")}


@pytest.mark.parametrize("value", ["-1", "nan", "much"])
def test_a_limit_of_memory_that_is_none_is_one_line(tmp_path, value):
    done = train(tmp_path, "--image-memory", value)
    assert done.returncode == 2
    assert re.fullmatch(r"minigan: error: .*--image-memory.*\n", done.stderr)


def test_a_path_that_is_no_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_images(tmp_path / name)
    done = train(tmp_path, "--data", f"folder:{name}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "note: folder 'caf\\udce9': 20 RGB images" in done.stdout
    assert "steps 3 to 4" in train(tmp_path, "--resume", "--steps", "4").stdout


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no images in folder 'images': no name ends in \.png"),
        ({"a.txt": b"x"}, "found there: 'a.txt'"),
        ({"a.png": b"text"}, r"1 of 1 image files cannot be read, more than 1%: 'a.png' \(not an image\)"),
    ],
)
def test_bad_folders_are_one_line(tmp_path, files, message):
    (tmp_path / "images").mkdir()
    for name, data in files.items():
        (tmp_path / "images" / name).write_bytes(data)
    assert re.search(message, error_of(train(tmp_path, "--data", "folder:images")))


def test_one_image_gives_the_largest_batch_allowed(tmp_path):
    write_images(tmp_path / "images", count=1)
    error = error_of(train(tmp_path, "--data", "folder:images"))
    assert "batch size 8 for 1 images: the largest batch allowed is 1" in error


def test_images_of_several_sizes_are_one_line(tmp_path):
    write_images(tmp_path / "images" / "a", count=5)
    write_images(tmp_path / "images" / "b", count=3, size=(4, 4))
    error = error_of(train(tmp_path, "--data", "folder:images"))
    assert "images of 2 sizes (height x width): 6 x 8 (5), 4 x 4 (3); take a recipe" in error


def test_runs_within_the_folder_of_the_images_are_no_images(tmp_path):
    write_images(tmp_path / "photos")
    first = run(tmp_path / "photos", "minigan.train", *NARROW, "--steps", "2", "--data", "folder:.", "--out", "runs/a")
    assert (first.returncode, first.stderr) == (0, "")
    again = run(tmp_path / "photos", "minigan.train", "--resume", "--out", "runs/a", "--steps", "3")
    assert (again.returncode, again.stderr) == (0, "")
    assert "note: left out folders of runs, with what was drawn in them: 1" in again.stdout
    assert ", 20 images, steps 2 to 3" in again.stdout
    none = error_of(train(tmp_path, "--data", "folder:photos/runs"))
    assert "found there: folders of runs, which are left out" in none


def test_a_run_that_would_delete_its_own_images_is_refused(tmp_path):
    train(tmp_path, "--data", f"folder:{write_images(tmp_path / 'images')}")
    samples = sorted((tmp_path / "run" / "samples").iterdir())
    done = train(tmp_path, "--data", "folder:run/samples", "--overwrite")
    assert done.returncode == 2
    assert "--overwrite would delete images of --data folder:run/samples" in done.stderr
    assert sorted((tmp_path / "run" / "samples").iterdir()) == samples
