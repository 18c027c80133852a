"""metrics.csv: rows that come back as they were, whatever interrupted the writing."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.errors import DataError
from minigan.runs.metrics import COLUMNS, HEADER, PENALISED, MetricsFile, read_metrics

SCORES = ("step", "Fréchet distance", "precision")


def row(step, value=0.5):
    return dict.fromkeys(COLUMNS, value) | {"step": float(step)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def write(path, rows, earlier=()):
    file = MetricsFile(path, earlier)
    for one in rows:
        file.append(one)
    file.sync()
    file.close()


def test_rows_are_appended_and_read_back(path):
    rows = [row(10), row(20, 1.25)]
    write(path, rows)
    assert read_metrics(path) == rows
    assert path.read_text() == HEADER + "10,0.5,0.5,0.5,0.5,0.5\n20,1.25,1.25,1.25,1.25,1.25\n"


def test_a_row_can_be_read_as_soon_as_it_is_appended(path):
    file = MetricsFile(path)
    file.append(row(10))
    assert read_metrics(path) == [row(10)]
    file.close()


def test_a_file_starts_with_the_rows_it_is_given_and_forgets_the_others(path):
    write(path, [row(10), row(20), row(30)])
    write(path, [row(15)], earlier=[row(10)])
    assert read_metrics(path) == [row(10), row(15)]


def test_float32_numbers_come_back_exactly(path):
    bits = np.random.default_rng(0).integers(0, 2**32, (2000, 5), dtype=np.uint32)
    numbers = bits.view(np.float32)
    numbers = numbers[np.isfinite(numbers).all(axis=1)]  # all magnitudes, denormals and -0.0 among them
    write(path, [dict(zip(COLUMNS, [1.0, *map(float, values)], strict=True)) for values in numbers])
    back = np.array([list(row.values())[1:] for row in read_metrics(path)], np.float32)
    assert back.tobytes() == numbers.tobytes()


def test_sync_waits_for_the_rows_to_be_on_the_disk(path, monkeypatch):
    file = MetricsFile(path)
    file.append(row(10))
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor)))
    file.sync()
    file.close()
    assert [(status.st_ino, status.st_size) for status in synced] == [(path.stat().st_ino, path.stat().st_size)]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=5, max_size=5))
def test_a_file_written_from_what_was_read_is_the_same_file(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "again.csv"
    write(path, [dict(zip(COLUMNS, [1.0, *values], strict=True))])
    before = path.read_bytes()
    write(path, [], earlier=read_metrics(path))
    assert path.read_bytes() == before


def test_a_row_cut_short_anywhere_is_left_out(path):
    write(path, [row(10), row(20)])
    whole = path.read_bytes()
    for length in range(len(HEADER), len(whole)):
        path.write_bytes(whole[:length])
        assert [r["step"] for r in read_metrics(path)] == ([10.0] if length >= whole.index(b"\n20,") + 1 else [])


@pytest.mark.parametrize("content", [b"", HEADER[:9].encode(), HEADER.encode()], ids=["nothing", "half", "header"])
def test_a_file_without_a_whole_row_has_no_rows(path, content):
    path.write_bytes(content)
    assert read_metrics(path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n",
        b"step,loss_d\n1,2\n",
        b"garbage\n",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) + b"\n",
        HEADER.encode() + b"1,2,3\n",
        HEADER.encode() + b"1,2,3,4,5,6,7\n",
        HEADER.encode() + b"1,2,3,4,5,six\n",
        HEADER.encode() + b'"' + b"1" * 200_000 + b"\n",
        HEADER.encode() + "1,2,3,4,5,\N{MINUS SIGN}6\n".encode(),
    ],
    ids=["other", "fewer columns", "text", "binary", "short row", "long row", "word", "endless field", "not ASCII"],
)
def test_what_is_no_metrics_file_is_refused_by_name(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"metrics\.csv: not a metrics file of minigan"):
        read_metrics(path)


def test_a_run_with_a_penalty_has_a_column_for_it(path):
    rows = [row(10) | {"penalty": 1.5}, row(20) | {"penalty": 0.25}]
    file = MetricsFile(path, rows[:1], PENALISED)
    file.append(rows[1])
    file.close()
    assert path.read_text().splitlines()[::2] == [f"{HEADER.strip()},penalty", "20,0.5,0.5,0.5,0.5,0.5,0.25"]
    assert read_metrics(path) == rows
    MetricsFile(path, [row(10)], PENALISED).close()  # of an older minigan, which had none
    assert np.isnan(read_metrics(path)[0]["penalty"])


def test_other_columns_are_written_and_read_back_by_their_names(path):
    rows = [{"step": float(step), "Fréchet distance": step / 3, "precision": 0.5} for step in (3, 6)]
    file = MetricsFile(path, rows[:1], SCORES)
    file.append(rows[1])
    file.close()
    assert path.read_text(encoding="utf-8") == "step,Fréchet distance,precision\n3,1,0.5\n6,2,0.5\n"
    assert read_metrics(path, SCORES) == read_metrics(path, None) == rows


@pytest.mark.parametrize("columns", [COLUMNS, SCORES[:2], (*SCORES, "recall")])
def test_a_file_of_other_columns_is_refused(path, columns):
    MetricsFile(path, (), SCORES).close()
    with pytest.raises(DataError, match="its first line is not step,"):
        read_metrics(path, columns)


def test_a_file_of_any_columns_still_counts_its_steps(path):
    path.write_text("epoch,precision\n1,0.5\n")
    with pytest.raises(DataError, match="its first line is not step,"):
        read_metrics(path, None)
