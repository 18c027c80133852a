"""``minigan.train --tf32``: CuPy's switch is set before its first product, and a CPU refuses."""

import os
from pathlib import Path

import pytest

from minigan import train
from minigan.errors import UsageError
from minigan.runs.checkpoint import read_newest
from minigan.runs.folder import RunFolder
from minigan.runs.gauge import Gauge

SMALL = ["mlp-mnist", "--steps", "3", "--batch-size", "4", "--hidden-g", "5", "--hidden-d", "5", "--latent", "3"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUPY_TF32", "0")  # and back after the test


@pytest.mark.parametrize(("more", "switch"), [([], "off"), (["--tf32"], "on")])
def test_a_run_on_a_gpu_multiplies_as_it_is_told(more, switch, strict):
    assert strict.name == "gpu:0"
    assert train.main([*SMALL, *more, "--device", "gpu", "--out", "run"]) == 0
    checkpoint, _ = read_newest(RunFolder(Path("run")).checkpoints)
    assert f"TF32 {switch}" in checkpoint.facts["blas"]
    assert os.environ["CUPY_TF32"] == "0"  # again


@pytest.mark.usefixtures("strict")
def test_a_resumed_run_goes_on_as_it_began_or_is_told_otherwise(capsys, monkeypatch):
    monkeypatch.setattr(Gauge, "_classes", lambda *_: None)  # what the stand-in takes most time for
    train.main([*SMALL, "--tf32", "--device", "gpu", "--out", "run"])
    assert train.main(["--resume", "--out", "run", "--steps", "5", "--device", "gpu"]) == 0
    assert "not bit for bit" not in capsys.readouterr().out
    assert train.main(["--resume", "--out", "run", "--steps", "7", "--device", "gpu", "--no-tf32"]) == 0
    assert "not bit for bit" in capsys.readouterr().out


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_cpu_does_not_multiply_so(device):
    with pytest.raises(UsageError, match=r"^--tf32 is for GPUs, as no CPU multiplies in TF32"):
        train.main([*SMALL, "--tf32", "--device", device, "--out", "run"])
    assert not RunFolder(Path("run")).holds_a_run


def test_float64_and_tf32_exclude_each_other():
    with pytest.raises(
        UsageError, match=r"^--tf32 is about products of float32: leave --precision float64 or --tf32 out"
    ):
        train.main([*SMALL, "--tf32", "--precision", "float64"])
