"""The command for GPU machines runs through, on the stand-in and with small systems."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import equivalence, gpu_check, layers, step
from minigan.backend import GPUUnavailable
from minigan.gradcheck.cases import builders


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Short measurements; no processes of their own, in which there would be no stand-in."""
    monkeypatch.setattr(layers, "ENOUGH", 1e-4)
    monkeypatch.setattr(layers, "SETTLE", 0.0)
    monkeypatch.setattr(layers, "LARGE", 1 << 16)
    monkeypatch.setattr("benchmarks.cpu_vs_gpu.BLOCK", 1e-4)
    monkeypatch.setattr(equivalence, "in_tf32", lambda _: [])
    monkeypatch.setattr(gpu_check, "all_problems", lambda gpu: builders(gpu)["batchnorm, vectors"]())
    return ["--quick", "--out", str(tmp_path / "check")]


def write_rounds(argv: list[str]) -> int:
    """What benchmarks.step would have written."""
    path = Path(argv[argv.index("--json") + 1])
    side = {"minigan CuPy": {"seconds": [0.002]}, "PyTorch eager": {"seconds": [0.004]}}
    result = {"recipe": "mlp-mnist", "constants": {"batch_size": 64}, "sides": side}
    path.write_text(json.dumps({"precision": "float32", "results": [result]}))
    return 0


@pytest.mark.usefixtures("strict")
def test_it_ends_with_a_table_in_which_all_is_well(small, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(step, "main", write_rounds)
    assert gpu_check.main(small) == 0
    shown = capsys.readouterr().out
    lines = shown[shown.rindex("stand-in for a GPU, CuPy") :].strip().splitlines()
    assert all(line.startswith("ok ") for line in lines[1:])
    for words in ("gradcheck", "CuPy float32, worst operation", "0.50 times PyTorch eager", "of the limit",
                  "GPU against CPU", "training of 5 rounds"):  # fmt: skip
        assert any(words in line for line in lines), words
    summary = json.loads((tmp_path / "check" / "summary.json").read_text())
    assert [result["ok"] for result in summary["results"]] == [True] * len(lines[1:])
    assert (tmp_path / "check" / "cpu-vs-gpu.png").exists()


@pytest.mark.usefixtures("strict")
def test_a_difference_between_the_processors_is_a_failure(small, monkeypatch, capsys) -> None:
    real = equivalence.results_of

    def wrong(task, side):
        return [y * (1 + 1e-4 * (side.name == "CuPy float32")) for y in real(task, side)]

    monkeypatch.setattr(equivalence, "results_of", wrong)
    assert gpu_check.main([*small, "--only", "equivalence"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED  CuPy float32, worst operation" in shown
    assert "ok      CuPy float64, worst operation" in shown


@pytest.mark.usefixtures("strict")
def test_a_stage_that_breaks_does_not_stop_the_others(small, monkeypatch, capsys) -> None:
    def broken(_: list[str]) -> int:
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setattr(step, "main", broken)
    assert gpu_check.main([*small, "--only", "step", "training"]) == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-2].startswith("FAILED  step")
    assert lines[-2].endswith("RuntimeError: no such kernel")
    assert lines[-1].startswith("ok      training of 5 rounds")


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(GPUUnavailable, match="pip install cupy"):
        gpu_check.main(["--quick"])
