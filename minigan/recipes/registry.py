"""The recipes that commands know, by name: those that come with the package, and your own."""

import dataclasses
import hashlib
import sys
from pathlib import Path
from typing import Any, TypeVar

from minigan.errors import UsageError, did_you_mean
from minigan.recipes.recipe import Recipe

RECIPES: dict[str, type[Recipe]] = {}
OWN = "; one of your own is known to `minigan --with FILE.py COMMAND ...`"

Kind = TypeVar("Kind", bound=type[Recipe])


def register(kind: Kind) -> Kind:
    """Make a recipe known under its name; a decorator for the class, a frozen dataclass.

    A run's config.toml names its recipe, so a class derived from another recipe needs a name of its own. Raises
    TypeError where something is missing, ValueError where another class has that name.
    """
    lacks = [name for name in ("name", "source", "steps") if not hasattr(kind, name)]
    if "name" not in vars(kind) or lacks:
        raise TypeError(
            f"recipe {kind.__name__} lacks {', '.join(lacks or ['a name of its own'])}: set it in the class"
        )
    if not dataclasses.is_dataclass(kind) or "__dataclass_params__" not in vars(kind):
        raise TypeError(
            f"recipe {kind.__name__} is no dataclass: put @dataclass(frozen=True) above it, under @register"
        )
    other = RECIPES.get(kind.name)
    if other is not None and (other.__module__, other.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"there is a recipe {kind.name!r} already, {other.__qualname__}")
    RECIPES[kind.name] = kind
    return kind


def recipe_class(name: Any) -> type[Recipe]:
    """The recipe of this name. Raises UsageError if there is none."""
    if not isinstance(name, str) or name not in RECIPES:
        hint = did_you_mean(str(name), RECIPES)
        raise UsageError(f"unknown recipe {name!r}{hint}; there are {', '.join(RECIPES)}{'' if hint else OWN}")
    return RECIPES[name]


def file_checksum(recipe: Recipe) -> str:
    """SHA-256 of the file in which a recipe of your own stands, and of all beside and below it that have been imported;
    empty for those of the package, which has a version."""
    module = type(recipe).__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    if module.startswith("minigan.") or file is None:
        return ""
    folder = Path(file).resolve().parent
    found = {Path(path).resolve() for name, path in _imported() if not name.startswith("minigan")}
    beside = [path for path in found if folder in path.parents and "site-packages" not in path.parts]
    digest = hashlib.sha256()
    try:
        for path in sorted({Path(file).resolve(), *beside}):
            digest.update(path.read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()


def _imported() -> list[tuple[str, str]]:
    """(name, file) of each module that has one."""
    files = [(name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())]
    return [(name, file) for name, file in files if isinstance(file, str)]
