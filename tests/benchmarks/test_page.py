"""The page about benchmarks: a place for every table, and commands that exist."""

import dataclasses
import importlib
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.report import section
from minigan.recipes import RECIPES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLES = ("step", "train", "layers", "scaling", "cpu_vs_gpu", "equivalence")
COMMANDS = (*TABLES, "memory")


@pytest.mark.parametrize("name", TABLES)
def test_every_command_with_a_table_has_a_place_and_is_named(name) -> None:
    assert "the table" in section(PAGE, name, "the table")
    assert f"python -m benchmarks.{name}" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_overview(name) -> None:
    assert re.search(rf"^\| `python -m benchmarks\.{name}\b", PAGE, re.MULTILINE)


def test_what_the_tables_were_made_with_is_to_be_installed() -> None:
    """They name numba and torch."""
    assert "pip install '.[fast,bench]'" in PAGE.partition("## ")[0]
    assert "pip install '.[fast,bench]'" in README.partition("## Benchmarks")[2]


@pytest.mark.parametrize("name", TABLES)
def test_a_place_without_a_table_says_why(name) -> None:
    place = PAGE.partition(f"<!-- table: {name} -->")[2].partition("<!-- end of table -->")[0]
    assert "| -" in place or "no GPU was at hand" in place


def shown() -> list[tuple[str, list[str]]]:
    lines = re.findall(r"python -m benchmarks\.([a-z_]+)([^`\n]*)", PAGE + README)
    return [(name, shlex.split(rest, comments=True)) for name, rest in lines if name in COMMANDS]


@pytest.mark.parametrize(("name", "words"), shown())
def test_shown_commands_have_their_options_and_recipes(name, words) -> None:
    options = importlib.import_module(f"benchmarks.{name}").Options
    known = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(options)}
    assert {word for word in words if word.startswith("--")} <= known
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    assert set(words[:first]) <= RECIPES.keys()
