"""Sample grids, their animation, the curves."""

import errno

import numpy as np
import pytest
from PIL import Image, ImageColor

from minigan.errors import DataError, UsageError
from minigan.runs import pictures
from minigan.runs.metrics import COLUMNS
from minigan.runs.pictures import grid, save_animation, save_curves, save_png

GAP = 2


def images(count, height=3, width=4, channels=1):
    rng = np.random.default_rng(count)
    return rng.integers(1, 256, (count, height, width, channels), dtype=np.uint8)  # none is 0, as the gaps are


def rows(count):
    return [dict.fromkeys(COLUMNS, 0.5) | {"step": float(step)} for step in range(1, count + 1)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("count", "columns", "shape"),
    [(1, None, (1, 1)), (9, None, (3, 3)), (10, None, (3, 4)), (5, 5, (1, 5)), (5, 1, (5, 1)), (5, 2, (3, 2)),
     (3, 100, (1, 3))],
)  # fmt: skip
def test_each_image_is_in_its_place_and_the_rest_is_black(count, columns, shape, channels):
    batch = images(count, channels=channels)
    picture = grid(batch, columns)
    assert picture.shape == (shape[0] * (3 + GAP) - GAP, shape[1] * (4 + GAP) - GAP, channels)
    assert picture.dtype == np.uint8
    for index, image in enumerate(batch):
        row, column = divmod(index, shape[1])
        top, left = row * (3 + GAP), column * (4 + GAP)
        np.testing.assert_array_equal(picture[top : top + 3, left : left + 4], image)
    assert np.count_nonzero(picture) == batch.size


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize("scale", [1, 3])
def test_a_png_holds_the_same_pixels_enlarged(tmp_path, channels, mode, scale):
    picture = images(1, channels=channels)[0]
    save_png(tmp_path / "x.png", picture, scale)
    with Image.open(tmp_path / "x.png") as back:
        assert (back.format, back.mode) == ("PNG", mode)
        pixels = np.asarray(back).reshape(3 * scale, 4 * scale, channels)
    for down in range(scale):
        for right in range(scale):
            np.testing.assert_array_equal(pixels[down::scale, right::scale], picture)


def test_a_picture_too_large_for_memory_is_refused_before_it_is_made(tmp_path):
    with pytest.raises(UsageError, match=r"192000 x 192000 pixels is too large: .*--scale"):
        save_png(tmp_path / "x.png", np.zeros((3000, 3000, 1), np.uint8), 64)
    assert list(tmp_path.iterdir()) == []


def frames_of(path):
    with Image.open(path) as gif:
        durations = []
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
        return gif.format, gif.size, gif.info.get("loop"), durations


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_animation_has_a_frame_a_sample_and_holds_the_last(tmp_path, count, channels):
    paths = []
    for index in range(count):
        paths.append(tmp_path / f"{index}.png")
        save_png(paths[-1], images(10 + index, 30, 30, channels)[0])
    save_animation(tmp_path / "x.gif", paths)
    kind, size, loop, durations = frames_of(tmp_path / "x.gif")
    assert (kind, size) == ("GIF", (30, 30))
    assert durations == [100] * (count - 1) + [2000]
    assert loop == (0 if count > 1 else loop)  # for ever


def test_a_long_run_is_thinned_out_but_keeps_its_first_and_last_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_FRAMES", 4)
    grey = np.arange(0, 200, 20, dtype=np.uint8)
    for value in grey:
        save_png(tmp_path / f"{value:03d}.png", np.full((4, 4, 1), value, np.uint8))
    save_animation(tmp_path / "x.gif", sorted(tmp_path.glob("*.png")))
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 4
        shades = []
        for index in range(4):
            gif.seek(index)
            shades.append(gif.convert("L").getpixel((0, 0)))
    assert (shades[0], shades[-1]) == (0, 180)
    assert shades == sorted(shades)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", "truncated", "damaged"])
def test_a_damaged_sample_is_named_and_no_animation_is_left(tmp_path, content):
    path = tmp_path / "step-1.png"
    save_png(path, images(1, 40, 40)[0])
    good = path.read_bytes()
    special = {"truncated": good[: len(good) // 2], "damaged": good[:20] + bytes(20) + good[40:]}
    path.write_bytes(special.get(content, content))
    with pytest.raises(DataError, match=r"step-1.png: a picture that cannot be read"):
        save_animation(tmp_path / "x.gif", [path])
    assert not (tmp_path / "x.gif").exists()
    others = [tmp_path / f"step-{number}.png" for number in (0, 2)]
    for number, other in enumerate(others):
        save_png(other, images(number + 2, 40, 40)[number])
    save_animation(tmp_path / "x.gif", [others[0], path, others[1]])
    with Image.open(tmp_path / "x.gif") as animation:
        assert animation.n_frames == 2


@pytest.mark.parametrize("count", [1, 3, 200])
def test_the_curves_are_a_png(tmp_path, count):
    save_curves(tmp_path / "x.png", rows(count))
    with Image.open(tmp_path / "x.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 5  # not blank


def test_the_curves_of_a_critic_are_losses_alone(tmp_path):
    heights = []
    for opinions in (True, False):
        save_curves(tmp_path / "x.png", rows(5), opinions=opinions)
        with Image.open(tmp_path / "x.png") as picture:
            heights.append(picture.height)
    assert heights[1] < 0.7 * heights[0]


def test_the_curves_show_a_running_mean_of_one_fortieth_of_the_run():
    drawn = []

    class Axes:
        def plot(self, steps, values, **_style):
            drawn.append((list(steps), list(values)))
            return [self]

        def get_color(self):
            return "red"

    values = [float(i % 2) for i in range(80)]
    pictures._plot_smoothed(Axes(), list(range(80)), values, "x")
    assert drawn[0] == (list(range(80)), values)
    assert drawn[1] == (list(range(80)), [0.0] + [0.5] * 79)  # of the values there are, at the beginning


def test_nothing_to_show_makes_no_file(tmp_path):
    save_animation(tmp_path / "x.gif", [])
    save_curves(tmp_path / "x.png", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/x.png", "file/x.png"])
def test_a_picture_that_cannot_be_written_is_an_os_error_with_its_name(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"No such|Not a directory") as caught:
        save_png(tmp_path / name, images(1)[0])
    assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR)
    assert caught.value.filename == str(tmp_path / name)


def test_frames_in_colour_share_a_palette_that_has_the_colours_of_all(tmp_path):
    """Also where their sizes differ, and a colour is rare but in one of them."""
    sizes = {"red": (60, 60), "blue": (40, 60), "green": (60, 60)}
    for number, (colour, size) in enumerate(sizes.items()):
        Image.new("RGB", size, colour).save(tmp_path / f"{number}.png")
    save_animation(tmp_path / "x.gif", sorted(tmp_path.glob("*.png")))
    with Image.open(tmp_path / "x.gif") as gif:
        for number, colour in enumerate(sizes):
            gif.seek(number)
            assert gif.convert("RGB").getpixel((5, 5)) == pytest.approx(ImageColor.getrgb(colour), abs=4)
