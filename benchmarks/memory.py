"""Counted against measured: the memory of one real round of a recipe as it was published, on the CPU.

    python -m benchmarks.memory [RECIPE]

Prints what `minigan.recipes.memory` counts, and how much larger the process has become at its largest.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tyro

from benchmarks.machine import largest
from benchmarks.rounds import start
from minigan import cli
from minigan.backend import CPU
from minigan.recipes import Recipe, recipe_class
from minigan.recipes.memory import round_bytes


@dataclass(frozen=True)
class Options:
    recipe: tyro.conf.Positional[str] = "dcgan-64"
    """name of the recipe"""
    debug: bool = False
    """show the traceback of an error"""


def prepared(recipe: Recipe, image_shape: tuple[int, ...]) -> Callable[[], object]:
    """What plays one round on random images when it is called."""
    images = np.random.default_rng(0).integers(0, 256, (2 * recipe.batch_size, *image_shape), dtype=np.uint8)
    return start(recipe, images, CPU).play


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m benchmarks.memory", description=__doc__ or "")
    recipe = recipe_class(options.recipe)()
    image_shape = (*(recipe.image_size or (28, 28)), recipe.list_channels)
    before = largest()
    prepared(recipe, image_shape)()
    counted, after = round_bytes(recipe, image_shape), largest()
    told = f"counted {counted / 1e9:.2f} GB, the process {after / 1e9:.2f} GB, before it {before / 1e9:.2f} GB"
    print(f"{recipe.name}: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
