"""Counted against measured: the memory of one real round of a recipe as it was published, on the CPU.

    python -m benchmarks.memory dcgan-64

Prints what `minigan.recipes.memory` counts, and how much larger the process has become at its largest.
"""

import resource
import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from minigan.backend import CPU
from minigan.data.batches import Batches
from minigan.games.gan import play_round
from minigan.recipes import RECIPES, Recipe
from minigan.recipes.memory import round_bytes
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import feed
from minigan.runs.state import State


def prepared(recipe: Recipe, image_shape: tuple[int, ...]) -> Callable[[], object]:
    """What plays one round on random images when it is called."""
    images = np.random.default_rng(0).integers(0, 256, (2 * recipe.batch_size, *image_shape), dtype=np.uint8)
    batches, game, dtype = Batches(len(images), recipe.batch_size, seed=0), recipe.game(), np.dtype("float32")
    state = State.start(recipe, images, batches.per_epoch, 0, dtype, CPU)
    draws = SeededDraws(recipe, feed(images, batches, CPU), 0, 0, game.d_steps, dtype)
    return partial(play_round, game, state.g, state.d, draws)


def largest() -> int:
    """Bytes of this process at its largest so far; Linux counts them in kB, macOS does not."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(name: str) -> None:
    recipe = RECIPES[name]()
    image_shape = (*(recipe.image_size or (28, 28)), recipe.list_channels)
    before = largest()
    prepared(recipe, image_shape)()
    counted, after = round_bytes(recipe, image_shape), largest()
    print(f"{name}: counted {counted / 1e9:.2f} GB, the process {after / 1e9:.2f} GB, before it {before / 1e9:.2f} GB")


if __name__ == "__main__":
    main(sys.argv[1])
