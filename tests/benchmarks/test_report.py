"""Summaries, tables, and the places for them in a page."""

import pytest

from benchmarks import machine, report
from benchmarks.report import Summary, milliseconds, section, table, without_outputs
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
