"""Commands where the system lacks and forbids what Windows does (see tests/windows.py); Windows itself is not asked."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan import cli

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open files are looked up in /proc")
SHORT = (
    "--hidden-g", "8", "--hidden-d", "8", "--steps", "20", "--log-every", "5", "--snapshot-every", "10",
    "--checkpoint-every", "5", "--threads", "1",
)  # fmt: skip


def as_on_windows(cwd, module, *arguments):
    start = [sys.executable, "-X", "warn_default_encoding", "-W", "ignore::EncodingWarning"]  # of other libraries
    command = [*start, Path(__file__).with_name("windows.py"), module, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_is_begun_and_gone_on_with_and_is_the_same_as_elsewhere(tmp_path):
    as_on_windows(tmp_path, "minigan.train", *SHORT, "--out", "run")
    as_on_windows(tmp_path, "minigan.train", "--resume", "--out", "run", "--steps", "30")
    elsewhere = [sys.executable, "-m", "minigan.train", *SHORT, "--out", "other", "--steps", "30"]
    subprocess.run(elsewhere, cwd=tmp_path, check=True, capture_output=True, timeout=100)
    names = ("metrics.csv", "checkpoints/step-000000030.safetensors", "samples.png")
    for name in names:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name
    assert sorted(os.listdir(tmp_path / "run")) == sorted(os.listdir(tmp_path / "other"))


def test_all_folders_of_images_are_looked_into(tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    where = ("--data", "folder:images", "--batch-size", "4", "--out", "run")
    assert "9 grey images" in as_on_windows(tmp_path, "minigan.train", *SHORT, *where)
    assert "samples of" in as_on_windows(tmp_path, "minigan.sample", "run")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--out", "my runs\\a"], '--out "my runs\\a"'),
        (["C:\\R&D\\run"], '"C:\\R&D\\run"'),
        (["a b&c"], '"a b&c"'),
        (["runs/a"], "runs/a"),
        (["it's"], "it's"),
    ],
)
def test_its_command_prompt_knows_double_quotes_only(words, line, monkeypatch):
    monkeypatch.setattr(cli, "ON_WINDOWS", True)
    assert cli.shell_line(words) == line
