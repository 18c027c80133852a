"""Training under a real mpiexec: equality, signals, a killed process, and errors that are shown once."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigan.errors import UserError
from minigan.runs.checkpoint import checkpoint_files, read_newest
from minigan.runs.folder import RunFolder
from minigan.runs.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[2]
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
SMALL = [
    "--hidden-g", "8", "--hidden-d", "8", "--latent", "3", "--batch-size", "8", "--device", "cpu",
    "--kernels", "plain", "--log-every", "1",
]  # fmt: skip
# Low rates, with which errors of rounding do not grow from step to step.
EXACT = [*SMALL, "--precision", "float64", "--snapshot-every", "1000000", "--lr-g", "1e-5", "--lr-d", "1e-5"]
FOREVER = 10**7
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed"),
    pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec"),
]


def train(folder, *arguments, processes=2):
    """What to start."""
    launcher = [] if processes == 1 else [str(MPIEXEC), "-n", str(processes)]
    return [*launcher, sys.executable, "-m", "minigan.train", *map(str, arguments), "--out", str(folder)]


def run(*command):
    """Run to the end: (exit code, lines of output, lines of error)."""
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def start(folder, *arguments, saved=False):
    """Start two processes in a process group of their own, and wait until they have measured, or saved, something."""
    process = subprocess.Popen(
        train(folder, *arguments), env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    rows_before = rows(folder)
    for _ in range(1000):
        if rows(folder) > rows_before + 2 and (not saved or checkpoint_files(folder / "checkpoints")):
            return process
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("training has not begun")


def rows(folder):
    metrics = folder / "metrics.csv"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def state(folder):
    checkpoint, notes = read_newest(folder / "checkpoints")
    assert notes == []
    return checkpoint


def rank_of(pid):
    """The rank of a process of this test's, None for any other."""
    try:
        variables = (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((int(v.partition(b"=")[2]) for v in variables if v.startswith(b"PMI_RANK=")), None)


def pid_of_rank(process, rank):
    """The process with a rank among the descendants of mpiexec."""
    family = {process.pid}
    for _ in range(4):  # mpiexec, its proxy, the processes
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(entry.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent in family:
                family.add(int(entry.parent.name))
    return next(pid for pid in family if rank_of(pid) == rank)


def test_two_processes_make_the_run_of_one_also_through_ctrl_c_and_resume(tmp_path):
    folder, alone = tmp_path / "two", tmp_path / "one"
    process = start(folder, *EXACT, "--steps", FOREVER)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    stopped_at = state(folder).facts["step"]
    assert out.count(f"stopped at step {stopped_at}; go on with: mpiexec -n 2 python -m minigan.train --resume") == 1
    assert len(checkpoint_files(folder / "checkpoints")) == 1

    goal = stopped_at + 10
    code, out, err = run(*train(folder, "--resume", "--device", "cpu", "--steps", goal))
    assert (code, err) == (0, [])
    assert "in 2 processes" in out[0]
    assert len(out) == len(set(out))  # each line once
    assert run(*train(alone, *EXACT, "--steps", goal, processes=1))[0] == 0
    found, expected = state(folder), state(alone)
    for name, tensor in expected.tensors.items():
        assert abs(found.tensors[name] - tensor).max() <= 1e-12 * abs(tensor).max(), name
    for row, expected_row in zip(*(read_metrics(run / "metrics.csv") for run in (folder, alone)), strict=True):
        assert row == pytest.approx(expected_row, rel=1e-8)  # nine digits are written
    assert (folder / "config.toml").read_bytes() == (alone / "config.toml").read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in alone.iterdir()}
    assert found.facts["blas"].endswith(", 2 processes")


def test_a_killed_process_ends_the_run_and_leaves_a_checkpoint_and_a_free_folder(tmp_path):
    process = start(tmp_path, *SMALL, "--steps", FOREVER, "--checkpoint-every", 5, saved=True)
    os.kill(pid_of_rank(process, 1), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode not in (0, None), err
    assert state(tmp_path).facts["step"] > 0
    folder = RunFolder(tmp_path)
    open_soon(folder)
    folder.close()


def open_soon(folder):
    """mpiexec may be gone a moment before the processes that it has killed."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return folder.open()
        except UserError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_what_is_wrong_in_all_processes_is_said_once(tmp_path):
    code, out, err = run(*train(tmp_path / "run", *SMALL, "--steps", 0))
    assert (code, out, err) == (2, [], ["minigan: error: --steps 0 is out of range: the smallest is 1"])
    assert not (tmp_path / "run").exists()


FAILING = """
import os, sys
from minigan import cli, train
from minigan.errors import DataError
from minigan.parallel import mpi
from minigan.runs import rounds
mpi.PATIENCE = 0.3
play, played = rounds.play_round, []
def fails(*arguments):
    played.append(1)
    if len(played) == 3 and os.environ["PMI_RANK"] == "1":
        raise DataError("an image is gone")
    return play(*arguments)
rounds.play_round = fails
sys.exit(cli.run(train.main))
"""


def test_what_is_wrong_in_one_process_ends_all(tmp_path):
    folder = tmp_path / "run"
    code, _, err = run(MPIEXEC, "-n", "2", sys.executable, "-c", FAILING, *SMALL, "--out", str(folder))
    assert code != 0
    assert [line for line in err if "minigan" in line] == [
        "minigan: error: an image is gone; no checkpoint was made yet"
    ]
