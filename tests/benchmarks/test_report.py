"""Summaries, tables, and the places for them in a page."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import cpu_vs_gpu, equivalence, layers, machine, report, scaling, step, train
from benchmarks.report import Output, Report, Summary, milliseconds, save, section, table, without_outputs
from minigan.errors import UsageError


def test_a_summary_has_median_best_and_quartiles() -> None:
    assert Summary.of([5, 1, 3, 2, 4]) == Summary(median=3, best=1, lower=2, upper=4, count=5)
    assert Summary.of([7.0]) == Summary(7.0, 7.0, 7.0, 7.0, 1)


def test_a_table_is_markdown_with_straight_columns() -> None:
    assert table(["a", "ms"], [["long", "1"], ["b", "200"]]) == (
        "| a    |  ms |\n| ---- | --: |\n| long |   1 |\n| b    | 200 |"
    )


@pytest.mark.parametrize(("seconds", "text"), [(1.2345, "1234"), (0.0123456, "12.3"), (1e-5, "0.01")])
def test_times_have_three_digits(seconds, text) -> None:
    assert milliseconds(seconds) == text


def test_a_page_gets_a_new_section_and_keeps_the_rest() -> None:
    page = "a\n<!-- table: x -->\nold\n<!-- end of table -->\nb\n<!-- table: y -->\n<!-- end of table -->\n"
    changed = section(page, "y", "new")
    assert changed == page.replace("y -->\n", "y -->\n\nnew\n\n")
    assert section(changed, "y", "new") == changed
    with pytest.raises(UsageError, match="no place for this table: <!-- table: z -->"):
        section(page, "z", "new")


def test_the_command_in_a_report_is_what_decides_the_numbers() -> None:
    words = ["mlp-mnist", "--json", "a.json", "--rounds", "2", "--write=x.md", "--debug", "--plot", "p.png"]
    assert without_outputs(words) == ["mlp-mnist", "--rounds", "2"]


@dataclass(frozen=True)
class Drawing(Output):
    """Options of a benchmark that draws."""

    plot: Path = Path("picture.png")


@pytest.mark.parametrize("option", ["json", "plot", "write"])
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("nowhere/x.png", "No such file or directory"),
        ("file/x.png", "Not a directory"),
        ("folder.png", "not a regular file"),
        ("x" * 252 + ".png", "File name too long"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_of_before_the_measurement(option, place, why, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    path = tmp_path / place
    with pytest.raises(UsageError) as caught:
        Report("step", [], Drawing(**{"plot": tmp_path / "p.png", option: path}))
    assert str(caught.value) == f"--{option} {path}: {why}"


@pytest.mark.parametrize("name", ["picture.gif", "picture"])
def test_a_picture_that_cannot_be_drawn_is_told_of_before_the_measurement(name) -> None:
    with pytest.raises(UsageError, match=rf"--plot {name}: the file's ending must be one of \.png, "):
        Report("scaling", [], Drawing(plot=Path(name)))


def test_files_that_can_be_written_are_left_as_they_are(tmp_path) -> None:
    numbers, page, picture = (tmp_path / name for name in ("n.json", "page.md", "p.png"))
    page.write_text("<!-- table: step -->\n<!-- end of table -->\n")
    numbers.write_text("old")
    Report("step", [], Drawing(json=numbers, write=page, plot=picture))
    assert numbers.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["n.json", "page.md"]


@pytest.mark.parametrize("command", [step, train, layers, scaling, equivalence])
def test_every_command_looks_before_it_measures(command, monkeypatch) -> None:
    for name in ("measure", "limits_of", "compare"):
        monkeypatch.setattr(command, name, lambda *_: pytest.fail("it measures"), raising=False)
    with pytest.raises(UsageError, match=r"^--json nowhere/n\.json: No such file or directory$"):
        command.main(["mlp-mnist", "--json", "nowhere/n.json"])


@pytest.mark.usefixtures("strict")
def test_the_comparison_with_a_gpu_looks_before_it_measures(monkeypatch) -> None:
    monkeypatch.setattr(cpu_vs_gpu, "compare", lambda *_: pytest.fail("it measures"))
    with pytest.raises(UsageError, match=r"^--plot nowhere/p\.png: No such file or directory$"):
        cpu_vs_gpu.main(["mlp-mnist", "--plot", "nowhere/p.png"])


def test_a_picture_is_replaced_as_a_whole(tmp_path) -> None:
    path = tmp_path / "p.png"
    path.write_text("old")
    os.link(path, tmp_path / "other.png")
    save(Figure(figsize=(2, 1)), path)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (240, 120))
    assert (tmp_path / "other.png").read_text() == "old"


def test_a_busy_machine_is_told_of_before_and_after(monkeypatch, capsys) -> None:
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    report.Report("step", [], report.Output()).publish("the table", [])
    shown = capsys.readouterr()
    assert "not quiet (load average 1.50" in shown.err
    assert "not quiet (load average 1.50" in shown.out


def test_nothing_is_said_about_a_quiet_one(monkeypatch, capsys) -> None:
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (0.02, 3.0, 3.0))
    report.Report("step", [], report.Output()).publish("the table", [])
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "quiet" not in shown.out


def test_a_process_is_at_least_as_large_as_what_it_holds() -> None:
    before = machine.largest()
    held = bytearray(b"x") * (before + 2**20)
    assert machine.largest() >= len(held)
