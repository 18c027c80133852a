"""The README's example runs as it stands and shows what it says."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_a_tiny_difference(capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert 0 < float(capsys.readouterr().out) < 1e-9


def test_it_names_every_recipe_and_command() -> None:
    from minigan.__main__ import COMMANDS
    from minigan.recipes import RECIPES

    assert all(f"`{name}`" in README for name in RECIPES)
    assert all(f"minigan.{name}" in README for name in COMMANDS)
