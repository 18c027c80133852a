"""Compiled code that was kept on disk and is damaged there: it is compiled again."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="no numba, the compiler of the fast kernels' loops")

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


@pytest.fixture
def play(tmp_path):
    """Run the source in a process of its own; tells whether it found what it had compiled before."""
    path = tmp_path / "loop.py"
    path.write_text(SOURCE)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, str(path)]
    return lambda: subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


DAMAGES = {"empty": slice(0), "cut off": slice(20), "turned around": slice(None, None, -1)}


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_compiled_again(play, tmp_path, kind, damage):
    assert [play(), play()] == ["compiled", "kept"]
    (file,) = tmp_path.glob(f"kept/*/*.{kind}")
    file.write_bytes(file.read_bytes()[damage])
    assert [play(), play()] == ["compiled", "kept"]
