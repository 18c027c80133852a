"""Image folders and zip files: every mode by its rule, every bad file skipped or refused in one line."""

import io
import os
import re
import socket
import struct
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan.data import decode as decoding
from minigan.data import listing as listings
from minigan.data.decode import decode, read_header
from minigan.data.listing import Unreadable
from minigan.data.resize import MEMORY, streaming
from minigan.data.sources import load_images
from minigan.data.stream import StreamedImages
from minigan.errors import DataError, UsageError
from tests.mutations import mutations

real_data = pytest.mark.skipif(not os.environ.get("MINIGAN_DATA"), reason="MINIGAN_DATA is not set: give a data folder")
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)  # (H, W, C)
GREYS = COLOURS[..., 0]
RGB = Image.fromarray(COLOURS)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def load(path, size=None):
    """The images kept in memory, as every test sees them; those made again and again have to be the same."""
    streamed = load_images(f"folder:{path}", size=size, memory=0)
    kept = load_images(f"folder:{path}", size=size)
    assert isinstance(streamed.images, StreamedImages)
    assert isinstance(kept.images, np.ndarray)
    assert np.array_equal(np.asarray(streamed.images), kept.images)
    assert (streamed.labels is None) == (kept.labels is None)
    assert kept.labels is None or np.array_equal(streamed.labels, kept.labels)
    assert {*streamed.notices} - {*kept.notices} == {streaming(kept.images.shape, 0)}
    return kept


def only(path):
    """The one image at a path."""
    images = load(path).images
    assert images.shape[0] == 1
    return images[0]


def numbered(folder, count, size=(5, 6)):
    """Grey images whose pixels tell their number."""
    for number in range(count):
        save(folder / f"{number:04}.png", Image.new("L", size, number))
    return folder


def refusal(path, match, size=None):
    """The DataError of a path: one line that says what is expected."""
    messages = set()
    for memory in (0, MEMORY):
        with pytest.raises(DataError, match=match) as caught:
            load_images(f"folder:{path}", size=size, memory=memory)
        messages.add(str(caught.value))
    (message,) = messages
    assert "\n" not in message
    return message


# Modes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["png", "bmp", "tif", "ppm", "tga", "pcx", "qoi"])
def test_lossless_rgb_comes_back_as_it_was(tmp_path, end):
    save(tmp_path / f"a.{end}", RGB)
    data = load(tmp_path)
    assert (data.images.dtype, data.labels, data.name) == (np.uint8, None, "folder")
    np.testing.assert_array_equal(data.images, COLOURS[np.newaxis])
    assert data.notices == (f"folder '{tmp_path}': 1 RGB images, height x width 6 x 5",)


@pytest.mark.parametrize("end", ["png", "bmp", "tif", "pgm", "gif", "tga", "pcx"])
def test_lossless_grey_has_one_channel(tmp_path, end):
    save(tmp_path / f"a.{end}", Image.fromarray(GREYS))
    np.testing.assert_array_equal(only(tmp_path), GREYS[..., np.newaxis])


@pytest.mark.parametrize("end", ["png", "tif", "bmp", "pbm"])
def test_one_bit_becomes_black_and_white(tmp_path, end):
    bits = GREYS > 127
    save(tmp_path / f"a.{end}", Image.fromarray(bits))
    np.testing.assert_array_equal(only(tmp_path)[..., 0], bits * 255)


@pytest.mark.parametrize("end", ["png", "tif"])
def test_sixteen_bits_are_divided_and_not_cut_off(tmp_path, end):
    values = np.array([[0, 128, 129, 255], [256, 25700, 65278, 65535]], np.uint16)
    save(tmp_path / f"a.{end}", Image.fromarray(values))
    data = load(tmp_path)
    assert data.images[0, ..., 0].tolist() == [[0, 0, 1, 1], [1, 100, 254, 255]]
    assert np.array_equal(data.images[0, ..., 0], np.rint(values / 257))
    assert "of other modes (1 I;16)" in data.notices[1]


def test_mode_i_with_values_of_sixteen_bits(tmp_path):
    save(tmp_path / "a.tif", Image.fromarray(np.array([[0, 25700, 65535]], np.int32)))
    assert only(tmp_path)[..., 0].tolist() == [[0, 100, 255]]


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1])
def test_wider_values_are_refused(tmp_path, value):
    save(tmp_path / "a.tif", Image.fromarray(np.array([[0, value]], np.int32)))
    refusal(tmp_path, "'a.tif': 32-bit values from .* are not supported")


def test_transparency_is_put_on_black(tmp_path):
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
    save(tmp_path / "a.png", Image.fromarray(pixels))
    data = load(tmp_path)
    assert data.images[0, 0].tolist() == [[200, 100, 50], [0, 0, 0], [40, 20, 10]]
    assert data.notices[1] == (
        "made RGB of other modes (1 RGBA): transparent parts are put on black, 16 bits divided by 257"
    )


def test_grey_with_transparency_is_grey(tmp_path):
    bands = (Image.fromarray(np.array([row], np.uint8)) for row in ([200, 200, 200], [255, 0, 51]))
    save(tmp_path / "a.png", Image.merge("LA", list(bands)))
    assert only(tmp_path)[..., 0].tolist() == [[200, 0, 40]]


@pytest.mark.parametrize(
    ("mode", "clear", "expected"),
    [("L", 200, [[0], [9]]), ("RGB", (200, 200, 200), [[0, 0, 0], [9, 9, 9]]), ("1", 255, [[0], [0]])],
)
def test_a_single_transparent_colour_becomes_black(tmp_path, mode, clear, expected):
    image = Image.fromarray(np.array([[200, 9]], np.uint8)).convert(mode, dither=Image.Dither.NONE)
    save(tmp_path / "a.png", image, transparency=clear)
    assert only(tmp_path)[0].tolist() == expected


def test_a_transparent_value_of_sixteen_bits_becomes_black(tmp_path):
    save(tmp_path / "a.png", Image.fromarray(np.array([[25700, 51400]], np.uint16)), transparency=51400)
    assert only(tmp_path)[..., 0].tolist() == [[100, 0]]


def palette_image(colours):
    image = Image.new("P", (len(colours), 1))
    image.putpalette([value for colour in colours for value in colour])
    image.putdata(range(len(colours)))
    return image


@pytest.mark.parametrize("end", ["png", "gif", "bmp", "tif"])
def test_a_palette_of_colours_is_looked_up(tmp_path, end):
    colours = [[255, 0, 0], [0, 200, 100], [7, 7, 7]]
    save(tmp_path / f"a.{end}", palette_image(colours))
    assert only(tmp_path)[0].tolist() == colours


@pytest.mark.parametrize("end", ["png", "gif", "bmp"])
def test_a_palette_of_greys_is_grey(tmp_path, end):
    save(tmp_path / f"a.{end}", palette_image([[9, 9, 9], [3, 3, 3], [200, 200, 200]]))
    assert only(tmp_path)[0].tolist() == [[9], [3], [200]]


@pytest.mark.parametrize(("end", "clear"), [("png", 1), ("gif", 1), ("png", b"\xff\x00\x33")])
def test_a_palette_with_transparency_is_put_on_black(tmp_path, end, clear):
    save(tmp_path / f"a.{end}", palette_image([[250, 0, 0], [0, 200, 100], [50, 100, 150]]), transparency=clear)
    last = [10, 20, 30] if isinstance(clear, bytes) else [50, 100, 150]
    assert only(tmp_path)[0].tolist() == [[250, 0, 0], [0, 0, 0], last]


@pytest.mark.parametrize("strip", [1, 7, 8, 30, 10**6])
def test_strips_of_a_transparent_image_make_the_whole(tmp_path, monkeypatch, strip):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    save(tmp_path / "a.png", Image.fromarray(pixels))
    monkeypatch.setattr(decoding, "STRIP", strip)
    colour, alpha = pixels[..., :3].astype(float), pixels[..., 3:] / 255
    assert abs(only(tmp_path) - colour * alpha).max() <= 1


def test_cmyk_becomes_rgb(tmp_path):
    flat = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    save(tmp_path / "a.jpg", flat, quality=100)
    save(tmp_path / "b.tif", flat)
    data = load(tmp_path)
    assert data.images.shape == (2, 16, 16, 3)
    assert np.abs(data.images.astype(int) - [255, 0, 0]).max() <= 3
    assert "made RGB of other modes (2 CMYK)" in data.notices[1]


def test_one_colour_image_makes_all_of_them_rgb(tmp_path):
    save(tmp_path / "a.png", Image.fromarray(GREYS))
    save(tmp_path / "b.png", RGB)
    save(tmp_path / "c.png", Image.fromarray(GREYS.astype(np.uint16) * 257))
    images = load(tmp_path).images
    np.testing.assert_array_equal(images, [np.stack([GREYS] * 3, -1), COLOURS, np.stack([GREYS] * 3, -1)])


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "F"])
def test_an_unknown_mode_is_refused_by_name(tmp_path, mode):
    save(tmp_path / "good.png", RGB)
    save(tmp_path / "odd.tif", Image.new(mode, (5, 6)))
    refusal(tmp_path, f"'odd.tif': images of mode {mode} are not supported; save it as RGB")


def test_the_first_of_several_frames_is_taken(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for end in ("gif", "png", "tif"):
        save(tmp_path / f"a.{end}", frames[0], save_all=True, append_images=frames[1:])
    assert np.unique(load(tmp_path).images.reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("end", "options"), [("jpg", {"quality": 100, "subsampling": 0}), ("png", {}), ("tif", {})])
def test_every_exif_orientation_comes_out_upright(tmp_path, orientation, end, options):
    upright = np.zeros((16, 24), np.uint8)  # a grey F
    upright[:, :8] = upright[:8] = 200
    upright[8:, 8:16] = 90
    turn = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation)  # what undoes the rotation
    image = Image.fromarray(upright)
    image = image.transpose(decoding.TURNS[turn]) if turn else image
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    save(tmp_path / f"a.{end}", image, exif=exif, **options)
    for size in (None, (16, 24)):
        data = load(tmp_path, size)
        assert np.abs(data.images[0, ..., 0].astype(int) - upright).max() <= 3
        if end == "jpg":
            assert ("turned as their EXIF data say: 1 images" in data.notices) == (orientation > 1)


def test_damaged_exif_data_cost_no_image(tmp_path):
    save(tmp_path / "a.jpg", RGB, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff garbage")
    assert only(tmp_path).shape == (6, 5, 3)


# Folders, classes and zip files ----------------------------------------------------------------------


def test_images_come_in_the_order_of_their_names(tmp_path):
    numbered(tmp_path, 30)
    assert load(tmp_path).images[:, 0, 0, 0].tolist() == list(range(30))


def test_one_folder_a_class(tmp_path):
    for folder, value in (("zebra", 1), ("ant", 2), ("cat/young", 3), ("cat", 4)):
        for number in range(2):
            save(tmp_path / folder / f"{number}.png", Image.new("L", (4, 4), value))
    (tmp_path / "empty").mkdir()
    data = load(tmp_path)
    assert data.labels.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert data.labels.dtype == np.uint8
    assert data.images[:, 0, 0, 0].tolist() == [2, 2, 4, 4, 3, 3, 1, 1]
    assert data.notices[0].endswith("8 grey images, height x width 4 x 4; 3 classes: 'ant', 'cat', 'zebra'")


def test_a_folder_around_everything_is_no_class(tmp_path):
    numbered(tmp_path / "all" / "in" / "here", 3)
    assert load(tmp_path).labels is None
    numbered(tmp_path / "all" / "in" / "there", 2)
    assert load(tmp_path).labels.tolist() == [0, 0, 0, 1, 1]


def test_images_beside_class_folders_mean_no_classes(tmp_path):
    numbered(tmp_path, 1)
    numbered(tmp_path / "cat", 1)
    assert load(tmp_path).labels is None


def test_more_than_256_classes_have_wider_numbers(tmp_path):
    for number in range(257):
        save(tmp_path / f"{number:03}" / "a.png", Image.new("L", (1, 1)))
    data = load(tmp_path)
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == list(range(257))
    assert data.notices[0].endswith("257 classes: '000', '001', '002', ...")


def zip_of(folder, path, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("method", listings.ZIP_METHODS)
def test_a_zip_file_gives_what_its_folder_gives(tmp_path, method):
    folder = tmp_path / "folder"
    for name in ("b/2.png", "b/1.jpg", "a/x.gif", "a/y/z.bmp", "a/.hidden.png", "__MACOSX/a/x.gif"):
        save(folder / name, RGB)
    (folder / "readme.txt").write_text("x")
    archive = zip_of(folder, tmp_path / "any name", compression=method)
    loaded, unzipped = load(archive), load(folder)
    np.testing.assert_array_equal(loaded.images, unzipped.images)
    np.testing.assert_array_equal(loaded.labels, unzipped.labels)
    assert loaded.labels.tolist() == [0, 0, 1, 1]
    assert loaded.notices[0] == unzipped.notices[0].replace(f"folder '{folder}'", f"zip file '{archive}'")
    assert loaded.notices[1:] == unzipped.notices[1:]


def test_names_in_capitals_and_wrong_extensions_are_told_by_content(tmp_path):
    (tmp_path / "A.JPG").write_bytes(encode(RGB, "PNG"))
    np.testing.assert_array_equal(only(tmp_path), COLOURS)


def test_hidden_files_pipes_and_links_in_circles_are_left_out(tmp_path):
    folder = numbered(tmp_path / "data", 2)
    save(folder / ".hidden.png", RGB)
    save(folder / ".cache" / "a.png", RGB)
    save(tmp_path / "outside.png", RGB)
    os.mkfifo(folder / "pipe.png")  # opening it would wait for ever
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "dead.png").symlink_to("nowhere.png")
    (folder / "here").symlink_to(".")
    (folder / "up").symlink_to("..")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.png"))
    data = load(folder)
    assert data.images[:, 0, 0, 0].tolist() == [0, 1]
    assert data.notices[1:] == ("left out 6 links that lead nowhere or in circles, pipes or devices",)


def test_links_to_files_and_folders_elsewhere_are_followed_once(tmp_path):
    numbered(tmp_path / "elsewhere", 2)
    (tmp_path / "data").mkdir()
    for name in ("one", "two"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "three.png").symlink_to(tmp_path / "elsewhere" / "0001.png")
    data = load(tmp_path / "data")
    assert len(data.images) == 3
    assert "left out 1 links" in data.notices[1]


def test_folders_that_link_to_each_other_end(tmp_path):
    for name in "abcdefgh":
        numbered(tmp_path / name, 1)
        for other in "abcdefgh":
            (tmp_path / name / f"to {other}").symlink_to(tmp_path / other)
    assert len(load(tmp_path).images) == 8


def test_names_that_are_no_utf8_work_and_are_escaped(tmp_path):
    folder = os.fsencode(tmp_path) + b"/class \xff\n"
    os.mkdir(folder)
    for number in range(200):
        Path(os.fsdecode(folder + b"/%d \xe9.png" % number)).write_bytes(encode(RGB, "PNG"))
    Path(os.fsdecode(folder + b"/bad \xff\x1b.png")).write_bytes(b"text")
    for path in (tmp_path, os.fsdecode(folder)):
        data = load(path)
        assert len(data.images) == 200
        text = "".join(data.notices)
        assert "bad \\udcff\\x1b.png' (not an image)" in text
        assert text.isprintable()


def test_other_files_are_counted(tmp_path):
    numbered(tmp_path, 2)
    (tmp_path / "labels.csv").write_text("x")
    assert load(tmp_path).notices[1:] == ("left out 1 files without an image's extension, such as 'labels.csv'",)


# What is wrong with a folder -------------------------------------------------------------------------


def test_a_folder_without_images_names_what_it_looked_for_and_found(tmp_path):
    assert "found there: nothing that is not hidden" in refusal(tmp_path, f"no images in folder '{tmp_path}'")
    for name in ("a.txt", "b\n.csv", "c", "d"):
        (tmp_path / name).touch()
    message = refusal(tmp_path, r"no name ends in .png, .*, .jpg, .*; found there: 'a.txt', 'b\\n.csv', 'c' and 1 more")
    assert str(tmp_path) in message


def test_paths_that_lead_to_no_images(tmp_path):
    (tmp_path / "text").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    refusal(tmp_path / "none", r"no folder or zip file .*none': folder .* holds 'pipe', 'text'")
    refusal(tmp_path / "text", r"text' is neither a folder nor a zip file that can be read: File is not a zip file")
    refusal(tmp_path / "pipe", r"pipe' is neither a folder nor a zip file")
    refusal("x" * 5000, "File name too long|no folder or zip file")
    refusal("null\0byte", "no folder or zip file")


def test_bad_sources():
    with pytest.raises(UsageError, match="as folder:PATH"):
        load_images("folder:")
    with pytest.raises(UsageError, match=r"did you mean 'folder'\?.*folder:PATH"):
        load_images("foldr:x")
    with pytest.raises(UsageError, match="folder: has no test split"):
        load_images("folder:x", split="test")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    numbered(tmp_path, 1)

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)  # chmod would not stop the superuser
    refusal(tmp_path, "cannot be listed: Permission denied")


def test_a_file_streaming_to_be_an_image_is_skipped_unread(tmp_path):
    numbered(tmp_path, 100)
    os.truncate(tmp_path / "0007.png", 2**29)  # a file full of holes, which takes no space
    data = load(tmp_path)
    assert len(data.images) == 99
    assert "skipped 1 of 100 image files: '0007.png' (536870912 bytes, allowed are" in data.notices[1]
    os.truncate(tmp_path / "0008.png", 2**29)
    refusal(tmp_path, "2 of 100 image files cannot be read, more than 1%")


def truncated(kind="JPEG"):
    data = encode(Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)), kind)
    return data[: len(data) // 2]


def test_up_to_one_in_a_hundred_bad_files_are_skipped_and_named(tmp_path):
    numbered(tmp_path, 400, size=(2, 2))
    for name, data in (("0003.png", b"text"), ("0010.png", truncated()), ("0200.png", b""), ("0399.png", b"\xff\xd8")):
        (tmp_path / name).write_bytes(data)
    data = load(tmp_path, size=(2, 2))
    kept = [n for n in range(256) if n not in (3, 10, 200)] + [n % 256 for n in range(256, 399)]
    assert data.images[:, 0, 0, :1].ravel().tolist() == [min(255, n) for n in kept[:253]] + [255] * 143
    assert re.fullmatch(
        r"skipped 4 of 400 image files: '0003.png' \(not an image\), '0200.png' \(not an image\), "
        r"'0399.png' \(not an image\), ...",
        data.notices[-1],
    )
    (tmp_path / "0000.png").write_bytes(b"text")
    refusal(tmp_path, r"5 of 400 image files cannot be read, more than 1%: '0000.png' \(not an image\), ", (2, 2))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_truncated_image_is_damaged(tmp_path, kind):
    (tmp_path / "a.png").write_bytes(truncated(kind))
    refusal(tmp_path, r"1 of 1 image files cannot be read, more than 1%: 'a.png' \((damaged: |not an image)")


def png(width, height, data=b"", depth=8, colour=0):
    """A PNG file with any claim in its header."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(8192, 8193), (20000, 20000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_an_image_bomb_is_skipped_by_its_header(tmp_path, width, height):
    (tmp_path / "a.png").write_bytes(png(width, height, zlib.compress(bytes(1000))))
    began = time.monotonic()
    refusal(tmp_path, r"1 of 1 image files .*'a.png' \(")
    assert time.monotonic() - began < 2


def test_a_png_that_claims_more_than_its_bytes_can_hold_is_skipped(tmp_path):
    """Pillow would make black pixels of what is missing."""
    (tmp_path / "a.png").write_bytes(png(8192, 8192, zlib.compress(bytes(1000))))
    refusal(tmp_path, r"'a.png' \(claims 8192 x 8192 pixels, more than its \d+ bytes can hold\)")


def test_a_png_as_small_as_can_be_is_read(tmp_path):
    data = encode(Image.new("1", (4096, 4096)), "PNG", compress_level=9)
    assert 4096**2 <= 8 * decoding.DEFLATE * len(data) < 1.05 * 4096**2
    (tmp_path / "a.png").write_bytes(data)
    assert only(tmp_path).shape == (4096, 4096, 1)


def test_mixed_sizes_need_a_size(tmp_path):
    for number in range(9):
        for size, share in (((8, 4), 9), ((4, 8), 3), ((5, 5), 1)):
            if number < share:
                save(tmp_path / f"{number} {size}.png", Image.new("L", size, 100))
    refusal(tmp_path, r"images of 3 sizes \(height x width\): 4 x 8 \(9\), 8 x 4 \(3\), 5 x 5 \(1\); take a recipe")
    data = load(tmp_path, size=(6, 6))
    assert data.images.shape == (13, 6, 6, 1)
    assert (data.images == 100).all()
    assert data.notices == (
        f"folder '{tmp_path}': 13 grey images, height x width 4 x 8 (9), 8 x 4 (3), 5 x 5 (1)",
        "13 images are cropped at the centre to the shape wanted, then resized (bilinear, antialiased) to 6 x 6",
    )


def test_many_sizes_are_cut_short(tmp_path):
    for width in range(1, 9):
        save(tmp_path / f"{width}.png", Image.new("L", (width, 1)))
    refusal(tmp_path, r"images of 8 sizes .*: 1 x 1 \(1\), .*1 x 5 \(1\) and 3 more;")


def test_photographs_turned_by_exif_count_as_the_size_they_show(tmp_path):
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = 6
    for end in ("jpg", "png", "tif"):
        save(tmp_path / f"a.{end}", Image.new("L", (8, 16)), exif=exif)
        save(tmp_path / f"b.{end}", Image.new("L", (16, 8)))
    assert load(tmp_path).images.shape == (6, 8, 16, 1)


def test_images_beyond_the_limit_of_memory_are_not_kept(tmp_path):
    numbered(tmp_path, 10)
    source = f"folder:{tmp_path}"
    assert isinstance(load_images(source, memory=10 * 5 * 6).images, np.ndarray)
    streamed = load_images(source, memory=10 * 5 * 6 - 1)
    assert isinstance(streamed.images, StreamedImages)
    assert streamed.notices[-1].startswith("10 images of 6 x 5 x 1 bytes would take")


def test_pillows_warnings_and_the_filters_of_others_stay_where_they_are(tmp_path):
    numbered(tmp_path, 1)
    before = list(warnings.filters)
    load(tmp_path)
    assert warnings.filters == before


# What is wrong with a zip file -----------------------------------------------------------------------


def zip_with(path, *members, **options):
    """A zip file of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def set_in_directory(path, offset, layout, *values):
    """Change a field in the central directory of a zip file of one member."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.index(b"PK\x01\x02") + offset, *values)
    path.write_bytes(data)


def test_names_that_lead_out_are_read_and_write_nothing(tmp_path):
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    names = ("../../evil.png", "/evil.png", "..\\evil.png", "./a/../evil.png")
    path = zip_with(inside / "a.zip", *((name, encode(RGB, "PNG")) for name in names))
    assert len(load(path).images) == 4
    assert [file.name for file in tmp_path.rglob("*")] == ["deep", "inside", "a.zip"]


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zip_with(tmp_path / "a.zip", ("a.png", encode(RGB, "PNG")))
    set_in_directory(path, 8, "<H", 1)
    refusal(path, r"is encrypted \('a.png'\): give one without a password")


def test_what_is_no_image_in_a_zip_may_be_of_any_kind(tmp_path):
    """It is not read, as in a folder."""
    path = zip_with(tmp_path / "a.zip", ("a.png", encode(RGB, "PNG")), ("b.png", encode(RGB, "PNG")))
    with zipfile.ZipFile(path, "a", compression=zipfile.ZIP_BZIP2) as archive:
        archive.writestr("readme.txt", b"text")
        archive.writestr("movie.mp4", b"0" * 1000)
    assert len(load(path).images) == 2


@pytest.mark.parametrize("name", ["a.PNG", "a.png/..", "a.png/.", "../a.png", "x\\a.png"])
def test_whatever_counts_as_an_image_is_checked_before_it_is_read(tmp_path, name):
    path = zip_with(tmp_path / "a.zip", (name, encode(RGB, "PNG")), compression=zipfile.ZIP_BZIP2)
    refusal(path, "is packed by method 12")


def test_a_zip_packed_by_a_method_without_bounds_is_refused(tmp_path):
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        path = zip_with(tmp_path / "a.zip", ("a.png", encode(RGB, "PNG")), compression=method)
        refusal(path, f"'a.png' is packed by method {method}; stored and deflate are read")


def test_a_member_streaming_is_refused_by_its_claim(tmp_path):
    path = zip_with(tmp_path / "a.zip", ("a.png", encode(RGB, "PNG")))
    set_in_directory(path, 24, "<I", listings.MAX_FILE + 1)
    refusal(path, "'a.png' claims 268435457 bytes, allowed are 268435456")


def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path, monkeypatch):
    zeros = bytes(10**6)
    path = zip_with(tmp_path / "a.zip", *((f"{n}.png", zeros) for n in range(9)), compression=zipfile.ZIP_DEFLATED)
    refusal(path, "9 of 9 image files cannot be read")  # small enough to be looked into
    monkeypatch.setattr(listings, "ZIP_FREE", 8 * 10**6)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    refusal(path, r"zip file .* of \d+ bytes claims to hold 9000000 bytes: that is a bomb")
    monkeypatch.setattr(listings, "ZIP_RATIO", 2000)
    refusal(path, "9 of 9 image files cannot be read")  # the ratio alone is no reason


def test_a_member_that_lies_about_its_size_is_skipped(tmp_path):
    path = zip_with(tmp_path / "a.zip", ("a.png", bytes(10**6)), compression=zipfile.ZIP_DEFLATED)
    set_in_directory(path, 24, "<I", 10)
    refusal(path, r"1 of 1 image files .*'a.png' \(damaged: Bad CRC-32")


def test_links_and_pipes_in_a_zip_are_left_out(tmp_path):
    members = [("good.png", encode(RGB, "PNG"))]
    for name, kind in (("link.png", 0o120777), ("pipe.png", 0o010644)):
        member = zipfile.ZipInfo(name)
        member.external_attr = kind << 16
        members.append((member, b"/etc/passwd"))
    data = load(zip_with(tmp_path / "a.zip", *members))
    assert len(data.images) == 1
    assert "left out 2 links" in data.notices[1]


def test_a_zip_without_images(tmp_path):
    refusal(zip_with(tmp_path / "a.zip"), "no images in zip file .*found there: nothing")
    refusal(zip_with(tmp_path / "a.zip", ("b.txt", b"x")), "found there: 'b.txt'")


def with_checksums(data):
    """A PNG file with all its checksums made right, so that damage gets past them."""
    fixed, at = data[:8], 8
    while at + 12 <= len(data) and at + 12 + (length := struct.unpack_from(">I", data, at)[0]) <= len(data):
        body = data[at + 4 : at + 8 + length]
        fixed += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return fixed + data[at:]


EXIF = Image.Exif()
EXIF[decoding.ORIENTATION] = 6
SEEDS = {
    "png": encode(RGB, "PNG", exif=EXIF),
    "png16": encode(Image.fromarray(GREYS.astype(np.uint16) * 257), "PNG"),
    "palette": encode(RGB.convert("P"), "PNG", transparency=b"\x00\x80\xff"),
    "jpeg": encode(RGB, "JPEG", exif=EXIF),
    "cmyk": encode(RGB.convert("CMYK"), "JPEG"),
    "gif": encode(RGB.convert("P"), "GIF", save_all=True, append_images=[RGB.convert("P").rotate(180)]),
}


@pytest.mark.filterwarnings("ignore")  # as in read_folder
@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_images_give_pixels_a_skip_or_a_data_error(kind):
    messages, decoded = [], 0
    for data in mutations(SEEDS[kind], number=300, seed=1, head=64):
        began = time.monotonic()
        for attempt in {data, with_checksums(data)} if "png" in kind or kind == "palette" else {data}:
            try:
                header = read_header(attempt, "name", exact=True)
                pixels, _, _ = decode(attempt, "name", header.grey, (4, 4))
            except (Unreadable, DataError) as err:
                messages.append(str(err))
            else:
                assert pixels.dtype == np.uint8
                assert pixels.shape == ((4, 4) if header.grey else (4, 4, 3))
                decoded += 1
        assert time.monotonic() - began < 2
    assert min(decoded, len(messages)) > 10
    assert not any("\n" in message for message in messages)


def test_damaged_zip_files_give_images_or_a_data_error(tmp_path):
    original = zip_with(
        tmp_path / "a.zip", *((f"{kind}.png", data) for kind, data in SEEDS.items()), compression=zipfile.ZIP_DEFLATED
    ).read_bytes()
    directory = original.index(b"PK\x01\x02")
    messages = []
    for tail in mutations(original[directory:], number=300, seed=2, head=64):  # where the claims are
        (tmp_path / "b.zip").write_bytes(original[:directory] + tail)
        try:
            assert load(tmp_path / "b.zip", size=(4, 4)).images.shape[1:3] == (4, 4)
        except DataError as err:
            messages.append(str(err))
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)


def test_an_empty_name_in_a_zip_is_left_out(tmp_path):
    path = zip_with(tmp_path / "a.zip", ("a.png", encode(RGB, "PNG")), ("x", b""))
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02")
    cut = data[:at] + data[at : at + 28] + b"\0\0\1\0" + data[at + 32 :]  # the name is now an extra field
    path.write_bytes(cut)
    assert len(load(path).images) == 1


# Real data -------------------------------------------------------------------------------------------


@real_data
def test_real_cats(tmp_path):
    """Every tenth of them: all take a quarter of a minute."""
    path = tmp_path / "cats.zip"
    with zipfile.ZipFile(Path(os.environ["MINIGAN_DATA"], "cats64", "cats64.zip")) as whole:
        assert len(whole.namelist()) >= 19510
        with zipfile.ZipFile(path, "w") as some:
            for name in [name for name in whole.namelist() if name.endswith(".jpg")][::10]:
                some.writestr(name, whole.read(name))
    data = load(path)
    assert data.images.shape == (1951, 64, 64, 3)
    assert (data.labels, len(data.notices)) == (None, 1)
    assert 80 < data.images[::10].mean() < 160


@real_data
def test_real_clothes_have_classes():
    path = Path(os.environ["MINIGAN_DATA"], "clothing256", "clothing256.zip")
    data = load(path, size=(64, 64))
    assert data.images.shape == (1200, 64, 64, 3)
    with zipfile.ZipFile(path) as archive:
        names = sorted(archive.namelist())
    classes = sorted({name.split("/")[0] for name in names})
    assert len(classes) == 10
    assert data.labels.tolist() == [classes.index(name.split("/")[0]) for name in names]
    with zipfile.ZipFile(path) as archive, archive.open(names[700]) as file:
        expected = Image.open(file).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.images[700], np.asarray(expected))
