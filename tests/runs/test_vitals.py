"""vitals.jsonl: lines that come back as they were, and nothing else."""

import json

import pytest

from minigan.errors import DataError
from minigan.runs.vitals import BINS, LONGEST, Vitals, VitalsFile, read_vitals
from tests.mutations import mutations

BY_LAYER = {"G": {"dense1": 0.125, "dense2": 3.0e-9}, "D": {"dense1": 1e12}}
NONE = {"G": {}, "D": {}}
COUNTS = list(range(BINS))


def one(step, classes=None):
    flat = {"G": {"tanh1": 0.5}, "D": {}}
    return Vitals(step, BY_LAYER, BY_LAYER, BY_LAYER, NONE, flat, COUNTS, COUNTS, 0.9, classes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vitals.jsonl"


def write(path, vitals, earlier=()):
    file = VitalsFile(path, earlier)
    for each in vitals:
        file.append(each)
    file.sync()
    file.close()


def test_lines_are_appended_and_read_back_in_order(path):
    write(path, [one(10), one(20, [1, 2, 3])])
    assert read_vitals(path) == [one(10), one(20, [1, 2, 3])]
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20]
    assert list(read_vitals(path)[0].gradients["G"]) == ["dense1", "dense2"]


def test_a_file_written_from_what_was_read_is_the_same_file(path):
    write(path, [one(10), one(20)])
    before = path.read_bytes()
    write(path, [], earlier=read_vitals(path))
    assert path.read_bytes() == before


def test_a_line_cut_short_anywhere_is_left_out(path):
    write(path, [one(10), one(20)])
    whole = path.read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole), 7):
        path.write_bytes(whole[:length])
        assert read_vitals(path) == [one(10)]
    path.write_bytes(b"")
    assert read_vitals(path) == []


def test_what_is_no_number_is_not_written(path):
    file = VitalsFile(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        file.append(one(10)._replace(spread=float("nan")))
    file.close()
    assert read_vitals(path) == []


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1}, {"step": 1.5}, {"step": True}, {"step": 2**60}, {"spread": float("inf")}, {"spread": "1"},
        {"gradients": {"G": {}}}, {"gradients": {"D": {}, "G": {}}}, {"updates": {"G": [], "D": {}}}, {"dead": None},
        {"weights": {"G": {"dense1": -1.0}, "D": {}}}, {"saturated": {"G": {"tanh1": float("nan")}, "D": {}}},
        {"d_real": COUNTS[1:]}, {"d_fake": [0.5] * BINS}, {"classes": 3}, {"classes": [-1]}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_line_with_other_values_is_refused_with_its_number(path, change):
    write(path, [one(10)])
    with path.open("a") as file:
        file.write(json.dumps(one(20)._asdict() | change) + "\n")
    with pytest.raises(DataError, match=r"vitals\.jsonl: not a vitals file of minigan \(line 2: .+\)"):
        read_vitals(path)


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b"1", b"", b"[" * 50_000, b"9" * 5000, b" " * (LONGEST + 1), b"\xff"],
    ids=["list", "object", "number", "blank", "deep", "large", "long", "binary"],
)
def test_rubbish_is_refused(path, content):
    path.write_bytes(content + b"\n")
    with pytest.raises(DataError, match="line 1"):
        read_vitals(path)


def test_damaged_files_give_vitals_or_an_error_of_ours(path):
    write(path, [one(10), one(20)])
    for data in mutations(path.read_bytes(), 150, seed=0, head=200):
        path.write_bytes(data)
        try:
            found = read_vitals(path)
        except DataError:
            continue
        assert all(isinstance(each, Vitals) for each in found)
