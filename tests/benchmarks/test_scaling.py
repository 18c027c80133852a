"""How a round grows: the points, the fit, the picture. No test asserts a time."""

import json

import pytest
from PIL import Image

from benchmarks import scaling
from benchmarks.scaling import Options, exponent, points
from minigan.errors import UsageError


def test_the_exponent_of_a_power_is_found() -> None:
    assert exponent([1, 2, 4], [3.0, 24.0, 192.0]) == pytest.approx(3)
    assert exponent([1, 10], [5.0, 5.0]) == pytest.approx(0)


def test_one_constant_varies_at_a_time() -> None:
    found = points(Options(batches=(2, 4), widths=(0.5, 1.0), sizes=(32, 48)))
    assert [(axis, value) for axis, value, _ in found] == [
        ("batch", 2), ("batch", 4), ("width", 0.5), ("width", 1.0), ("size", 32), ("size", 48),
    ]  # fmt: skip
    constants = [(recipe.batch_size, recipe.width, recipe.size) for *_, recipe in found]
    assert constants == [
        (2, 64, (64, 64)), (4, 64, (64, 64)), (64, 32, (64, 64)), (64, 64, (64, 64)), (64, 64, (32, 32)),
        (64, 64, (48, 48)),
    ]  # fmt: skip


def test_a_recipe_of_one_size_has_no_third_curve() -> None:
    assert {axis for axis, *_ in points(Options(recipe="mlp-mnist"))} == {"batch", "width"}


def test_an_option_without_numbers_leaves_its_curve_out(monkeypatch, tmp_path, capsys) -> None:
    found = {"median": 1e-3, "lower": 1e-3, "upper": 1e-3, "memory": 2**20, "counted": 2**20}
    monkeypatch.setattr(scaling, "measure", lambda *_: found)
    words = ["--batches", "2", "4", "--widths", "--sizes", "--plot", str(tmp_path / "p.png")]
    assert scaling.main(words) == 0
    shown = capsys.readouterr().out
    assert "| batch size 4" in shown
    assert "| width" not in shown
    assert "| height" not in shown
    assert (tmp_path / "p.png").exists()


def test_that_is_said_in_the_help(capsys) -> None:
    with pytest.raises(SystemExit):
        scaling.main(["--help"])
    assert "leaves its curve out" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("words", [["dcgan-64", "--sizes"], ["mlp-mnist"]])
def test_where_nothing_varies_there_is_nothing_to_measure(words) -> None:
    with pytest.raises(UsageError, match="nothing varies: give numbers to --batches or --widths"):
        scaling.main([*words, "--batches", "--widths"])


def test_the_command_leaves_a_picture_a_table_and_numbers(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(scaling, "BLOCK", 0.0)
    words = ["dcgan-64", "--set", "width=2", "latent=2", "batch_size=2", "size=16,16", "--batches", "2", "8"]
    words += ["--widths", "1", "2", "--sizes", "16", "64", "--blocks", "2", "--threads", "1", "--kernels", "plain"]
    plot, numbers = tmp_path / "p.png", tmp_path / "n.json"
    assert scaling.main([*words, "--plot", str(plot), "--json", str(numbers)]) == 0
    printed = capsys.readouterr().out
    document = json.loads(numbers.read_text())
    assert len(document["results"]) == 6
    assert all(result["memory"] > 0 and result["count"] == 2 for result in document["results"])
    assert document["exponents"].keys() == {"batch", "width", "size"}
    assert "| height and width of the images 64 |" in printed
    with Image.open(plot) as picture:
        assert picture.size == (1296, 720)


def test_curves_are_drawn_with_their_lines(tmp_path) -> None:
    results = [
        {"axis": axis, "value": value, "median": 1e-3 * value**power, "memory": 2**20 * value}
        for axis, power in (("batch", 1), ("width", 2))
        for value in (1, 2, 4)
    ]
    assert scaling.curve(results, "width", "time") == ([1, 2, 4], pytest.approx([1, 4, 16]))
    scaling.draw(results, "dcgan-64", tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size == (864, 720)


@pytest.mark.parametrize("words", [["--batches", "4"], ["--sizes", "0", "2"], ["--sizes", "50", "64"]])
def test_points_that_make_no_line_are_refused(words) -> None:
    with pytest.raises(UsageError, match=r"two points|--sizes|multiples of 16"):
        scaling.main(words)
