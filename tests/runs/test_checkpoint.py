"""Checkpoints: exact round trips, and a refusal for every other file."""

import errno
import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.errors import CheckpointError, UsageError
from minigan.runs import checkpoint as module
from minigan.runs.atomic import TEMPORARY
from minigan.runs.checkpoint import (
    FORMAT,
    Checkpoint,
    checkpoint_files,
    read_checkpoint,
    read_newest,
    step_of,
    write_checkpoint,
)

VECTOR = np.arange(4, dtype=np.float32)
ENTRY = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


def small(step=7):
    tensors = {"a": np.linspace(-1, 1, 5, dtype=np.float32), "b": np.full((2, 3), np.pi)}
    return Checkpoint(tensors, {"step": step, "version": "0.1.0"})


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a small checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("small"), small()).read_bytes()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "step-000000007.safetensors"


def container(header):
    """A safetensors file with this header, well-formed or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + VECTOR.tobytes()


def signed(facts='{"format": 1, "step": 1}', entries=(("a", ENTRY),), tensors=None):
    """A header whose checksum is right."""
    digest = module._digest(tensors or {"a": VECTOR}, facts)
    return {"__metadata__": {"minigan": facts, "sha256": digest}} | dict(entries)


def refuse(path, content, match=None):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=match) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4)])
def test_a_round_trip_is_exact_to_the_bit(tmp_path, dtype, shape):
    bits = np.random.default_rng(0).integers(0, 256, (*shape, np.dtype(dtype).itemsize), dtype=np.uint8)
    tensor = bits.view(dtype).reshape(shape)  # denormals, infinities and NaNs among them
    facts = {"step": 3, "layout": {"g": {"dense1.w": [2, 3]}}, "words": "naïve"}
    back = read_checkpoint(write_checkpoint(tmp_path, Checkpoint({"x": tensor, "y": tensor.T}, facts)))
    assert back.facts == facts | {"format": FORMAT}
    for name, expected in (("x", tensor), ("y", tensor.T)):
        assert back.tensors[name].dtype == dtype
        assert back.tensors[name].shape == expected.shape
        assert back.tensors[name].tobytes() == expected.tobytes()


def test_extreme_numbers_survive(tmp_path):
    numbers = [np.nan, np.inf, -np.inf, -0.0, np.finfo(np.float64).tiny / 2**52, np.finfo(np.float64).max]
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            tensor = np.array(numbers).astype(dtype)
        back = read_checkpoint(write_checkpoint(tmp_path, Checkpoint({"x": tensor}, {"step": 1})))
        assert back.tensors["x"].tobytes() == tensor.tobytes()


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.bool_, ">f4"])
def test_other_types_are_refused_by_name(tmp_path, dtype):
    with pytest.raises(TypeError, match="x: a checkpoint holds float32 and float64, not "):
        write_checkpoint(tmp_path, Checkpoint({"x": np.zeros(3, dtype)}, {"step": 1}))
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_both_types_and_of_no_numbers(tmp_path):
    tensors = {"a": np.ones(3, np.float32), "b": np.ones((2, 2)), "c": np.zeros((0, 4)), "d": np.float64(5)}
    back = read_checkpoint(write_checkpoint(tmp_path, Checkpoint(tensors, {"step": 1})))
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back.tensors[name], tensor)


def test_writing_copies_no_array(tmp_path):
    """A run that is as large as its machine allows must still be able to save itself."""
    large = Checkpoint({"x": np.zeros(1 << 21, np.float32)}, {"step": 1})
    tracemalloc.start()
    try:
        write_checkpoint(tmp_path, large)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_newest_two_are_kept(tmp_path):
    for step in (1, 20, 300):
        write_checkpoint(tmp_path, small(step))
    assert [path.name for path in checkpoint_files(tmp_path)] == [
        "step-000000300.safetensors",
        "step-000000020.safetensors",
    ]
    assert read_newest(tmp_path)[0].facts["step"] == 300


def test_those_kept_for_good_stay_and_take_no_place_of_the_newest_two(tmp_path):
    for step in range(1, 8):
        write_checkpoint(tmp_path, small(step), for_good=step % 3 == 0)
        if step == 4:  # a person keeps one by another name
            (tmp_path / "step-000000004.safetensors").rename(tmp_path / "step-000000004.kept.safetensors")
    assert [step_of(path) for path in checkpoint_files(tmp_path)] == [7, 6, 5, 4, 3]
    assert read_newest(tmp_path)[0].facts["step"] == 7
    assert read_newest(tmp_path, 3)[0].facts["step"] == 3


def test_a_file_under_the_name_of_another_step_is_not_taken_for_it(tmp_path):
    write_checkpoint(tmp_path, small(20))
    write_checkpoint(tmp_path, small(5)).rename(tmp_path / "step-000000030.kept.safetensors")
    checkpoint, problems = read_newest(tmp_path)
    assert checkpoint.facts["step"] == 20
    assert len(problems) == 1
    assert problems[0].endswith(
        "step-000000030.kept.safetensors: this is no checkpoint of step 30: the file was renamed"
    )
    with pytest.raises(CheckpointError, match="no checkpoint of step 30: the file was renamed"):
        read_newest(tmp_path, 30)


def test_one_of_a_step_is_read_or_the_steps_that_there_are_are_told(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        read_newest(tmp_path, 3)
    for step in (1, 20, 300):
        write_checkpoint(tmp_path, small(step), for_good=True)
    with pytest.raises(UsageError, match=r"no checkpoint of step 21 in .*, but of 1, 20, 300$"):
        read_newest(tmp_path, 21)
    (tmp_path / "step-000000020.kept.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"step-000000020\.kept\.safetensors: damaged"):
        read_newest(tmp_path, 20)  # no other one instead
    write_checkpoint(tmp_path, small(20))
    checkpoint, problems = read_newest(tmp_path, 20)
    assert (checkpoint.facts["step"], problems) == (20, [])


def test_an_old_one_that_somebody_reads_goes_the_next_time(tmp_path, monkeypatch):
    """On Windows a file that is open cannot be removed."""
    for step in (1, 2):
        write_checkpoint(tmp_path, small(step))

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "used by another process")

    with monkeypatch.context() as held:
        held.setattr(os, "unlink", refused)
        write_checkpoint(tmp_path, small(3))
    assert [step_of(path) for path in checkpoint_files(tmp_path)] == [3, 2, 1]
    write_checkpoint(tmp_path, small(4))
    assert [step_of(path) for path in checkpoint_files(tmp_path)] == [4, 3]


def test_steps_beyond_nine_digits_are_still_in_order(tmp_path):
    for step in (999_999_999, 1_000_000_000):
        write_checkpoint(tmp_path, small(step))
    assert read_newest(tmp_path)[0].facts["step"] == 1_000_000_000


def test_a_later_file_that_cannot_be_read_does_not_crowd_out_a_good_one(tmp_path):
    write_checkpoint(tmp_path, small(500))
    (tmp_path / "step-000001000.safetensors").write_bytes(b"damaged")
    for step in (600, 700):
        write_checkpoint(tmp_path, small(step))
    assert [module.step_of(path) for path in checkpoint_files(tmp_path)] == [1000, 700, 600]


def test_files_under_other_names_are_left_alone(tmp_path):
    others = ["step-best.safetensors", "step-000000001 (copy).safetensors", "step-5.safetensors", "step-000000009.txt"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    os.mkfifo(tmp_path / "step-000000008.safetensors")  # reading it would wait for ever
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, small(step))
    assert [module.step_of(path) for path in checkpoint_files(tmp_path)] == [3, 2]
    assert all((tmp_path / name).read_bytes() == b"mine" for name in others)


def test_a_failed_write_keeps_what_was_there(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, small(1))
    write_checkpoint(tmp_path, small(2))

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path, small(3))
    assert [module.step_of(path) for path in checkpoint_files(tmp_path)] == [2, 1]
    assert list(tmp_path.glob(f"{TEMPORARY}*")) == []


def test_every_flipped_bit_is_refused(file, content):
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            refuse(file, bytes(damaged))


def test_every_truncation_is_refused(file, content):
    for length in range(len(content)):
        refuse(file, content[:length])


@given(st.data())
def test_no_replaced_inserted_or_removed_stretch_is_accepted(tmp_path_factory, content, data):
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    damaged = content[:start] + data.draw(st.binary(max_size=40)) + content[stop:]
    if damaged != content:
        refuse(tmp_path_factory.getbasetemp() / "damaged.safetensors", damaged)


@given(st.binary(max_size=300))
def test_garbage_is_refused(tmp_path_factory, garbage):
    refuse(tmp_path_factory.getbasetemp() / "garbage.safetensors", garbage)


def test_a_flipped_bit_in_the_data_is_a_checksum_mismatch(file, content):
    refuse(file, content[:-1] + bytes([content[-1] ^ 1]), "checksum mismatch")


@pytest.mark.parametrize("start", [b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"])
def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path, start):
    """0x0480 = 1152 bytes of header, and the file begins like a pickle of protocol 4."""
    wanted = int.from_bytes(start, "little")
    for padding in range(wanted):  # the length is rounded up to 8, so that some of them give what is wanted
        checkpoint = Checkpoint(small().tensors, small().facts | {"note": "x" * (wanted - 800 + padding)})
        path = write_checkpoint(tmp_path, checkpoint)
        if path.read_bytes()[:2] == start:
            break
    else:
        pytest.fail("no header of this length")
    assert read_checkpoint(path).facts["note"] == checkpoint.facts["note"]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_because_it_can_run_code(file, protocol):
    refuse(file, pickle.dumps({"a": VECTOR}, protocol), "can run code when it is read: refused")


@pytest.mark.parametrize("protocol", [0, 1])
def test_an_old_pickle_is_refused_too(file, protocol):
    refuse(file, pickle.dumps({"a": VECTOR}, protocol))


def test_a_pt_or_npz_file_is_refused_because_it_can_run_code(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    refuse(file, file.read_bytes(), "can run code when it is read: refused")


@pytest.mark.parametrize("claim", [10**9, 2**31, 2**63, 2**64 - 1, 99_000_000, 3])
def test_a_header_of_a_false_length_is_refused(file, claim):
    refuse(file, struct.pack("<Q", claim) + b"{}" + bytes(100))


def entry(**changes):
    return ENTRY | changes


@pytest.mark.parametrize(
    "entries",
    [
        [("a", ENTRY), ("b", ENTRY)],
        [("a", ENTRY), ("b", entry(shape=[2], data_offsets=[8, 16]))],
        [("a", entry(shape=[2], data_offsets=[8, 16]))],
        [("a", entry(shape=[2], data_offsets=[0, 8]))],
        [("a", entry(data_offsets=[0, 10**15]))],
        [("a", entry(data_offsets=[16, 0]))],
        [("a", entry(shape=[5]))],
        [("a", entry(shape=[2**62, 4]))],
        [("a", entry(shape=[0, 2**63], data_offsets=[0, 0]))],
        [("a", entry(shape=[-4]))],
        [("a", entry(dtype="F33"))],
        [("a", entry(dtype="BF16", shape=[8]))],
        [("a", entry(dtype="I32"))],
        [("a", entry(shape=[2, 2]))],
        [("b", ENTRY)],
    ],
    ids=[
        "overlapping", "overlapping in part", "hole", "bytes left over", "beyond the end", "backwards", "wrong size",
        "product overflows", "empty and huge", "negative", "unknown type", "type numpy has not", "other type",
        "other shape", "other name",
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_the_data_are_refused(file, entries):
    refuse(file, container(signed(entries=entries)))


@pytest.mark.parametrize("name", ["a", "minigan", "sha256", "__metadata__", "shape"])
def test_an_entry_that_stands_twice_is_refused(file, name):
    header = json.dumps(signed())
    key = json.dumps(name) + ": "
    start = header.index(key)
    value = header[start + len(key) :]
    _, length = json.JSONDecoder().raw_decode(value)
    doubled = header[:start] + key + value[:length] + ", " + header[start:]
    file.write_bytes(container(header.encode()))
    read_checkpoint(file)
    refuse(file, container(doubled.encode()))


@pytest.mark.parametrize(
    "facts", ["[]", "null", "1", "{}", '{"format": "one"}', '{"format": null}', '{"form', "[" * 10**5, "9" * 5000]
)
def test_facts_that_are_none_of_ours_are_refused_even_with_a_right_checksum(file, facts):
    refuse(file, container(signed(facts)), "damaged, or no checkpoint of minigan")


@pytest.mark.parametrize("metadata", [None, {}, {"minigan": "{}"}, {"sha256": "0"}, {"minigan": 1, "sha256": "0"}])
def test_a_safetensors_file_of_another_program_is_refused(file, metadata):
    header = {"a": ENTRY} if metadata is None else {"__metadata__": metadata, "a": ENTRY}
    refuse(file, container(header), "no checkpoint of minigan")


@pytest.mark.parametrize(("version", "shown"), [('"9.9.0"', "9.9.0"), (None, "unknown")])
def test_a_newer_format_is_refused_with_its_version(file, version, shown):
    facts = f'{{"format": {FORMAT + 1}, "step": 1' + (f', "version": {version}}}' if version else "}")
    refuse(file, container(signed(facts)), rf"written by minigan .*{shown}.*newer: update minigan")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(CheckpointError, match=reason):
            read_checkpoint(path)


def test_the_previous_checkpoint_stands_in_for_a_damaged_one_and_says_so(tmp_path):
    write_checkpoint(tmp_path, small(1))
    newest = write_checkpoint(tmp_path, small(2))
    assert read_newest(tmp_path)[1] == []
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    checkpoint, notes = read_newest(tmp_path)
    assert checkpoint.facts["step"] == 1
    assert notes == [f"{newest}: checksum mismatch, the file is damaged"]


def test_no_readable_checkpoint_is_an_error_that_names_them_all(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        read_newest(tmp_path)
    for step in (1, 2):
        write_checkpoint(tmp_path, small(step)).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-000000002.*; .*step-000000001"):
        read_newest(tmp_path)
