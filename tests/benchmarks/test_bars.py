"""The picture of times side by side: what is drawn, not how it looks."""

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.bars import draw, relative

RESULTS = [
    {"recipe": "x", "sides": {"plain": {"seconds": [8.0, 6.0, 7.0]}, "torch": {"seconds": [2.0, 1.0, 2.0]}}},
    {"recipe": "y", "sides": {"torch": {"seconds": [4.0]}}},
]


def test_times_are_in_units_of_the_last_side_s_median() -> None:
    (x,) = relative(RESULTS, "plain", "torch").values()
    assert (x.median, x.lower, x.upper) == (3.5, 3.25, 3.75)
    assert [side.median for side in relative(RESULTS, "torch", "torch").values()] == [1.0, 1.0]


def test_a_side_that_is_missing_has_no_bar() -> None:
    assert list(relative(RESULTS, "plain", "torch")) == [0]


def test_a_recipe_without_the_last_side_is_in_no_other_unit() -> None:
    assert list(relative(RESULTS, "torch", "plain")) == [0]


@pytest.mark.parametrize("results", [RESULTS, RESULTS[:1]], ids=["two", "one"])
def test_the_picture_has_room_for_every_recipe(tmp_path: Path, results) -> None:
    draw(results, ["plain", "torch"], tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.height > 100 * len(results)
        assert len(set(picture.convert("L").tobytes())) > 10
