"""Where a GPU begins to pay: measured on the stand-in, crossings, the picture. No test asserts a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import cpu_vs_gpu, gpu_check, step
from benchmarks.cpu_vs_gpu import compare, crossover, described, draw, played
from benchmarks.rounds import chosen, widened
from minigan.errors import UsageError
from minigan.recipes import DCGAN64, MLPMnist
from tests import strict_graph

SMALL = ["mlp-mnist", "--set", "latent=2", "--widths", "0.02", "--batches", "2", "4", "--blocks", "2", "--threads", "1"]


@pytest.mark.parametrize(
    ("batches", "speed_ups", "expected"),
    [
        ([1, 4], [0.5, 2.0], 2.0),
        ([4, 8, 16], [0.25, 1.0, 3.0], 8.0),
        ([1, 2, 4, 8], [0.5, 2.0, 0.5, 2.0], 2**0.5),
        ([1, 2], [2.0, 3.0], None),
        ([1, 2], [0.1, 0.2], None),
        ([1], [0.1], None),
    ],
)
def test_the_crossover_lies_on_a_straight_line_between_logarithms(batches, speed_ups, expected) -> None:
    found = crossover(batches, speed_ups)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_both_processors_play_in_turns(strict, monkeypatch) -> None:
    monkeypatch.setattr(cpu_vs_gpu, "BLOCK", 0.0)
    (recipe,) = chosen(["mlp-mnist"], ["hidden_g=3,3", "hidden_d=3,3"], 3)
    found = compare(recipe, strict, 1, 3)
    assert {name: len(times) for name, times in found["seconds"].items()} == {"cpu": 3, "gpu": 3}
    assert found["speed_up"] == pytest.approx(found["cpu"] / found["gpu"])
    assert found["gpu_rounds"] == "rounds are captured"


def test_where_a_capture_is_refused_it_is_told(strict, monkeypatch) -> None:
    monkeypatch.setattr(cpu_vs_gpu, "BLOCK", 0.0)
    monkeypatch.setattr(strict_graph.Stream, "begin_capture", refuse)
    (recipe,) = chosen(["mlp-mnist"], ["hidden_g=3,3", "hidden_d=3,3"], 3)
    refused = {"width": 1.0, "batch": 3} | compare(recipe, strict, 1, 1)
    text = played([refused, refused | {"batch": 4, "gpu_rounds": "rounds are captured"}])
    assert text == (
        "On the GPU rounds go operation by operation, as the capture was refused: no (1 times, batch 3); "
        "rounds are captured (1 times, batch 4)."
    )


def refuse(*_: object) -> None:
    raise RuntimeError("no")


def test_a_width_scales_all_layers() -> None:
    assert widened(MLPMnist(hidden_g=(8, 16), hidden_d=(4, 1)), 0.5) == MLPMnist(hidden_g=(4, 8), hidden_d=(2, 1))
    assert widened(DCGAN64(), 2) == DCGAN64(width=128)


@pytest.mark.usefixtures("strict")
def test_the_command_leaves_a_picture_a_table_and_numbers(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(cpu_vs_gpu, "BLOCK", 0.0)
    plot, numbers = tmp_path / "p.png", tmp_path / "n.json"
    assert cpu_vs_gpu.main([*SMALL, "--plot", str(plot), "--json", str(numbers)]) == 0
    assert "0.02 times, batch 4" in capsys.readouterr().out
    assert [result["batch"] for result in json.loads(numbers.read_text())["results"]] == [2, 4]
    with Image.open(plot) as picture:
        assert picture.size == (780, 504)


def test_crossings_are_told_and_drawn(tmp_path) -> None:
    speed_ups = {0.5: [0.25, 0.5], 1.0: [0.5, 2.0], 2.0: [2.0, 4.0]}
    results = [
        {"width": width, "batch": batch, "cpu": speed_up, "gpu": 1.0, "speed_up": speed_up, "gpu_rounds": "all alike"}
        for width, values in speed_ups.items()
        for batch, speed_up in zip((16, 64), values, strict=True)
    ]
    text = described(results, {width: crossover([16, 64], values) for width, values in speed_ups.items()})
    assert "at 0.5 times the width not faster at all batch sizes measured" in text
    assert "at 1 times the width from batch 32 on" in text
    assert "at 2 times the width faster at all batch sizes measured" in text
    assert text.endswith("On the GPU all alike.")
    draw(results, DCGAN64(), tmp_path / "p.png")
    assert (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (cpu_vs_gpu, []),
        (step, ["--device", "gpu"]),
        (step, ["--device", "gpu:1"]),
        (step, ["--device", "auto"]),
        (gpu_check, []),
    ],
)
def test_without_a_gpu_each_command_says_so_in_one_line(command, words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(UsageError, match=r"no GPU: .*pip install 'cupy") as caught:
        command.main(words)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("words", [["cpu_vs_gpu"], ["step", "--device", "gpu"], ["gpu_check"]])
def test_the_exit_code_without_a_gpu_is_2(words, tmp_path) -> None:
    (tmp_path / "cupy.py").write_text("raise ImportError('not for this test')\n")
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{words[0]}", *words[1:]], cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("minigan: error: no GPU: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--blocks", "0"], ["--batches", "0"], ["--widths", "-1"]])
def test_values_that_cannot_be_measured_are_refused(words) -> None:
    with pytest.raises(UsageError, match=words[0]):
        cpu_vs_gpu.main(words)


@pytest.mark.parametrize("word", ["--batches", "--widths"])
def test_a_grid_needs_numbers_on_both_sides(word) -> None:
    with pytest.raises(UsageError, match="--batches and --widths take at least one number each"):
        cpu_vs_gpu.main([word])
