"""``python -m minigan.train``: train a recipe, and leave pictures, metrics and checkpoints in a folder."""

import sys
import time
from typing import TYPE_CHECKING

from minigan import cli

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minigan.backend import Device
    from minigan.recipes import Recipe
    from minigan.runs.folder import RunFolder
    from minigan.runs.options import RunOptions
    from minigan.runs.trainer import Trainer


def main(argv: list[str]) -> int:
    from minigan.runs.config import parse_command

    options, recipe = parse_command(argv)
    if options.list:
        return list_recipes()
    # Imported here, so that --help answers at once.
    from minigan.backend import select_device
    from minigan.errors import UsageError
    from minigan.runs.folder import RunFolder, new_run_path

    folder = RunFolder(options.out or new_run_path(recipe.name))
    if folder.holds_a_run and not (options.resume or options.overwrite):
        raise UsageError(f"{folder.path} holds a run: go on with it (--resume) or replace it (--overwrite)")
    device = select_device(options.device)
    folder.open()
    try:
        return train(options, recipe, folder, device)
    finally:
        folder.close()


def train(options: "RunOptions", recipe: "Recipe", folder: "RunFolder", device: "Device") -> int:
    """Train into an open folder; returns the exit code."""
    from minigan.data.sources import load_images
    from minigan.recipes.cost import cost
    from minigan.runs.blas import compute
    from minigan.runs.config import write_config
    from minigan.runs.trainer import Trainer, resume_command

    data = load_images(options.data, size=recipe.image_size, memory=options.image_memory * 2**30)
    tell(data.notices)
    images = recipe.training_part(data.images)
    with compute(options.kernels, options.threads, cost(recipe, images.shape[1:]).round_macs):
        scoring = None
        if options.evaluate_every:
            from minigan.runs.scoring import Scoring  # takes a while

            scoring = Scoring(recipe, options, data.images, device, folder.scores)
        trainer = Trainer(recipe, options, folder, device, images, scoring)
        if options.resume:
            tell(trainer.resume())
        else:
            folder.clear()
        write_config(folder, options, recipe)
        print(f"{recipe.name} on {device.name}, {len(images)} images, steps {trainer.state.step} to {trainer.goal}")
        if scoring:
            print(f"scores every {options.evaluate_every} steps: {scoring.words}")
        print(f"run folder: {folder.path}", flush=True)
        began = time.monotonic()
        code = trainer.run()
        report(trainer, time.monotonic() - began)
    if code:
        print(f"stopped at step {trainer.state.step}; go on with: {resume_command(folder.path, trainer.goal)}")
    return code


def tell(notes: "Iterable[str]") -> None:
    """What the user should know, a line each."""
    for note in notes:
        print(f"note: {note}", flush=True)


def report(trainer: "Trainer", seconds: float) -> None:
    """The last lines: how it went and where the pictures are."""
    from minigan.runs.progress import describe

    print(f"step {trainer.state.step} after {seconds:.0f} s", end="")
    print(f"  {describe(trainer.rows, trainer.diagnoses())}" if trainer.rows else "")
    for path in (trainer.folder.last_samples, trainer.folder.animation, trainer.folder.curves):
        if path.exists():
            print(f"  {path}")


def list_recipes() -> int:
    """Each recipe: what it is, where it is from, and what it costs in work and in memory."""
    from minigan.recipes import RECIPES
    from minigan.recipes.cost import cost
    from minigan.recipes.memory import round_bytes

    for name, recipe in RECIPES.items():
        made = recipe()
        height, width = made.image_size or (28, 28)
        image_shape = (height, width, made.list_channels)
        counted, memory = cost(made, image_shape), round_bytes(made, image_shape)
        parameters = " + ".join(f"{number / 1e6:.2f}" for number in counted.parameters)
        print(f"{name:15} {(recipe.__doc__ or '').partition(chr(10))[0]}")
        print(f"{'':15} from: {recipe.source}")
        print(
            f"{'':15} {height} x {width} x {made.list_channels}, G + D {parameters} million parameters; "
            f"a round of batch {made.batch_size}: {counted.round_macs / 1e9:.2f} GMAC, {memory / 1e9:.2f} GB; "
            f"{recipe.steps} rounds"
        )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
