"""Images made each time they are asked for: the same as those kept, and never other ones than at the start."""

import threading
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from minigan.data.sources import load_images
from minigan.data.stream import StreamedImages
from minigan.errors import DataError

SHAPE = (2, 3, 1)


def numbered(count):
    """Images whose pixels tell their number."""
    return StreamedImages(SHAPE, lambda number: np.full(SHAPE, number, np.uint8), range(count))


def folder_of(path, count=4):
    for number in range(count):
        Image.new("RGB", (6, 5), (number, 2 * number, 3 * number)).save(path / f"{number}.png")
    return load_images(f"folder:{path}", memory=0)


def test_indices_give_pixels_in_their_order():
    pixels = numbered(9)[np.array([7, 0, 7])]
    assert (pixels.dtype, pixels.shape) == (np.uint8, (3, *SHAPE))
    assert pixels[:, 1, 2, 0].tolist() == [7, 0, 7]


def test_a_slice_is_a_part_and_makes_nothing():
    def refuse(_number):
        raise AssertionError("made")

    part = StreamedImages(SHAPE, refuse, range(9))[2:7][1:]
    assert (len(part), part.shape) == (4, (4, *SHAPE))
    assert np.asarray(numbered(9)[2:7][1:])[:, 0, 0, 0].tolist() == [3, 4, 5, 6]
    assert numbered(9)[2:7][np.array([0, 4])][:, 0, 0, 0].tolist() == [2, 6]


@pytest.mark.parametrize("index", [3, 100])
def test_there_is_nothing_beyond_the_end_of_a_part(index):
    with pytest.raises(IndexError):
        numbered(9)[2:5][np.array([index])]


def test_all_of_them_are_an_array_of_any_type_and_its_threads_end():
    before = threading.active_count()
    pixels = np.asarray(numbered(20), np.float32)
    assert pixels.dtype == np.float32
    assert pixels[:, 0, 0, 0].tolist() == list(range(20))
    assert threading.active_count() == before


def test_warnings_of_pillow_stay_away():
    def warn(number):
        warnings.warn(f"image {number} is odd", stacklevel=1)
        return np.zeros(SHAPE, np.uint8)

    assert np.asarray(StreamedImages(SHAPE, warn, range(3))).shape == (3, *SHAPE)
    with pytest.warns(UserWarning, match="image 0 is odd"):
        warn(0)


def test_a_file_that_is_gone_is_named(tmp_path):
    images = folder_of(tmp_path).images
    (tmp_path / "2.png").unlink()
    assert images[[0, 1, 3]][:, 0, 0, 1].tolist() == [0, 2, 6]
    with pytest.raises(DataError, match=r"'2.png' could be read when the run began, not now: No such file"):
        images[[1, 2]]


@pytest.mark.parametrize("change", ["another image", "cut", "longer"])
def test_a_file_that_has_changed_is_named_even_if_it_is_an_image(tmp_path, change):
    images = folder_of(tmp_path).images
    file = tmp_path / "2.png"
    if change == "another image":
        Image.new("RGB", (6, 5), (9, 9, 9)).save(file)
    else:
        data = file.read_bytes()
        file.write_bytes(data[:-20] if change == "cut" else data + b"x")
    with pytest.raises(DataError, match=rf"folder '{tmp_path}': '2.png' has changed since the run began"):
        images[[2]]


def test_a_zip_file_that_is_overwritten_is_noticed(tmp_path):
    def write(value):
        (tmp_path / "i").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
            for number in range(3):
                # Larger than what a file object reads ahead: an image that lies there whole is still the right one.
                Image.new("L", (300, 300), value + number).save(tmp_path / "i" / "x.bmp")
                archive.write(tmp_path / "i" / "x.bmp", f"{number}.bmp")

    write(0)
    images = load_images(f"folder:{tmp_path / 'i.zip'}", memory=0).images
    assert np.asarray(images)[:, 0, 0, 0].tolist() == [0, 1, 2]
    write(100)
    with pytest.raises(DataError, match=r"'1.bmp' (has changed since the run began|could be read when the run began)"):
        images[[1]]


def test_labels_and_order_are_those_of_the_images_kept(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        folder_of(tmp_path / name)
    (tmp_path / "cats" / "note.txt").write_text("x")
    kept, streamed = (load_images(f"folder:{tmp_path}", memory=memory) for memory in (1e9, 0))
    assert np.array_equal(kept.labels, streamed.labels)
    assert np.array_equal(kept.images, np.asarray(streamed.images))
