"""The command that holds the counted memory of a round beside that of a process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import memory
from minigan.recipes import RECIPES


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *words], cwd=Path(__file__).parents[2], capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_it_prints_both(capsys) -> None:
    assert memory.main(["mlp-mnist"]) == 0
    assert re.fullmatch(
        r"mlp-mnist: counted 0\.01 GB, the process \d\.\d\d GB, before it \d\.\d\d GB\n", capsys.readouterr().out
    )


def test_the_round_is_that_of_the_recipe_as_it_was_published(monkeypatch, capsys) -> None:
    played = []
    monkeypatch.setattr(memory, "prepared", lambda recipe, shape: lambda: played.append((recipe, shape)))
    assert memory.main([]) == 0
    assert played == [(RECIPES["dcgan-64"](), (64, 64, 3))]
    assert capsys.readouterr().out.startswith("dcgan-64: counted 0.36 GB, ")


def test_help_is_shown() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python -m benchmarks.memory" in done.stdout
    assert "name of the recipe" in done.stdout


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["dcgan-46"], "unknown recipe 'dcgan-46'; did you mean 'dcgan-64'?; there are mlp-mnist, "),
        (["mlp-mnist", "dcgan-28"], "dcgan-28"),
        (["--batch", "3"], "--batch"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(words, part) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("minigan: error: ")
    assert part in done.stderr
