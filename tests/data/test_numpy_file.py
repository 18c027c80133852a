"""Images in files of NumPy's: exact on good files, one line of DataError on all others, and no pickle is opened."""

import io
import math
import os
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as npy

from minigan.data.idx import PIECE
from minigan.data.numpy_file import read_numpy_file
from minigan.data.sources import load_images
from minigan.errors import DataError, UsageError
from tests.commands import run
from tests.data.test_image_folder_command import NARROW
from tests.mutations import mutations

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 7), dtype=np.uint8)


def npy_bytes(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    npy.write_array(file, array, version)
    return file.getvalue()


def claiming(shape: object, dtype: str = "|u1", rest: bytes = b"abc") -> bytes:
    """A header that says so, and few bytes after it."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + rest


def npz_bytes(method: int = zipfile.ZIP_DEFLATED, **arrays: np.ndarray | bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", array if isinstance(array, bytes) else npy_bytes(array))
    return file.getvalue()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("npy") / "scratch"


@given(
    size=st.tuples(*[st.integers(1, 5)] * 3),
    channels=st.sampled_from([(), (1,), (3,)]),
    seed=st.integers(0, 2**32 - 1),
    columns_first=st.booleans(),
    save=st.sampled_from([np.save, np.savez, np.savez_compressed]),
)
def test_what_was_saved_is_read(scratch, size, channels, seed, columns_first, save):
    array = np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)
    with scratch.open("wb") as file:
        save(file, np.asfortranarray(array) if columns_first else array)
    images, labels = read_numpy_file(scratch)
    assert labels is None
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, array.reshape(*size, *(channels or (1,))))


@pytest.mark.parametrize(
    ("names", "dtype", "largest", "kept"),
    [
        (("images", "labels"), "uint8", 9, "uint8"),
        (("x_train", "y_train"), "int64", 255, "uint8"),  # Keras' mnist.npz
        (("train_images", "train_labels"), ">i4", 256, "int64"),
    ],
)
@pytest.mark.parametrize("column", [False, True])
def test_labels_come_with_the_images(scratch, names, dtype, largest, kept, column):
    labels = np.array([0, 1, 2, 3, largest], dtype)
    arrays = {names[0]: PIXELS, names[1]: labels[:, np.newaxis] if column else labels, "x_test": PIXELS[:1]}
    np.savez(scratch.with_suffix(".npz"), **arrays)
    images, found = read_numpy_file(scratch.with_suffix(".npz"))
    np.testing.assert_array_equal(images[..., 0], PIXELS)
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == kept


def test_a_header_of_the_second_version_and_a_single_array_of_any_name_are_read(scratch):
    scratch.write_bytes(npz_bytes(faces=npy_bytes(PIXELS, (2, 0))))
    assert read_numpy_file(scratch)[0].shape == (5, 6, 7, 1)


def test_python_2_wrote_longer_numbers(scratch, recwarn):
    scratch.write_bytes(npy_bytes(PIXELS).replace(b"(5, 6, 7), }  ", b"(5L, 6, 7), } "))
    assert read_numpy_file(scratch)[0].shape == (5, 6, 7, 1)
    assert not recwarn.list


# Each of the following is one way to be wrong, and what must be said about it.


class Harmful:
    """An object that would leave a trace if it were unpickled."""

    def __reduce__(self) -> tuple:
        return os.putenv, ("MINIGAN_UNPICKLED", "yes")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"is no array of NumPy's that can be read: EOF|expected 8 bytes got 0"),
        (b"<html>  and more", "is no array of NumPy's that can be read: the magic string is not correct"),
        (npy_bytes(PIXELS)[:30], "is no array of NumPy's that can be read: EOF"),
        (npy_bytes(PIXELS).replace(b"'descr'", b"'other'"), "is no array of NumPy's that can be read"),
        (npy_bytes(PIXELS, (3, 0)), r"of a version of NumPy's format that is not read: \(3, 0\)"),
        (npy_bytes(np.array([[[Harmful()]]], object)), r"type object; images are bytes \(uint8\)"),
        (npy_bytes(PIXELS.astype(np.int64)), r"type int64; images are bytes .* x\.astype\('uint8'\) makes them"),
        (npy_bytes(PIXELS / np.float32(255)), "type float32; images are bytes .* makes bytes of numbers from 0 to 1"),
        (npy_bytes(PIXELS.reshape(5, 42)), r"has shape \(5, 42\); images are \(N, H, W\),"),
        (npy_bytes(PIXELS.reshape(-1)[:196].reshape(4, 49)), r"3\): x.reshape\(-1, 7, 7\) makes squares of rows"),
        (npy_bytes(np.zeros((2, 3, 8, 8), np.uint8)), r"has shape \(2, 3, 8, 8\).*: x.transpose\(0, 2, 3, 1\) puts"),
        (npy_bytes(np.zeros((2, 8, 8, 4), np.uint8)), r"has shape \(2, 8, 8, 4\); images are .* \(N, H, W, 3\)$"),
        (npy_bytes(np.uint8(3)), r"has shape \(\); images are"),
        (npy_bytes(PIXELS)[:-1], r"shape \(5, 6, 7\) needs 210 bytes after the header, found 209"),
        (npy_bytes(PIXELS) + b"a", r"shape \(5, 6, 7\) needs 210 bytes after the header, found more"),
        (claiming((10**9, 28, 28)), r"take 730 GiB, allowed are 4 \(--image-memory\); images in a folder"),
        (claiming((2**31, 2**31, 4)), "take 1.72e.10 GiB"),  # 2**64: 0 if it wrapped
        (claiming((-1, 28, 28)), r"claims the shape \(-1, 28, 28\)"),
        (claiming((True, 8, 8)), r"claims the shape \(True, 8, 8\)"),
        (claiming((10**24, 0, 8)), r"claims the shape \(10{24}, 0, 8\)"),
        (npy_bytes(np.zeros((5, 0, 8), np.uint8)), r"has shape \(5, 0, 8\): .* images of no pixels"),
        (claiming((0, 2**62, 2**62)), r": no images, or"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "its header claims 4294967295 bytes"),
    ],
)
def test_a_wrong_file_is_named_and_explained(scratch, zipped, data, message):
    scratch.write_bytes(npz_bytes(**{"line\nbreak": data}) if zipped else data)
    with pytest.raises(DataError, match=message) as caught:
        read_numpy_file(scratch)
    assert str(scratch) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.system('test -z "$MINIGAN_UNPICKLED"') == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(4), r"'labels' has numbers of type int64 and shape \(4,\); labels are 5 whole numbers"),
        (np.arange(5.0), "'labels' has numbers of type float64"),
        (np.arange(5) - 1, "'labels': classes are counted from 0, found -1 to 3"),
        (np.arange(5).astype("u8") + 2**63, "found 9223372036854775808 to"),
        (np.array(list("abcde")), "'labels' has numbers of type <U1"),
    ],
)
def test_labels_that_are_none_are_refused(scratch, labels, message):
    scratch.write_bytes(npz_bytes(images=PIXELS, labels=labels))
    with pytest.raises(DataError, match=message):
        read_numpy_file(scratch)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npz_bytes(x=PIXELS, y=PIXELS), "called 'images' or 'x_train' or 'train_images'; found there: 'x', 'y'"),
        (npz_bytes(), "found there: nothing"),
        (npz_bytes(**dict.fromkeys("fdabce", PIXELS)), "found there: 'a', 'b', 'c', 'd', ..."),
        (npz_bytes(zipfile.ZIP_BZIP2, images=PIXELS), r"'images.npy' is encrypted or packed by a rare method"),
        (npz_bytes(images=PIXELS)[:-30], "is no .npz file that can be read: File is not a zip file"),
        (b"PK and nothing else", "is no .npz file that can be read"),
    ],
)  # fmt: skip
def test_a_wrong_zip_file_is_explained(scratch, data, message):
    scratch.write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_numpy_file(scratch)


def test_a_flipped_bit_in_a_zip_file_is_noticed(scratch):
    data = bytearray(npz_bytes(zipfile.ZIP_STORED, images=np.zeros((9, 28, 28), np.uint8)))
    data[6000] ^= 1
    scratch.write_bytes(data)
    with pytest.raises(DataError, match=r"is damaged: Bad CRC-32 for file 'images\.npy'"):
        read_numpy_file(scratch)


def test_missing_files_folders_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for name in ["none", "", "pipe", "null\0byte", "x" * 5000, "line\nbreak"]:
        with pytest.raises(DataError, match="is not a file") as caught:
            read_numpy_file(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_refused(scratch, monkeypatch):
    scratch.write_bytes(npy_bytes(PIXELS))

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(scratch), "open", refuse)  # chmod would not stop the superuser
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_numpy_file(scratch)


@pytest.mark.parametrize("pack", [bytes, lambda data: npz_bytes(images=data)])
def test_a_header_or_a_bomb_cannot_make_the_reader_allocate(scratch, pack):
    spaces = b"\x93NUMPY\x02\x00" + (50_000_000).to_bytes(4, "little") + b" " * 50_000_000
    for data in (claiming((2**20, 32, 32)), claiming((10, 2, 2), rest=bytes(50_000_000)), spaces):
        scratch.write_bytes(pack(data))
        del data
        tracemalloc.start()
        try:
            with pytest.raises(DataError):
                read_numpy_file(scratch)
            assert tracemalloc.get_traced_memory()[1] < 4 * PIECE
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("kind", ["npy", "npz", "damaged npy in a good npz"])
def test_thousands_of_damaged_files_give_images_or_a_data_error(scratch, kind):
    plain = npy_bytes(PIXELS)
    original = npz_bytes(images=PIXELS, labels=np.arange(5)) if kind == "npz" else plain
    messages = []
    for data in mutations(original, number=500, seed=1, head=100):
        scratch.write_bytes(npz_bytes(images=data) if kind.startswith("damaged") else data)
        started = time.monotonic()
        try:
            found, _ = read_numpy_file(scratch)
        except DataError as err:
            messages.append(str(err))
        else:
            assert found.dtype == np.uint8
            assert found.size == math.prod(found.shape)
        assert time.monotonic() - started < 2
    assert len(messages) > 200
    assert not any("\n" in message for message in messages)


# As a source


def test_as_a_source_it_is_told_and_resized(tmp_path):
    np.savez(tmp_path / "tiles.npz", images=np.full((4, 8, 6, 3), 9, np.uint8), labels=np.arange(4))
    data = load_images(f"numpy:{tmp_path}/tiles.npz", size=(4, 4))
    assert data.images.shape == (4, 4, 4, 3)
    assert list(data.labels) == [0, 1, 2, 3]
    assert data.notices[0].endswith("tiles.npz': 4 RGB images, height x width 8 x 6")
    assert data.notices[1].startswith("numpy: images of 8 x 6 are cropped")


def test_too_many_are_refused_and_none_at_all(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    with pytest.raises(DataError, match=r"take .* GiB, allowed are .* \(--image-memory\)"):
        load_images(f"numpy:{tmp_path}/a.npy", memory=209)
    np.save(tmp_path / "a.npy", PIXELS[:0])
    with pytest.raises(DataError, match="no images, or images of no pixels"):
        load_images(f"numpy:{tmp_path}/a.npy")
    with pytest.raises(UsageError, match=r"give an \.npy or \.npz file with images as numpy:FILE"):
        load_images("numpy:")
    with pytest.raises(UsageError, match="numpy: has no test split: give the test images themselves"):
        load_images("numpy:a.npy", split="test")


def test_a_run_trains_on_it_and_goes_on(tmp_path):
    np.savez(tmp_path / "small.npz", images=np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3), dtype=np.uint8))
    words = ("mlp-mnist", *NARROW, "--steps", "3", "--out", "run", "--data", "numpy:small.npz")
    done = run(tmp_path, "minigan.train", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "note: 'small.npz': 20 RGB images, height x width 6 x 8" in done.stdout
    np.savez(tmp_path / "small.npz", images=np.zeros((20, 6, 8, 3), np.uint8))
    resumed = run(tmp_path, "minigan.train", "--resume", "--out", "run", "--steps", "4")
    assert "small.npz are others than those that the run was trained on" in resumed.stderr


@pytest.mark.parametrize(("largest", "told"), [(1, True), (2, False)])
def test_bytes_of_0_and_1_are_told_to_be_black(tmp_path, largest, told):
    np.save(tmp_path / "x.npy", np.full((4, 6, 6), largest, np.uint8))
    notices = load_images(f"numpy:{tmp_path}/x.npy").notices
    assert any("no byte is above 1, which is black" in notice for notice in notices) == told
