"""The command for GPU machines runs through, on the stand-in and with small systems."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import equivalence, gpu_check, layers, step, timing
from minigan.backend import CPU, select_device
from minigan.errors import UserError
from minigan.gradcheck.cases import builders


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Short measurements; no processes of their own, in which there would be no stand-in."""

    def in_this_process(name: str, options: gpu_check.Options, _seconds: float) -> list[gpu_check.Result]:
        return gpu_check.run_stage(name, select_device("gpu"), options)

    monkeypatch.setattr(gpu_check, "in_own_process", in_this_process)
    monkeypatch.setattr(timing, "ENOUGH", 1e-4)
    monkeypatch.setattr(timing, "IN_A_GRAPH", 1)
    monkeypatch.setattr(layers, "SETTLE", 0.0)
    monkeypatch.setattr(layers, "COPIED", (1 << 16,))
    monkeypatch.setattr(layers, "SIDES", (64,))
    monkeypatch.setattr("benchmarks.cpu_vs_gpu.BLOCK", 1e-4)
    monkeypatch.setattr(equivalence, "in_tf32", lambda _: [])
    monkeypatch.setattr(gpu_check, "all_problems", lambda gpu: builders(gpu)["batchnorm, vectors"]())
    return ["--quick", "--out", str(tmp_path / "check")]


def write_rounds(argv: list[str]) -> int:
    """What benchmarks.step would have written."""
    path = Path(argv[argv.index("--json") + 1])
    path.write_text(json.dumps({"precision": "float32", "results": [measured_rounds("mlp-mnist", 64, captured=0.002)]}))
    return 0


def measured_rounds(recipe: str, batch: int, **times: float) -> dict:
    """Of one recipe; PyTorch took 4 ms, and its compiled side is left out."""
    sides = {f"minigan {name}": {"seconds": [seconds]} for name, seconds in times.items()}
    left_out = {"PyTorch compiled": ["failed", "no compiler"]}
    if "captured" not in times:
        left_out["minigan captured"] = ["not captured", "the capture was refused"]
    sides["PyTorch eager"] = {"seconds": [0.004]}
    return {"recipe": recipe, "constants": {"batch_size": batch}, "sides": sides, "left_out": left_out}


@pytest.mark.usefixtures("strict")
def test_it_ends_with_a_table_in_which_all_is_well(small, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(step, "main", write_rounds)
    assert gpu_check.main(small) == 0
    shown = capsys.readouterr().out
    lines = shown[shown.rindex("stand-in for a GPU, CuPy") :].strip().splitlines()
    assert lines[1].startswith("cuBLAS: 13.1.0")
    lines = lines[2:]
    assert all(line.startswith(("ok ", "absent  mlp-mnist, batch 64, float32: PyTorch compiled")) for line in lines)
    for words in ("gradcheck, plain", "gradcheck, fused", "CuPy float32, worst operation",
                  "fused float32, worst operation", "captured float32, worst weights",
                  "captured float32, worst repeat of 2", "captured 2, PyTorch eager 4", "of the limit; CuPy",
                  "GPU against CPU", "rounds are captured", "training of dcgan-64, 4 rounds",
                  "training of mlp-mnist, 5 rounds"):  # fmt: skip
        assert any(words in line for line in lines), words
    assert shown.count("rounds are captured: each is one launch of a graph") == 2  # told by the two runs
    summary = json.loads((tmp_path / "check" / "summary.json").read_text())
    assert [result["ok"] for result in summary["results"]] == [True] * len(lines)
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
    assert lines[-3].startswith("FAILED  step")
    assert lines[-3].endswith("RuntimeError: no such kernel")
    assert lines[-1].startswith("ok      training of mlp-mnist, 5 rounds")


@pytest.mark.usefixtures("strict")
def test_a_recipe_that_cannot_be_timed_does_not_stop_the_others(small, monkeypatch, capsys) -> None:
    def first_broken(argv: list[str]) -> int:
        if argv[0] == "mlp-2014":
            raise UserError("mlp-2014: the sides do not play the same game")
        return write_rounds(argv)

    monkeypatch.setattr(step, "main", first_broken)
    monkeypatch.setattr(gpu_check, "ROUNDS", {True: [["mlp-2014"], ["mlp-mnist"]]})
    assert gpu_check.main([*small, "--only", "step"]) == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-3].startswith("FAILED  round of mlp-2014")
    assert lines[-2].startswith("ok      ms a round of mlp-mnist, batch 64, float32")


def test_goals_are_reached_or_missed_and_neither_is_a_failure() -> None:
    for seconds, mark in [(0.0006, "reached"), (0.00061, "missed")]:
        result = measured_rounds("mlp-2014", 100, captured=seconds, fused=0.002)
        told = {line.what: line for line in gpu_check.rounds_told(result, "float32")}
        assert told["ms a round of mlp-2014, batch 100, float32"].value == (
            f"captured {seconds * 1e3:g}, fused 2, PyTorch eager 4"
        )
        goal = told["mlp-2014, batch 100, float32: at most 0.15 times PyTorch eager"]
        assert (goal.ok, goal.mark) == (True, mark)
        goal = told["mlp-2014, batch 100, float32: at most 0.6 times PyTorch compiled"]
        assert (goal.ok, goal.mark, goal.value) == (True, "unknown", "not measured")


def test_rounds_that_are_not_captured_are_a_failure_and_meet_no_goal() -> None:
    lines = list(gpu_check.rounds_told(measured_rounds("dcgan-64", 128, fused=0.0001), "float32"))
    assert [line.what for line in lines if not line.ok] == [
        "ms a round of dcgan-64, batch 128, float32", "dcgan-64, batch 128, float32: minigan captured",
    ]  # fmt: skip
    assert [line.mark for line in lines[-2:]] == ["unknown", "unknown"]


# Processes of their own ---------------------------------------------------------------------------------


def test_all_stages_together_end_within_ten_minutes() -> None:
    assert gpu_check.SECONDS.keys() == gpu_check.STAGES.keys()
    assert sum(gpu_check.SECONDS.values()) <= 580  # and some seconds to begin and to end


def test_time_that_a_stage_leaves_goes_to_those_after_it(monkeypatch) -> None:
    clock, given = iter([0.0, 0.0, 10.0, 205.0]), []
    monkeypatch.setattr(gpu_check.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(gpu_check, "in_own_process", lambda _name, _options, seconds: given.append(seconds) or [])
    monkeypatch.setattr(gpu_check, "SECONDS", {"tests": 100, "step": 100, "layers": 50})
    gpu_check.run_stages(["tests", "step", "layers"], gpu_check.Options())
    assert given == [100, 190, 45]


def play_dead(monkeypatch, script: str) -> None:
    """The process of a stage runs this script, with the path for its lines."""
    real = subprocess.Popen

    def other(command: list[str], **options: object) -> subprocess.Popen:
        path = Path(command[command.index("--out") + 1]) / f"lines-{command[command.index('--only') + 1]}.json"
        return real([sys.executable, "-c", script, str(path)], **options)

    monkeypatch.setattr(gpu_check.subprocess, "Popen", other)


ONE_LINE = 'import os, sys, time; open(sys.argv[1], \'w\').write(\'[{"what": "a", "value": "b", "ok": true}]\'); '


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (ONE_LINE, ["b"]),
        (ONE_LINE + "os.abort()", ["b", "its process ended with exit code -6"]),
        (ONE_LINE + "time.sleep(60)", ["b", "not done after 1 s"]),
        ("raise SystemExit(1)", ["its process ended with exit code 1"]),
    ],
)
def test_a_process_that_dies_or_hangs_leaves_its_lines_and_one_more(script, expected, tmp_path, monkeypatch) -> None:
    play_dead(monkeypatch, script)
    options = gpu_check.Options(out=tmp_path)
    gpu_check.kept("step", options).write_text("[]")  # of an earlier check
    results = gpu_check.in_own_process("step", options, 1.0)
    assert [result.value for result in results] == expected
    assert all(result.ok == (result.value == "b") for result in results)


def test_a_stage_in_a_process_of_its_own_is_that_stage(tmp_path, monkeypatch, capfd) -> None:
    """Here it finds no GPU; the check goes on."""
    (tmp_path / "cupy.py").write_text("raise ImportError('not for this test')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = gpu_check.Options(out=tmp_path, quick=True)
    assert gpu_check.in_own_process("gradients", options, 60.0) == [
        gpu_check.Result("gradients", "its process ended with exit code 2", ok=False)
    ]
    assert "no GPU: CuPy is not usable (not for this test)" in capfd.readouterr().err


STAND_IN = """
import sys
from minigan.cuda import cublas
from tests import strict_cublas, strict_cupy
sys.modules["cupy"], library = strict_cupy.MODULE, strict_cublas.Library()
cublas.load = lambda _: library
"""


@pytest.mark.emulated
def test_where_there_is_a_gpu_its_lines_come_back(tmp_path, monkeypatch) -> None:
    (tmp_path / "cupy.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (result,) = gpu_check.in_own_process("crossover", gpu_check.Options(out=tmp_path, quick=True), 60.0)
    assert (result.what, result.ok) == ("GPU against CPU", True)
    assert result.value.endswith("; rounds are captured")


def test_both_parts_of_the_tests_are_run_and_told(tmp_path, monkeypatch, capfd) -> None:
    (tmp_path / "setup.cfg").write_text(
        "[tool:pytest]\naddopts = -n 2\ntimeouts = 3\nfilterwarnings =\n  error\nmarkers =\n  gpu: needs one\n"
    )
    (tmp_path / "test_some.py").write_text(
        "import pytest, warnings\n@pytest.mark.gpu\ndef test_a(): warnings.warn('old')\ndef test_b(): assert False\n"
    )
    monkeypatch.setattr(
        gpu_check, "TESTS", {"first": [f"--rootdir={tmp_path}", str(tmp_path)], "second": [str(tmp_path / "nothing")]}
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # one process each, for the sake of time
    first, second = gpu_check.run_tests(CPU, gpu_check.Options())
    assert (first.what, first.ok) == ("first", True)
    assert first.value.startswith("1 passed")
    assert not second.ok
    assert "1 passed" in capfd.readouterr().out
