"""Recipes of one's own: known by name after `register`, and to every command after --with."""

import re
import sys
from dataclasses import dataclass
from typing import ClassVar
from unittest.mock import patch

import pytest

from minigan import __main__ as command
from minigan import cli
from minigan.errors import UsageError
from minigan.recipes import RECIPES, MLPMnist, Recipe, recipe_class, register
from minigan.runs.config import parse_command, read_run_config, write_config
from minigan.runs.folder import RunFolder
from minigan.runs.options import RunOptions
from minigan.runs.saved import load_run
from minigan.runs.trainer import Trainer

MINE = """
from dataclasses import dataclass
from typing import ClassVar
from minigan.recipes import MLPMnist, register

@register
@dataclass(frozen=True)
class Mine(MLPMnist):
    \"\"\"One of my own.\"\"\"

    name: ClassVar[str] = "mine"
    own: float = 0.5
    \"\"\"a constant of its own\"\"\"
"""


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(cli, "FILES", [])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with patch.dict(RECIPES):
        yield


def test_a_registered_recipe_is_found_by_its_name():
    @register
    @dataclass(frozen=True)
    class Mine(MLPMnist):
        name: ClassVar[str] = "mine"

    assert recipe_class("mine") is Mine
    assert register(Mine) is Mine  # a file may be run twice


def test_constants_may_be_of_other_kinds_than_those_of_ours():
    @dataclass(frozen=True)
    class Mine(MLPMnist):
        name: ClassVar[str] = "mine"
        limits: ClassVar[dict[str, tuple[float, float]]] = MLPMnist.limits | {"shares": (0, 1)}
        shares: tuple[float, ...] = (0.5, 1.0)
        temperatures: tuple[float, ...] = (-0.5, 0.0)
        optional: float | None = None
        words: tuple[str, ...] = ("a", "b")

    assert Mine().shares == (0.5, 1.0)
    with pytest.raises(UsageError, match=r"--shares 1\.5 is out of range: allowed are 0 to 1"):
        Mine(shares=(1.5,))
    with pytest.raises(UsageError, match=r"--hidden-g 0 is out of range"):
        Mine(hidden_g=(0,))


def test_what_is_missing_is_told():
    @dataclass(frozen=True)
    class WithoutName(MLPMnist):
        pass

    @dataclass(frozen=True)
    class WithoutAnything(Recipe):
        pass

    class NoDataclass(MLPMnist):
        name: ClassVar[str] = "mine"

    @dataclass(frozen=True)
    class Taken(MLPMnist):
        name: ClassVar[str] = "mlp-2014"

    for kind, words in ((WithoutName, "a name of its own"), (WithoutAnything, "lacks name, source, steps"),
                        (NoDataclass, "no dataclass")):  # fmt: skip
        with pytest.raises(TypeError, match=words):
            register(kind)
    with pytest.raises(ValueError, match="'mlp-2014' already, MLP2014"):
        register(Taken)


def test_commands_know_it_after_with(tmp_path, capsys):
    file, out = tmp_path / "mine.py", tmp_path / "run"
    file.write_text(MINE)
    first = ["--with", str(file)]
    assert command.dispatch([*first, "train", "mine", "--steps", "3", "--own", "0.25", "--out", str(out)]) == 0
    assert load_run(out).recipe.own == 0.25
    assert cli.program("train") == f"minigan --with {file} train"  # as a stopped run tells how to go on
    shown = re.sub("<[^>]*>", "", (out / "report.html").read_text())
    assert f"minigan --with {file} train mine" in shown
    assert command.dispatch([*first, "train", "--resume", "--steps", "5", "--out", str(out)]) == 0
    assert command.dispatch([*first, "sample", str(out), "--count", "4"]) == 0
    shown = capsys.readouterr().out
    assert "4 samples of mine, step 5" in shown
    assert "has changed" not in shown


def test_a_recipe_that_was_changed_between_two_parts_of_a_run_is_told(tmp_path, capsys):
    file, out = tmp_path / "mine.py", tmp_path / "run"
    file.write_text(MINE)
    words = ["--with", str(file), "train"]
    assert command.dispatch([*words, "mine", "--steps", "3", "--out", str(out)]) == 0
    file.write_text(f"{MINE}\n# the losses are others now\n")
    for steps, times in (("4", 1), ("5", 0)):  # told once
        capsys.readouterr()
        assert command.dispatch([*words, "--resume", "--steps", steps, "--out", str(out)]) == 0
        told = "note: the file of recipe mine has changed: the run goes on by what stands there now"
        assert capsys.readouterr().out.count(told) == times


def test_a_change_is_told_whoever_reads_the_run_and_in_files_beside_the_recipe_too(tmp_path, capsys, monkeypatch):
    beside, file, out = tmp_path / "beside_mine.py", tmp_path / "mine.py", tmp_path / "run"
    beside.write_text("NUMBER = 0.5")
    file.write_text(f"import beside_mine\n{MINE}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "beside_mine", raising=False)
    words = ["--with", str(file)]
    assert command.dispatch([*words, "train", "mine", "--steps", "3", "--out", str(out)]) == 0
    capsys.readouterr()
    assert command.dispatch([*words, "sample", str(out)]) == 0
    told = "the file of recipe mine has changed since: what it says now is used"
    assert told not in capsys.readouterr().out
    beside.write_text("NUMBER = -0.5")
    assert command.dispatch([*words, "sample", str(out)]) == 0
    assert told in capsys.readouterr().out
    assert load_run(out).notes == [told]


def test_without_it_the_way_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"unknown recipe 'nothing like it'; .* `minigan --with FILE.py COMMAND"):
        recipe_class("nothing like it")
    with pytest.raises(UsageError, match="did you mean 'mlp-2014'") as found:
        recipe_class("mlp-2015")
    assert "--with" not in str(found.value)
    for words, text in (
        (["--with"], "takes a Python file"),
        (["--with", str(tmp_path / "no.py"), "info"], "no such file"),
    ):
        with pytest.raises(UsageError, match=text):
            command.dispatch(words)


def test_what_goes_wrong_in_the_file_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "bad.py").write_text("import nowhere_at_all\n")
    monkeypatch.setattr(sys, "argv", ["minigan", "--with", str(tmp_path / "bad.py"), "info"])
    assert command.main() == 2
    shown = capsys.readouterr().err
    assert "ModuleNotFoundError in bad.py, line 1: No module named 'nowhere_at_all'" in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("def game(self): return None\n    game = Recipe.game", "the recipe broken has no method game()"),
        ("def game(self): return games.HINGE", "game() must return a Game or an OwnRound, got GANLoss"),
        (
            "def optimisers(self, _): return optim.SGD(0.1)",
            "must return two update rules, of G and of D, got SGD(",
        ),
        ("def generator(self, _): return nn.Dense(5)", "samples of shape (5,), but the images that D sees are (784,)"),
        (
            "def game(self): return games.Game(games.HINGE, order='simultaneous')\n"
            "    def discriminator(self, _): return nn.Dense(2)",
            "D gives (2,) for a sample, but in a simultaneous round",
        ),
        ("def game(self): return games.Gam()", "error in broken.py, line 10: AttributeError: module"),
        ("raise SystemExit(3)", "SystemExit in broken.py, line 10: 3"),
    ],
)
def test_a_recipe_whose_parts_do_not_fit_is_one_line(methods, words, tmp_path, capsys, monkeypatch):
    file = tmp_path / "broken.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom minigan import games, nn, optim\n"
        "from minigan.recipes import MLPMnist, Recipe, register\n@register\n@dataclass(frozen=True)\n"
        f"class Broken(MLPMnist):\n    name: ClassVar[str] = 'broken'\n\n    {methods}\n"
    )
    words_of_command = ["minigan", "--with", str(file), "train", "broken", "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", words_of_command)
    assert command.main() in (1, 2)
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1


WHOLE = """
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import beside
from minigan.recipes import Recipe, register

@register
@dataclass(frozen=True)
class Whole(Recipe):
    \"\"\"Not derived from another one.\"\"\"

    name: ClassVar[str] = "whole"
    source: ClassVar[str] = "here"
    steps: ClassVar[int] = 3

    batch_size: int = 4
    \"\"\"images in a batch\"\"\"
    latent: int = 2
    \"\"\"numbers in z\"\"\"
    own: float = beside.VALUE
    \"\"\"a constant of its own\"\"\"
"""


def test_help_and_mistakes_are_those_of_any_recipe(tmp_path, capsys):
    """Also where annotations are texts, and with a module that lies beside the file."""
    (tmp_path / "beside.py").write_text("VALUE = 0.5\n")
    (tmp_path / "whole.py").write_text(WHOLE)
    first = ["--with", str(tmp_path / "whole.py"), "train", "whole"]
    with pytest.raises(SystemExit) as left:
        command.dispatch([*first, "--help"])
    assert not left.value.code
    assert "a constant of its own" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--owm"):
        command.dispatch([*first, "--owm", "1"])


def test_two_files_with_one_name_are_refused(tmp_path):
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(MINE)
    with pytest.raises(UsageError, match="there is a recipe 'mine' already"):
        command.dispatch(["--with", str(tmp_path / "one.py"), "--with", str(tmp_path / "two.py"), "train", "--list"])


def test_a_recipe_that_is_edited_while_its_run_goes_on_is_told_as_well(tmp_path, capsys, monkeypatch):
    file, out = tmp_path / "mine.py", tmp_path / "run"
    file.write_text(MINE)
    words, train_on = ["--with", str(file), "train"], Trainer.run

    def edited(trainer):
        file.write_text(f"{MINE}\n# for the next run\n")
        return train_on(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", edited)
        assert command.dispatch([*words, "mine", "--steps", "3", "--out", str(out)]) == 0
    capsys.readouterr()
    assert command.dispatch([*words, "--resume", "--steps", "4", "--out", str(out)]) == 0
    assert "the file of recipe mine has changed" in capsys.readouterr().out


@pytest.fixture
def with_options():
    @register
    @dataclass(frozen=True)
    class Mine(MLPMnist):
        """Of constants that are hard to keep."""

        name: ClassVar[str] = "mine"
        optional: float | None = None
        wanted: float | None = 0.5

    return Mine


def test_a_constant_that_is_nothing_comes_back_as_nothing(with_options, tmp_path):
    folder = RunFolder(tmp_path)
    for optional in (None, 0.25):
        write_config(folder, RunOptions(), with_options(optional=optional))
        assert read_run_config(folder.config)[1] == with_options(optional=optional)


def test_nothing_in_the_place_of_something_cannot_be_kept(with_options):
    assert with_options.name == parse_command(["mine", "--optional", "None"])[1].name
    with pytest.raises(UsageError, match=r"--wanted None cannot be kept in a run's config\.toml"):
        parse_command(["mine", "--wanted", "None"])


def test_a_constant_with_the_name_of_an_option_is_refused_in_one_line():
    @register
    @dataclass(frozen=True)
    class Mine(MLPMnist):
        name: ClassVar[str] = "mine"
        seed: int = 3

    with pytest.raises(UsageError, match="the recipe mine has a constant 'seed', which is an option of every run"):
        parse_command(["mine"])
