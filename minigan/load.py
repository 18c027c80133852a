"""``python -m minigan.load FILE``: make a run from a generator in PyTorch's format, and D if there is one."""

import json
import operator
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import tyro

from minigan import cli
from minigan.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from minigan.recipes import Recipe
    from minigan.runs.folder import RunFolder
    from minigan.runs.options import RunOptions
    from minigan.runs.state import State
    from minigan.typing import Shape

Tensors: TypeAlias = "dict[str, dict[str, np.ndarray]]"  # by role, generator and perhaps discriminator, and name

FAR, LITTLE = 100, 10**6  # times what is there, and numbers: a D that is not given may be larger than G

DESCRIPTION = (
    "Make a run from networks in PyTorch's format: files of minigan.export, or state dicts (.pth, .pt, safetensors) "
    "of PyTorch's DCGAN example and of other networks that are like a recipe's."
)


@dataclass(frozen=True)
class Options:
    generator: tyro.conf.Positional[Path]
    """file with the generator's tensors"""
    discriminator: Path | None = None
    """file with the discriminator's; without it the run draws samples, and cannot be trained further"""
    recipe: str | None = None
    """whose networks they are; files of minigan.export and of PyTorch's example need none"""
    data: str = "mnist5k"
    """what the run learns from if it is trained further, as in minigan.train"""
    out: Path | None = None
    """folder of the run; without it a new one in runs/"""
    overwrite: bool = False
    """replace the run that is in --out"""
    debug: bool = False
    """show the traceback of an error"""


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m minigan.load", description=DESCRIPTION)
    # Imported here, so that --help answers at once.
    from minigan.interchange.torch_layout import read_tensors
    from minigan.runs.folder import RunFolder, new_run_path
    from minigan.runs.options import RunOptions
    from minigan.runs.trainer import resume_command

    files = {"generator": options.generator, "discriminator": options.discriminator}
    tensors = {role: read_tensors(path) for role, path in files.items() if path is not None}
    recipe, image_shape = recognise(options, tensors)
    state = filled(options, recipe, image_shape, tensors)
    if image_shape[2] not in (1, 3):
        raise DataError(f"{options.generator}: makes images of {image_shape[2]} colours; pictures have 1 (grey) or 3")
    advice = how_to_train(options, recipe, image_shape)
    folder = RunFolder(options.out or new_run_path(recipe.name))
    if folder.holds_a_run and not options.overwrite:
        raise UsageError(f"{folder.path} holds a run: choose another --out, or replace it (--overwrite)")
    if options.overwrite:
        folder.refuse_to_lose(options.data)
    run = RunOptions(data=options.data, precision=precision(options, tensors))
    write(run, recipe, state, image_shape, folder, lacks=[] if options.discriminator else ["discriminator"])
    height, width, channels = image_shape
    print(f"{recipe.name}, latents of {recipe.latent} numbers, images {height} x {width} x {channels}")
    print(f"run folder: {folder.path}")
    print(f"draw samples with: {cli.program('sample')} {cli.path_word(folder.path)}")
    print(advice or f"train it further, on {options.data}, with: {resume_command(folder.path, recipe.steps)}")
    return 0


def how_to_train(options: Options, recipe: "Recipe", image_shape: "Shape") -> str:
    """What to give so that it can be trained further, or "" if all is there.

    Raises UsageError for images that somebody has named and that its networks do not take.
    """
    from minigan.data.sources import DEFAULT_SOURCE, load_images
    from minigan.recipes.fit import check_labels

    if not options.discriminator:
        if options.data != DEFAULT_SOURCE:
            load_images(options.data, size=recipe.image_size)  # raises, if there are none
        return "without its discriminator (--discriminator FILE) it cannot be trained further"
    data = load_images(options.data, size=recipe.image_size)
    found = data.images.shape[1:]
    if found == image_shape:
        try:
            check_labels(recipe, data.labels, options.data)
        except DataError as err:
            return f"as it is, it cannot be trained further: {err}"
        return ""
    height, width, channels = image_shape
    needed = f"images of {height} x {width} x {channels}"
    if options.data != DEFAULT_SOURCE:
        raise UsageError(
            f"--data {options.data} gives images of {' x '.join(map(str, found))}, the networks make {needed}"
        )
    return f"to train it further, load it once more with --data that gives {needed}"


def recognise(options: Options, tensors: Tensors) -> tuple["Recipe", "Shape"]:
    """The recipe with the constants that the files tell, and the shape (H, W, C) of its images."""
    from minigan.interchange.torch_layout import MAIN, read_facts
    from minigan.recipes import RECIPES, recipe_class
    from minigan.runs.config import recipe_of
    from minigan.runs.saved import MOST_NUMBERS

    facts = read_facts(options.generator)
    of_the_example = any(name.startswith(MAIN) for name in tensors["generator"])
    name = options.recipe or facts.get("recipe") or ("dcgan-64" if of_the_example else "")
    if not name:
        known = ", ".join(RECIPES)
        raise UsageError(f"{options.generator} does not tell of which recipe it is: give --recipe, one of {known}")
    recipe_class(name)  # or there is none
    if name == facts.get("recipe") and "constants" in facts:
        try:
            height, width, channels = map(operator.index, json.loads(facts["image_shape"]))
            if not 0 < height * width * channels <= MOST_NUMBERS:
                raise ValueError(f"images of {height} x {width} x {channels}")
            recipe = recipe_of(options.generator, name, json.loads(facts["constants"]))
            if (recipe.image_size or (height, width)) != (height, width):
                raise ValueError(f"images of {height} x {width} and of {recipe.image_size}")
            return recipe, (height, width, channels)
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as err:
            raise DataError(f"{options.generator}: its constants cannot be read ({err})") from err
    return measure(options, name, tensors)


def measure(options: Options, name: str, tensors: Tensors) -> tuple["Recipe", "Shape"]:
    """The recipe with the constants that the shapes of the weights tell, and the shape of its images."""
    from minigan.interchange.torch_layout import natural
    from minigan.recipes.measured import MEASURABLE, measured
    from minigan.runs.config import recipe_of

    if name not in MEASURABLE:
        raise UsageError(f"weights alone do not tell the constants of {name}, only those of {', '.join(MEASURABLE)}")
    shapes = {
        role: {key: found[key].shape for key in sorted(found, key=natural)} for role, found in tensors.items()
    }  # fmt: skip
    try:
        constants, channels = measured(name, shapes["generator"], shapes.get("discriminator"))
    except IndexError:
        raise DataError(f"the tensors are not those of {name}: there are too few, or of too few axes") from None
    recipe = recipe_of(options.generator, name, constants)
    return recipe, (*(recipe.image_size or ()), channels)


def filled(options: Options, recipe: "Recipe", image_shape: "Shape", tensors: Tensors) -> "State":
    """The state before the first round, with the loaded numbers; a D that was not given stays a random one."""
    import numpy as np

    from minigan.backend import CPU
    from minigan.interchange.torch_layout import load_into
    from minigan.nn import ShapeError
    from minigan.runs.state import State

    try:
        check_sizes(options, recipe, image_shape, tensors)
        blank, dtype = np.zeros((1, *image_shape), np.uint8), np.dtype(precision(options, tensors))
        state = State.start(recipe, blank, 1, 0, dtype, CPU)
    except (ShapeError, ValueError) as err:
        raise DataError(f"{options.generator}: its constants make no network ({err})") from err
    players = {
        "generator": (state.g, {"image_out": image_shape}),
        "discriminator": (state.d, {"image_in": image_shape}),
    }
    for role, found in tensors.items():
        player, images = players[role]
        try:
            load_into(player.net, player.theta, found, **images)
        except DataError as err:
            raise DataError(f"{getattr(options, role)} as the {role} of {recipe.name}: {err}") from err
    if state.average is not None:
        state.average = state.g.theta.copy()
    return state


def precision(options: Options, tensors: Tensors) -> Literal["float32", "float64"]:
    """That of the run whose networks minigan.export wrote; float32 for those of others."""
    from minigan.interchange.torch_layout import read_facts

    kinds = {str(array.dtype) for array in tensors["generator"].values() if array.dtype.kind == "f"}
    return "float64" if kinds == {"float64"} and "recipe" in read_facts(options.generator) else "float32"


def check_sizes(options: Options, recipe: "Recipe", image_shape: "Shape", tensors: Tensors) -> None:
    """Raises DataError where constants claim networks far larger than what is there, before memory is taken."""
    import math

    from minigan.recipes.cost import networks

    there = sum(tensor.size for found in tensors.values() for tensor in found.values())
    for net, in_shape in networks(recipe, image_shape):
        needed = sum(map(math.prod, net.param_shapes(in_shape).values()))
        if needed > FAR * there + LITTLE:
            raise DataError(f"{options.generator}: its constants ask for {needed} numbers, the files hold {there}")


def write(
    run: "RunOptions", recipe: "Recipe", state: "State", image_shape: "Shape", folder: "RunFolder", lacks: list[str]
) -> None:
    """A run of no rounds yet."""
    from minigan import __version__
    from minigan.runs.atomic import TEMPORARY, put_in_place, remove_stale
    from minigan.runs.blas import blas_facts
    from minigan.runs.checkpoint import Checkpoint, write_checkpoint
    from minigan.runs.config import constants_of, write_config

    facts = state.facts() | {
        "recipe": recipe.name, "constants": constants_of(recipe), "seed": run.seed, "image_shape": list(image_shape),
        "version": __version__, "blas": blas_facts(), "lacks": lacks,
    }  # fmt: skip
    folder.open()
    try:
        # What is large comes first, beside an older run: where there is no room for it, that one is still there.
        # On the disk of the checkpoints, which may be a link; cleaned up by whoever opens the folder next.
        beside = folder.checkpoints / f"{TEMPORARY}load"
        beside.mkdir()
        new = write_checkpoint(beside, Checkpoint(state.tensors(), facts))
        folder.clear()
        put_in_place(new, folder.checkpoints / new.name)
        write_config(folder, run, recipe)
    finally:
        remove_stale(folder.checkpoints)
        folder.close()


if __name__ == "__main__":
    sys.exit(cli.run(main))
