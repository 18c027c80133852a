"""The IDX reader: exact on good files, one line of DataError on all others."""

import gzip
import math
import os
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan.data.idx import MAX_BYTES, PIECE, folder_contents, read_idx
from minigan.errors import DataError
from tests.mutations import mutations


def header(*sizes: int, code: int = 0x08) -> bytes:
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def idx_bytes(array: np.ndarray) -> bytes:
    return header(*array.shape) + array.tobytes()


@pytest.fixture
def write(tmp_path):
    """Write bytes to a file and return its path."""

    def write_bytes(data: bytes, name: str = "some-idx3-ubyte"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write_bytes


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "scratch"


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    pack=st.sampled_from([bytes, gzip.compress]),
)
def test_what_was_written_is_read(scratch, shape, seed, pack):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    scratch.write_bytes(pack(idx_bytes(array)))
    found = read_idx(scratch, ndim=len(shape))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_arrays_around_the_piece_size_are_whole(write, pack, extra):
    array = np.arange(PIECE + extra, dtype=np.uint32).astype(np.uint8)
    np.testing.assert_array_equal(read_idx(write(pack(idx_bytes(array))), ndim=1), array)


def test_gzip_is_told_by_content_not_by_name(write):
    array = np.ones((2, 3, 4), np.uint8)
    assert read_idx(write(idx_bytes(array), "plain.gz"), ndim=3).shape == (2, 3, 4)
    assert read_idx(write(gzip.compress(idx_bytes(array)), "packed"), ndim=3).shape == (2, 3, 4)


def test_a_gzip_of_two_members_is_one_file(write):
    data = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    assert read_idx(write(gzip.compress(data[:20]) + gzip.compress(data[20:])), ndim=3).sum() == 276


# Each of the following is one way to be wrong, and what must be said about it.


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("data", "ndim", "message"),
    [
        (b"", 3, "starts with nothing, expected 00 00 08 03"),
        (b"\0\0\x08", 3, "starts with 00 00 08, expected"),
        (b"<html>", 3, "not an IDX file of bytes: it starts with 3c 68 74 6d"),
        (header(1, code=0x0D) + b"abcd", 1, "starts with 00 00 0d 01, expected 00 00 08 01"),
        (header(5) + b"abcde", 3, r"this is a label file \(1 dimensions\), expected 3"),
        (header(1, 1, 1) + b"a", 1, r"this is an image file \(3 dimensions\), expected 1"),
        (header(1, 1) + b"a", 3, "this is an IDX file of another kind"),
        (header(7, 28, 28)[:9], 3, "the header needs 16 bytes, found 9"),
        (header(2, 3, 4) + bytes(23), 3, "sizes 2 x 3 x 4 need 24 bytes after the header, found 23"),
        (header(2, 3, 4) + bytes(25), 3, "need 24 bytes after the header, found more"),
        (header(0, 28, 28), 3, "claims 0 x 28 x 28 bytes, allowed are 1 to"),
        (header(2**32 - 1), 1, "claims 4294967295 bytes"),
        (header(2**32 - 1, 2**32 - 1, 2**32 - 1), 3, "claims 4294967295 x 4294967295 x 4294967295 bytes"),
        (header(2**31, 2**31, 4), 3, "claims 2147483648 x 2147483648 x 4 bytes"),  # 2**64: 0 if it wrapped
        (header(0, 2**32 - 1, 2**32 - 1), 3, "claims 0 x"),
        (header(MAX_BYTES + 1), 1, "allowed are 1 to 1073741824"),
    ],
)
def test_a_wrong_file_is_named_and_explained(write, pack, data, ndim, message):
    path = write(pack(data))
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, ndim)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_gzip_tells_how_far_it_could_be_read(write, kept):
    array = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    packed = gzip.compress(idx_bytes(array))
    with pytest.raises(DataError, match=r"damaged at byte \d+ of the unpacked data: Compressed file ended") as caught:
        read_idx(write(packed[: int(kept * len(packed))]), ndim=3)
    reached = int(str(caught.value).split("at byte ")[1].split()[0])
    assert abs(reached - kept * 39216) < 10_000  # random bytes do not shrink: offsets agree, to gzip's block


def test_a_flipped_bit_in_a_gzip_is_noticed(write):
    packed = bytearray(gzip.compress(idx_bytes(np.zeros((4, 28, 28), np.uint8))))
    packed[-6] ^= 1  # in the checksum: all the data have been unpacked by then
    with pytest.raises(DataError, match=r"damaged at byte 3152 of the unpacked data: CRC check failed"):
        read_idx(write(bytes(packed)), ndim=3)


def test_garbage_after_a_gzip_is_refused(write):
    packed = gzip.compress(idx_bytes(np.zeros((4, 28, 28), np.uint8)))
    with pytest.raises(DataError, match=r"damaged at byte 3152 .*Not a gzipped file"):
        read_idx(write(packed + b"garbage"), ndim=3)


def test_a_missing_file_names_candidates(tmp_path):
    for name in ["a.txt", "b.txt", "c.txt", "d.txt", "train-labels-idx1-ubyte"]:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"is not a file.*holds 'train-labels-idx1-ubyte', 'a.txt'.* and 1 more"):
        read_idx(tmp_path / "train-images-idx3-ubyte", ndim=3)


def test_folders_that_are_missing_empty_or_not_folders(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert "No such file or directory" in folder_contents(tmp_path / "none")
    assert "Not a directory" in folder_contents(tmp_path / "file")
    assert "is empty" in folder_contents(tmp_path / "empty")
    assert "cannot be listed" in folder_contents(tmp_path / "null\0byte")


def test_a_folder_a_pipe_and_odd_paths_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    (tmp_path / "empty").mkdir()
    for name in ["empty", "pipe", "null\0byte", "x" * 5000, "line\nbreak"]:
        with pytest.raises(DataError, match="is not a file") as caught:
            read_idx(tmp_path / name, ndim=3)
        assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_refused(write, monkeypatch):
    path = write(header(1) + b"a")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)  # chmod would not stop the superuser
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_idx(path, ndim=1)


def peak_memory(path, ndim: int) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_idx(path, ndim)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_header_cannot_make_the_reader_allocate(write):
    claims_a_gigabyte = header(2**30) + b"abc"
    assert peak_memory(write(claims_a_gigabyte), ndim=1) < 4 * PIECE
    assert peak_memory(write(gzip.compress(claims_a_gigabyte)), ndim=1) < 4 * PIECE


def test_a_gzip_bomb_is_not_inflated(write):
    bomb = gzip.compress(header(10) + bytes(50_000_000), compresslevel=1)
    assert peak_memory(write(bomb), ndim=1) < 4 * PIECE


@pytest.mark.parametrize("kind", ["idx", "gzip", "damaged idx in a good gzip"])
def test_thousands_of_damaged_files_give_an_array_or_a_data_error(scratch, kind):
    array = np.random.default_rng(0).integers(0, 256, (5, 6, 7), dtype=np.uint8)
    plain = idx_bytes(array)
    original = gzip.compress(plain, mtime=0) if kind == "gzip" else plain
    messages = []
    for data in mutations(original, number=2000, seed=1, head=20):
        scratch.write_bytes(gzip.compress(data, 1) if kind.startswith("damaged") else data)
        started = time.monotonic()
        try:
            found = read_idx(scratch, ndim=3)
        except DataError as err:
            messages.append(str(err))
        else:
            assert found.dtype == np.uint8
            assert found.size == math.prod(found.shape) > 0
        assert time.monotonic() - started < 2
    assert len(messages) > 1000
    assert not any("\n" in message for message in messages)
