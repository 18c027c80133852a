"""A finished or stopped run, opened for reading: its recipe, its newest state, its samples."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigan.backend import CPU, Device, to_host
from minigan.errors import CheckpointError, UsageError, UserError
from minigan.nn import needs_batches
from minigan.recipes import Recipe
from minigan.recipes.cost import networks
from minigan.recipes.registry import file_checksum
from minigan.runs.checkpoint import Checkpoint
from minigan.runs.config import changed_settings, constants_of, read_run_config
from minigan.runs.folder import RunFolder
from minigan.runs.state import State, check_layout, read_newest_state
from minigan.typing import Array, Shape

MOST_NUMBERS = 2**28  # of an image
FEW = 16  # samples that are drawn at once at least


@dataclass(frozen=True)
class SavedRun:
    """What a run's folder holds.

    `notes` tells of newer checkpoints that could not be read, and of constants that somebody has edited; `lacks` names
    networks that were never there, if the run was loaded from another program's files: their numbers mean nothing.
    """

    recipe: Recipe
    state: State
    image_shape: Shape
    device: Device
    notes: list[str]
    lacks: tuple[str, ...] = ()

    @property
    def weights(self) -> str:
        """Which parameters of G it draws with: last or average."""
        return "last" if self.state.average is None else "average"

    def draw(self, z: np.ndarray, codes: np.ndarray | None = None) -> np.ndarray:
        """Images (N, H, W, C) of bytes for latents (N, latent) and codes of classes (N, condition), in inference mode;
        without codes the classes come in turn."""
        there = self.device.put(self.recipe.told(z, codes).astype(self.state.drawing.flat.dtype))
        return draw_samples(self.recipe, self.state, there, self.image_shape)


def load_run(path: Path | str, device: Device = CPU, last_weights: bool = False, step: int | None = None) -> SavedRun:
    """Open a run at its newest checkpoint, or at that of a step.

    `last_weights`: draw with G's last parameters, not with their average. Raises UsageError if `path` holds no run, or
    none of this step, or the run has no average to leave aside, CheckpointError if no checkpoint can be read.
    """
    folder = RunFolder(Path(path))
    if not folder.config.exists():
        raise UsageError(f"{path} holds no run of minigan: there is no config.toml")
    options, recipe = read_run_config(folder.config)
    checkpoint, notes = read_newest_state(folder.checkpoints, step)
    facts = checkpoint.facts
    if facts["recipe"] != recipe.name:
        raise CheckpointError(f"{path}: config.toml is of {recipe.name}, the checkpoint of {facts['recipe']!r}")
    image_shape = tuple(facts["image_shape"])
    if math.prod(image_shape) > MOST_NUMBERS:
        raise CheckpointError(f"{path}: images of {image_shape} are larger than any that a network here makes")
    _check_sizes(recipe, image_shape, checkpoint)
    notes += changed_settings(constants_of(recipe), facts.get("constants", {}))
    then, now = facts.get("recipe_file", ""), file_checksum(recipe)
    if then and now and then != now:
        notes.append(f"the file of recipe {recipe.name} has changed since: what it says now is used")
    blank = np.zeros((1, *image_shape), np.uint8)  # the networks' shapes depend on the image, their weights follow
    state = State.start(recipe, blank, 1, options.seed, np.dtype(options.precision), device)
    state.restore(checkpoint, device)
    for name, tensor in state.tensors().items():
        if name.endswith((".theta", ".average")) and not np.isfinite(tensor).all():
            raise CheckpointError(
                f"{path}: {name} of the checkpoint of step {state.step} holds numbers that are not finite"
            )
    if last_weights:
        if state.average is None:
            raise UsageError(
                f"--last-weights: {path} keeps no average of G's parameters; it always draws with the last"
            )
        state.average = None
    return SavedRun(recipe, state, image_shape, device, notes, tuple(facts.get("lacks", ())))


def _check_sizes(recipe: Recipe, image_shape: Shape, checkpoint: Checkpoint) -> None:
    """Whether the networks are those of the checkpoint, before there is memory for them: config.toml may claim any.

    Raises CheckpointError, listing the differences.
    """
    needed = {}
    for role, (net, in_shape) in zip(("generator", "discriminator"), networks(recipe, image_shape), strict=True):
        needed[role] = net.param_shapes(in_shape) | net.statistic_shapes(in_shape)
        theta = checkpoint.tensors.get(f"{role}.theta")
        if theta is None or theta.size != sum(map(math.prod, needed[role].values())):
            check_layout(needed, {name: checkpoint.facts["layout"].get(name, {}) for name in needed})
            raise CheckpointError(f"the checkpoint's {role} has not as many numbers as its layout says")


def draw_samples(recipe: Recipe, state: State, z: Array, image_shape: Shape) -> np.ndarray:
    """Images (N, H, W, C) of bytes, on the host, from latents on the state's device, in inference mode.

    A batch of the recipe at once, so that they need no more memory than a round, or a few if it is smaller.
    """
    images = [np.empty((0, *image_shape), np.uint8)]
    if len(z) == 1 and needs_batches(state.g.net):
        raise UserError("one sample alone cannot be drawn: G normalises samples among themselves; draw two or more")
    for some in groups(len(z), max(recipe.batch_size, FEW)):
        x, _ = state.g.net.forward(state.drawing, z[some], train=False)
        images.append(to_host(recipe.decode(x, image_shape)))
    return np.concatenate(images)


def groups(count: int, size: int) -> Iterator[slice]:
    """So many in a row at a time, and one more rather than leave a single one for the end, which has no variance."""
    start = 0
    while start < count:
        stop = start + size if count - start != size + 1 else count
        yield slice(start, min(stop, count))
        start = stop
