"""``python -m minigan.train``: train a recipe, and leave pictures, metrics and checkpoints in a folder."""

import sys
import time
from typing import TYPE_CHECKING

from minigan import cli

if TYPE_CHECKING:
    from minigan.runs.trainer import Trainer


def main(argv: list[str]) -> int:
    from minigan.runs.config import parse_command

    options, recipe = parse_command(argv)
    if options.list:
        return list_recipes()
    # Imported here, so that --help answers at once.
    from minigan.backend import select_device
    from minigan.data.sources import load_images
    from minigan.errors import UsageError
    from minigan.runs.config import write_config
    from minigan.runs.folder import RunFolder, new_run_path
    from minigan.runs.trainer import Trainer, resume_command

    folder = RunFolder(options.out or new_run_path(recipe.name))
    if folder.holds_a_run and not (options.resume or options.overwrite):
        raise UsageError(f"{folder.path} holds a run: go on with it (--resume) or replace it (--overwrite)")
    device = select_device(options.device)
    folder.open()
    try:
        images = recipe.training_part(load_images(options.data).images)
        trainer = Trainer(recipe, options, folder, device, images)
        if options.resume:
            for note in trainer.resume():
                print(f"note: {note}")
        else:
            folder.clear()
        write_config(folder, options, recipe)
        print(f"{recipe.name} on {device.name}, {len(images)} images, steps {trainer.state.step} to {trainer.goal}")
        print(f"run folder: {folder.path}", flush=True)
        began = time.monotonic()
        code = trainer.run()
        report(trainer, time.monotonic() - began)
        if code:
            print(f"stopped at step {trainer.state.step}; go on with: {resume_command(folder.path, trainer.goal)}")
        return code
    finally:
        folder.close()


def report(trainer: "Trainer", seconds: float) -> None:
    """The last lines: how it went and where the pictures are."""
    from minigan.runs.progress import describe

    print(f"step {trainer.state.step} after {seconds:.0f} s", end="")
    print(f"  {describe(trainer.rows)}" if trainer.rows else "")
    for path in (trainer.folder.last_samples, trainer.folder.animation, trainer.folder.curves):
        if path.exists():
            print(f"  {path}")


def list_recipes() -> int:
    """One line a recipe."""
    from minigan.recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name:12} {' '.join((recipe.__doc__ or '').split())} ({recipe.source}; {recipe.steps} steps)")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
