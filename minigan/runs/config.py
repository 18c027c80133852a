"""From the command line and TOML files to a recipe and its options, and back to config.toml.

A TOML file is read as if its keys were options on the command line, so that both have the same
types, limits and error messages:

    recipe = "mlp-mnist"
    [run]
    steps = 2000
    [constants]
    hidden_g = [128, 256]
"""

import dataclasses
import json
import os
import reprlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from minigan import __version__, cli
from minigan.errors import UsageError, did_you_mean
from minigan.recipes import DEFAULT_RECIPE, RECIPES, Recipe, recipe_class
from minigan.runs.atomic import write_atomically
from minigan.runs.folder import RunFolder, newest_run_path
from minigan.runs.options import CALL_ONLY, FREE_ON_RESUME, STORED, RunOptions

SECTIONS = ("run", "constants")
LONGEST = 2**14  # bytes of a file of settings, which has a few hundred; tomllib is slow with long keys of many dots


@dataclass(frozen=True)
class Where:
    """The options that decide what the others start from."""

    out: Path | None = None
    resume: bool = False
    config: Path | None = None


def parse_command(argv: Sequence[str]) -> tuple[RunOptions, Recipe]:
    """Options and recipe from ``[RECIPE] [--option value ...]``.

    Defaults come from the recipe, then from --config or the resumed run, then from the command line.
    Raises UsageError in one line for anything that is not understood.
    """
    name, argv = _recipe_argument(argv)
    where = cli.parse_known(Where, argv)
    stored: Path | None
    if where.resume:
        stored = RunFolder(where.out or newest_run_path()).config
        if not stored.exists():
            raise UsageError(f"no run to resume in {stored.parent}: there is no config.toml")
    else:
        stored = where.config
    if stored is None:
        return _parse(name or DEFAULT_RECIPE, argv)
    in_file, settings = read_config(stored)
    if where.resume and name and name != in_file:
        raise UsageError(f"{stored.parent} holds a run of {in_file}, not of {name}")
    chosen = name or in_file or DEFAULT_RECIPE
    base = _parse_settings(stored, chosen, settings)
    options, recipe = _parse(chosen, argv, *base)
    if where.resume:
        _refuse_other_run(stored, base, (options, recipe))
        options = dataclasses.replace(options, out=stored.parent)
    return options, recipe


def read_run_config(path: Path) -> tuple[RunOptions, Recipe]:
    """Options and recipe of a run's config.toml. Raises UsageError, naming the file."""
    name, settings = read_config(path)
    return _parse_settings(path, name or DEFAULT_RECIPE, settings)


def has_critic(path: Path) -> bool:
    """Whether D of the run of this config.toml is a critic; no if the file cannot be read, or its recipe is unknown."""
    try:
        return read_run_config(path)[1].critic
    except UsageError:
        return False


def command_line(name: str, settings: dict[str, Any]) -> list[str]:
    """The command that starts a run of these settings (as `read_config` gives them), as words quoted for a shell.

    What is so by itself is left out.
    """
    fields = [field for kind in (RunOptions, RECIPES[name or DEFAULT_RECIPE]) for field in dataclasses.fields(kind)]
    default = {field.name: field.default for field in fields}
    words = [*cli.program_words("train"), *([name] if name else [])]
    for key, value in settings.items():
        if (tuple(value) if isinstance(value, list) else value) != default.get(key):
            words += _as_arguments(key, value, default.get(key))
    return [cli.shell_line([word]) for word in words]


def recipe_of(path: Path, name: str, constants: dict[str, Any]) -> Recipe:
    """The recipe `name` with constants that were read in a file. Raises UsageError, naming the file, for wrong ones."""
    known = {field.name for field in dataclasses.fields(RECIPES[name])}
    for key in constants:
        if key not in known:
            raise UsageError(f"{path}: {name} has no constant {key!r}{did_you_mean(key, known)}")
    return _parse_settings(path, name, constants)[1]


def _recipe_argument(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The recipe's name, if the first argument is one, and the rest."""
    if not argv or argv[0].startswith("-"):
        return None, list(argv)
    return recipe_class(argv[0]).name, list(argv[1:])


def _parse(
    name: str, argv: Sequence[str], run: RunOptions | None = None, constants: Recipe | None = None
) -> tuple[RunOptions, Recipe]:
    kind = RECIPES[name]
    of_run, of_recipe = ({field.name for field in dataclasses.fields(each)} for each in (RunOptions, kind))
    if taken := of_run & of_recipe:
        raise UsageError(f"the recipe {name} has a constant {min(taken)!r}, which is an option of every run: rename it")
    command = dataclasses.make_dataclass("Command", [("run", RunOptions), ("recipe", kind)], frozen=True)
    default = command(run or RunOptions(), constants or kind())
    if run is not None and {"--steps", "--epochs"} & {word.split("=")[0] for word in argv}:
        default = command(dataclasses.replace(default.run, steps=None, epochs=None), default.recipe)
    if run is not None:  # a command may repeat what the file says
        said = _as_they_are(default.run, default.recipe)
        argv = [word for word in argv if said.get(word, word) in argv]
    chosen = cli.parse(command, argv, prog=cli.program("train"), description=_description(kind), default=default)
    for field in dataclasses.fields(kind):
        if getattr(chosen.recipe, field.name) is None and field.default is not None:
            raise UsageError(f"{_option(field.name)} None cannot be kept in a run's config.toml")
    return chosen.run, chosen.recipe


def _as_they_are(*defaults: RunOptions | Recipe) -> dict[str, str]:
    """Switches that say what is so anyway, such as --flip where a run was started with it; with their opposites."""
    names = [(options, field.name) for options in defaults for field in dataclasses.fields(options)]
    values = [(name, value) for options, name in names if isinstance(value := getattr(options, name), bool)]
    return {_switch(name, value): _switch(name, not value) for name, value in values}


def _switch(key: str, value: bool) -> str:
    return _option(key if value else f"no-{key}")


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _parse_settings(path: Path, name: str, settings: dict[str, Any]) -> tuple[RunOptions, Recipe]:
    fields = [field for kind in (RunOptions, RECIPES[name]) for field in dataclasses.fields(kind)]
    known = {field.name: field.default for field in fields if field.name not in CALL_ONLY}
    try:
        for key in settings:
            if key not in known:
                raise UsageError(f"unknown key {key!r} for {name}{did_you_mean(key, known)}")
            if isinstance(settings[key], bool) != isinstance(known[key], bool):
                expected = "is true or false" if isinstance(known[key], bool) else "is neither true nor false"
                raise UsageError(f"{key} = {str(settings[key]).lower()}: {key} {expected}")
        return _parse(name, [word for key, value in settings.items() for word in _as_arguments(key, value, known[key])])
    except UsageError as err:
        raise UsageError(f"{path}: {err}") from err


def _description(kind: type[Recipe]) -> str:
    return (
        f"Train a GAN. Usage: {cli.program('train')} [RECIPE] [options]; "
        f"recipes: {', '.join(RECIPES)} (default {DEFAULT_RECIPE}).\n\n"
        f"{kind.name}: {' '.join((kind.__doc__ or '').split())}"
    )


def _refuse_other_run(path: Path, before: tuple[RunOptions, Recipe], after: tuple[RunOptions, Recipe]) -> None:
    """A resumed run keeps its constants, or it would not be the same run."""
    old, new = ({**_stored(options), **dataclasses.asdict(recipe)} for options, recipe in (before, after))
    for name, was in old.items():
        if name not in FREE_ON_RESUME and new[name] != was:
            option, now = name.replace("_", "-"), new[name]
            words = f"--{option} {was}" if not isinstance(was, bool) else f"--{'' if was else 'no-'}{option}"
            raise UsageError(f"{path.parent} was started with {words}: it cannot be resumed with {now}")


def _stored(options: RunOptions) -> dict[str, Any]:
    """With the path of the images in full: a run may be resumed from another folder."""
    kind, _, path = options.data.partition(":")
    data = f"{kind}:{os.path.abspath(os.path.expanduser(path))}" if path else options.data
    return {name: getattr(options, name) for name in STORED} | {"data": data}


def constants_of(recipe: Recipe) -> dict[str, Any]:
    """The recipe's constants as a checkpoint tells them, in the values of JSON."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe), default=str))
    return found


def fixed_options(options: RunOptions) -> dict[str, Any]:
    """The options that a run keeps to its end, as a checkpoint tells them."""
    return {name: getattr(options, name) for name in STORED if name not in FREE_ON_RESUME}


def changed_settings(settings: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """A note for each setting that has another value than the checkpoint was made with: config.toml can be edited.

    What an older minigan did not know, or did not write down, is not compared.
    """
    return [
        f"config.toml says {name} = {now}, which is used; the checkpoint was made with {reprlib.repr(then[name])}"
        for name, now in settings.items()
        if repr(then.get(name, now)) != repr(now)  # NaN is not equal to itself
    ]


def write_config(folder: RunFolder, options: RunOptions, recipe: Recipe) -> None:
    """Store what a run is made of, in the form that --config reads."""
    document = {
        "recipe": recipe.name,
        "minigan": __version__,
        "run": {name: value for name, value in _stored(options).items() if value is not None},
        "constants": {name: value for name, value in dataclasses.asdict(recipe).items() if value is not None},
    }
    write_atomically(folder.config, tomli_w.dumps(document).encode(errors="surrogateescape"))


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """(recipe name or "", the settings of all sections).

    Raises UsageError: no such file, bad TOML, an unknown recipe or section.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise UsageError(f"{path} is no file of settings: it has more than {LONGEST} bytes")
        # Paths may hold bytes that are no UTF-8, which Python carries as surrogates.
        document = tomllib.loads(content.decode("utf-8", "surrogateescape").removeprefix("\ufeff"))
    except OSError as err:
        raise UsageError(f"cannot read {path}: {err.strerror}") from err
    except (ValueError, RecursionError) as err:  # ValueError: not TOML, or a number of thousands of digits
        raise UsageError(f"{path} is no valid TOML: {err}") from err
    known = ("recipe", "minigan", *SECTIONS)
    for key, value in document.items():
        if key not in known or isinstance(value, dict) != (key in SECTIONS):
            hint = "" if key in known else did_you_mean(key, known)
            raise UsageError(
                f'{path}: {key!r} is not understood{hint}; a file has recipe = "..." '
                "and the sections [run] and [constants]"
            )
    name = document.get("recipe", "")
    try:
        name = name if name == "" else recipe_class(name).name
    except UsageError as err:
        raise UsageError(f"{path}: {err}") from None
    return name, {key: value for section in SECTIONS for key, value in document.get(section, {}).items()}


def _as_arguments(key: str, value: Any, default: Any) -> list[str]:
    """The option that a setting stands for; no value can pass for another option."""
    option = _option(key)
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int) and abs(number) >= 2**63:
            raise UsageError(f"{key} is too large a number")
    if isinstance(value, bool) and isinstance(default, bool):  # a switch: it is there or not
        return [] if value == default else [_switch(key, value)]
    if not isinstance(value, list | tuple):
        return [f"{option}={value}"]
    if not isinstance(default, tuple):
        raise UsageError(f"{key} = {value}: {key} is one value, not a list")
    if not all(type(number) in (int, float) for number in value):
        raise UsageError(f"{key} = {value}: only numbers can be in a list")
    return [option, *map(str, value)]
