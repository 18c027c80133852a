"""Compiled code that was kept on disk and is damaged there: it is compiled again."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="no numba, the compiler of the fast kernels' loops")

from minigan.kernels import jit

SOURCE = """
import numpy as np
from minigan.kernels.jit import jit

@jit(error_model="numpy")
def total(x):
    sum = 0.0
    for number in x:
        sum += number
    return sum

assert total(np.arange(5.0)) == 10
print(total.stats.cache_hits and "kept" or "compiled")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The source, and what it is compiled into."""
    folder = tmp_path_factory.mktemp("loop")
    (folder / "loop.py").write_text(SOURCE)
    assert started(folder / "loop.py", folder / "kept") == "compiled"
    return folder


@pytest.fixture
def play(folder, tmp_path):
    """Run the source in a process of its own, with its own copy of that; tells whether it found it."""
    shutil.copytree(folder / "kept", tmp_path / "kept")
    return partial(started, folder / "loop.py", tmp_path / "kept")


def started(path, kept, **others):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(kept), "PYTHONPATH": str(Path(jit.__file__).parents[2])} | others
    environment.pop("NUMBA_DISABLE_JIT", None)
    done = subprocess.run([sys.executable, str(path)], env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize(("kind", "left"), [("nbi", 0), ("nbi", 20), ("nbc", 20)])
def test_files_cut_off_are_compiled_again(play, tmp_path, kind, left):
    (file,) = tmp_path.glob(f"kept/*/*.{kind}")
    file.write_bytes(file.read_bytes()[:left])
    assert [play(), play()] == ["compiled", "kept"]


def test_what_another_version_of_any_kernel_was_compiled_into_is_compiled_again(play, tmp_path):
    """Functions of other files may be a part of it, at which numba does not look."""
    assert play() == "kept"
    copy = tmp_path / "package" / "minigan"
    shutil.copytree(Path(jit.__file__).parents[1], copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert play(PYTHONPATH=str(copy.parent)) == "kept"
    with (copy / "kernels" / "awake.py").open("a") as file:
        file.write("# another\n")
    assert [play(PYTHONPATH=str(copy.parent)) for _ in range(2)] == ["compiled", "kept"]
