"""Rounds of a recipe on embedded digits, to be timed; and recipes with other constants."""

import ast
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from minigan import ops
from minigan.backend import Device
from minigan.data.batches import Batches
from minigan.data.resize import fit
from minigan.data.sources import load_images
from minigan.errors import UsageError, did_you_mean
from minigan.recipes import RECIPES, Recipe, recipe_class
from minigan.recipes.recipe import in_turn
from minigan.runs.captured import CapturedRounds, at_once, rounds
from minigan.runs.feed import Feed, feed
from minigan.runs.rounds import Rounds
from minigan.runs.state import State
from minigan.typing import Images

SEED = 0
BATCHES = 8  # in the data set of a benchmark
# Constants that grow with the number of channels or units.
WIDTHS = ("width", "width_d", "units", "hidden_g", "hidden_d")

SomeRecipe = TypeVar("SomeRecipe", bound=Recipe)


def chosen(names: Sequence[str], settings: Sequence[str], batch_size: int | None) -> list[Recipe]:
    """The recipes of these names (none: all) with the constants that ``NAME=VALUE`` settings give, where they fit.

    A name that comes twice counts once.
    Only the game is played: real images are not changed at random, and no average of G's parameters is taken.
    Raises UsageError for unknown names, constants that none of the recipes has, and values that fit none.
    """
    kinds = [recipe_class(name) for name in dict.fromkeys(names or RECIPES)]
    wanted = [*map(_setting, settings)] + ([("batch_size", batch_size)] if batch_size is not None else [])
    known = [{field.name: field.default for field in dataclasses.fields(kind)} for kind in kinds]
    for name, value in wanted:
        defaults = [constants[name] for constants in known if name in constants]
        if not defaults:
            hint = did_you_mean(name, {name for constants in known for name in constants})
            raise UsageError(f"--set {name}={value}: no such constant{hint}")
        if not any(_same_kind(value, default) for default in defaults):
            raise UsageError(f"--set {name}={value}: expected a value like {' or '.join(map(str, defaults))}")
    game_only: dict[str, Any] = {"average": 0.0, "flip": False, "jitter": 0.0}
    made = []
    for kind, constants in zip(kinds, known, strict=True):
        fitting = {name: value for name, value in wanted if name in constants and _same_kind(value, constants[name])}
        made.append(kind(**game_only | fitting))
    return made


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write NAME=VALUE")
    try:
        return name.replace("-", "_"), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name.replace("-", "_"), value  # a word


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, float):
        return type(value) in (int, float)
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(type(number) is int for number in value)
    return type(value) is type(default)


def widened(recipe: SomeRecipe, factor: float) -> SomeRecipe:
    """The recipe with so many times the channels and units."""

    def times(value: Any) -> Any:
        return tuple(map(times, value)) if isinstance(value, tuple) else max(1, round(value * factor))

    names = [field.name for field in dataclasses.fields(recipe) if field.name in WIDTHS]
    return dataclasses.replace(recipe, **{name: times(getattr(recipe, name)) for name in names})


def digits(recipe: Recipe) -> np.ndarray:
    """A few batches of embedded digits, in the size and with the colour channels that the system was for."""
    images = load_images().images
    images = images[np.arange(BATCHES * recipe.batch_size) % len(images)]
    return np.repeat(fit(images, recipe.image_size or (28, 28)), recipe.list_channels, axis=3)


def start(
    recipe: Recipe, images: Images, device: Device, precision: str = "float32", *, capture: bool = False
) -> Rounds:
    """The rounds of a new run, each on a fresh batch: operation by operation, or captured as in `minigan.train`.

    Captured ones are played within their context; `not_captured` tells whether they are.
    """
    images = recipe.training_part(images)
    batches = Batches(len(images), recipe.batch_size, SEED)
    dtype, game = np.dtype(precision), recipe.game()
    state = State.start(recipe, images, batches.per_epoch, SEED, dtype, device)
    real = fed(recipe, images, batches, device)
    if capture:
        return rounds(recipe, game, state, real, SEED, "fast")
    fused = device.xp is not np and ops.kernels_in_use(device.xp) == "fused kernels"
    return Rounds(recipe, at_once(game) if fused else game, state, real, SEED)


def fed(recipe: Recipe, images: Images, batches: Batches, device: Device) -> Feed:
    """The feed of images, with classes in turn where the recipe asks for them."""
    return feed(images, batches, device, labels=in_turn(len(images), recipe.condition) if recipe.condition else None)


def not_captured(played: Rounds) -> str:
    """Why rounds that should be captured go operation by operation; empty if they are captured.

    Ask after more than `captured.WARM_UP` rounds, and once: a refusal is told once.
    """
    return played.complaint() if isinstance(played, CapturedRounds) else played.words


def seconds_a_round(play: Callable[[], object], rounds: int, synchronize: Callable[[], None]) -> float:
    """The mean of so many rounds in a row, after one that is not timed, waiting for the device at both ends."""
    play()
    synchronize()
    began = time.perf_counter()
    for _ in range(rounds):
        play()
    synchronize()
    return (time.perf_counter() - began) / rounds
