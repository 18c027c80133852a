"""Counted against measured: the memory of one real round of a recipe as it was published, on the CPU.

    python -m benchmarks.memory dcgan-64

Prints what `minigan.recipes.memory` counts, and how much larger the process has become at its largest.
"""

import sys
from collections.abc import Callable

import numpy as np

from benchmarks.machine import largest
from benchmarks.rounds import start
from minigan.backend import CPU
from minigan.recipes import RECIPES, Recipe
from minigan.recipes.memory import round_bytes


def prepared(recipe: Recipe, image_shape: tuple[int, ...]) -> Callable[[], object]:
    """What plays one round on random images when it is called."""
    images = np.random.default_rng(0).integers(0, 256, (2 * recipe.batch_size, *image_shape), dtype=np.uint8)
    return start(recipe, images, CPU).play


def main(name: str) -> None:
    recipe = RECIPES[name]()
    image_shape = (*(recipe.image_size or (28, 28)), recipe.list_channels)
    before = largest()
    prepared(recipe, image_shape)()
    counted, after = round_bytes(recipe, image_shape), largest()
    print(f"{name}: counted {counted / 1e9:.2f} GB, the process {after / 1e9:.2f} GB, before it {before / 1e9:.2f} GB")


if __name__ == "__main__":
    main(sys.argv[1])
