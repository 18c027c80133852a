"""The command as a user runs it, timed by the rows that it writes. No test asserts a time."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import step, train
from benchmarks.minigan_side import MiniganSide
from benchmarks.processes import Remote
from benchmarks.train import ROWS, CommandSide, rows_written
from minigan.errors import UsageError, UserError
from minigan.recipes import MLPMnist, Recipe
from minigan.runs.metrics import HEADER

SMALL = MLPMnist()


def writing(path: Path, count: int, after: str = "") -> "subprocess.Popen[str]":
    """A process that writes so many rows, one by one, and then does something else."""
    code = f"""
import time
with open({str(path)!r}, "w") as file:
    file.write({HEADER!r})
    for step in range({count}):
        time.sleep(0.02)
        file.write(f"{{step}},0,0,0,0,0\\n"); file.flush()
{after}"""
    return subprocess.Popen([sys.executable, "-c", code], text=True)


def test_every_row_is_seen_as_it_comes_and_no_more_than_needed(tmp_path) -> None:
    with writing(tmp_path / "metrics.csv", ROWS + 2) as process:
        assert list(rows_written(tmp_path / "metrics.csv", process)) == list(range(ROWS))


@pytest.mark.parametrize("count", [0, 2])
def test_a_process_that_ends_early_is_not_waited_for(tmp_path, count) -> None:
    with writing(tmp_path / "metrics.csv", count) as process:
        assert list(rows_written(tmp_path / "metrics.csv", process)) == list(range(count))


def test_the_time_of_a_round_what_computed_and_the_memory_of_the_whole_command_are_told() -> None:
    side = CommandSide(SMALL, 1)
    assert 0 < side.seconds_a_round(1) < 60
    facts = side.facts()
    assert facts["computed_by"].startswith("NumPy")
    assert facts["largest_bytes"] > 50 * 2**20  # the libraries alone


def test_what_a_failing_command_said_is_told(monkeypatch) -> None:
    monkeypatch.setattr(train, "COMMAND", "minigan.trian")
    with pytest.raises(UserError, match=r"minigan\.trian mlp-mnist .* has failed: .*No module named"):
        CommandSide(SMALL, None).seconds_a_round(1)


@pytest.mark.parametrize("words", [["--seconds", "0"], ["--blocks", "0"], ["--threads", "-1"], ["--seconds", "nan"]])
def test_numbers_that_make_no_sense_are_refused(words) -> None:
    with pytest.raises(UsageError, match=words[0]):
        train.Options(**{words[0][2:]: float(words[1])})


def ours(recipe: Recipe) -> Remote:
    return Remote(MiniganSide, recipe, "plain", 1)


def test_the_command_prints_a_table_and_writes_numbers(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(step, "sides", lambda *_: {"minigan fast": ours, "PyTorch": ours})
    words = ["mlp-mnist", "--seconds", "0.01", "--blocks", "1", "--json", str(tmp_path / "n.json")]
    assert train.main(words) == 0
    printed = capsys.readouterr().out
    assert "| minigan.train / PyTorch |" in printed
    assert "| largest MiB |" in printed
    assert "plain kernels" in printed
    (result,) = json.loads((tmp_path / "n.json").read_text())["results"]
    assert {name: side["count"] for name, side in result["sides"].items()} == {"minigan.train": 1, "PyTorch": 1}


def test_sides_that_play_another_game_are_not_timed() -> None:
    def other(recipe: MLPMnist) -> Remote:
        return ours(dataclasses.replace(recipe, smoothing=0.3))

    with other(SMALL) as remote, pytest.raises(UserError, match="do not play the same game"):
        train.same_game(SMALL, ours, {"PyTorch": remote})
