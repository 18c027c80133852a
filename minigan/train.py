"""``python -m minigan.train``: train a recipe, and leave pictures, metrics and checkpoints in a folder."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minigan import cli

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minigan.backend import Device
    from minigan.data.sources import Dataset
    from minigan.parallel.team import Team
    from minigan.recipes import Recipe
    from minigan.runs.folder import RunFolder
    from minigan.runs.options import RunOptions
    from minigan.runs.trainer import Trainer


def main(argv: list[str]) -> int:
    from minigan.parallel.mpi import joined

    with joined() as team:
        return train_with(team, argv)


def train_with(team: "Team", argv: list[str]) -> int:
    from minigan.runs.config import parse_command

    options, recipe = parse_command(argv)
    if options.list:
        return list_recipes()
    # Imported here, so that --help answers at once.
    from minigan.errors import UsageError
    from minigan.runs.checkpoint import checkpoint_files
    from minigan.runs.folder import RunFolder, new_run_path, open_new
    from minigan.runs.together import device_of

    folder = RunFolder(options.out or new_run_path(recipe.name))
    if team.leads and folder.holds_a_run and not (options.resume or options.overwrite):
        ways = "go on with it (--resume) or replace it (--overwrite)"
        if not checkpoint_files(folder.checkpoints):
            ways = "it has no checkpoint yet, so begin anew in its place (--overwrite)"
        raise UsageError(f"{folder.path} holds a run: {ways}")
    if options.overwrite:
        folder.refuse_to_lose(options.data)
    with switched("CUPY_TF32", on=options.tf32):  # before CuPy's first product
        device = device_of(options.device, team)
        if options.tf32 and device.name == "cpu":
            raise UsageError("--tf32 is for GPUs, as no CPU multiplies in TF32; leave it out, or see --device gpu")
        team = team.on(device)
        if not team.leads:
            return train(options, recipe, folder, device, team)
        if options.out is None and not options.resume:
            folder = open_new(recipe.name)
        else:
            folder.open()
        try:
            return train(options, recipe, folder, device, team)
        finally:
            folder.close()


@contextmanager
def switched(name: str, on: bool) -> Iterator[None]:
    """A switch in the environment: on, or as it is; and then as it was."""
    before = os.environ.get(name)
    if on:
        os.environ[name] = "1"
    try:
        yield
    finally:
        if on:
            os.environ.pop(name)
            os.environ |= {} if before is None else {name: before}


def train(options: "RunOptions", recipe: "Recipe", folder: "RunFolder", device: "Device", team: "Team") -> int:
    """Train into an open folder, or beside the process that has opened it; returns the exit code."""
    from minigan.data.sources import load_images
    from minigan.recipes.cost import cost
    from minigan.recipes.fit import check_fit, check_labels, doubts
    from minigan.runs.blas import compute

    memory = options.image_memory * 2**30 / team.neighbours
    data = load_images(options.data, size=recipe.image_size, memory=memory)
    tell(data.notices)
    check_fit(recipe, data.images.shape[1:])
    check_labels(recipe, data.labels, options.data)
    tell(doubts(recipe, data.images.shape[1:]))
    own_macs = cost(recipe, data.images.shape[1:]).round_macs / team.size
    with compute(options.kernels, options.threads, own_macs, team.neighbours):
        trainer = prepare(options, recipe, folder, device, team, data)
        began = time.monotonic()
        code = run(trainer)
        last_words(trainer, time.monotonic() - began, code)
    return code


def prepare(
    options: "RunOptions", recipe: "Recipe", folder: "RunFolder", device: "Device", team: "Team", data: "Dataset"
) -> "Trainer":
    """The trainer before its next round, of this data; its folder holds no other run any more."""
    import numpy as np

    from minigan import ops
    from minigan.runs.config import write_config
    from minigan.runs.tensorboard import check_tensorboard
    from minigan.runs.trainer import Trainer

    if options.tensorboard and team.leads:
        check_tensorboard(folder)
    scoring = None
    if options.evaluate_every and team.leads:
        from minigan.runs.scoring import Scoring  # takes a while

        scoring = Scoring(recipe, options, data, device, folder.scores)
    images, labels = recipe.training_part(data.images), None
    if recipe.condition and data.labels is not None:
        labels = np.asarray(recipe.training_part(data.labels))
    trainer = Trainer(recipe, options, folder, device, images, scoring, team, labels)
    if options.resume:
        tell(trainer.resume())
    trainer.check_same()  # from here on nobody reads what will be replaced
    where = device.name + (f" in {team.size} processes" if team.size > 1 else "")
    goal = max(trainer.goal, trainer.state.step)
    print(f"{recipe.name} on {where}, {len(trainer.images)} images, steps {trainer.state.step} to {goal}")
    if trainer.goal <= trainer.state.step:
        tell([f"the run is at step {trainer.state.step} already; --steps counts all rounds, give more to go on"])
    if options.kernels == "fast" and device.name == "cpu" and (why := ops.why_not_compiled()):
        tell([f"numba is installed and cannot be used ({why}): training goes on without it, slower"])
    if trainer.rounds.words:
        print(trainer.rounds.words)
    if scoring:
        print(f"scores every {options.evaluate_every} steps: {scoring.words}")
    print(f"run folder: {folder.path}", flush=True)
    if team.leads:  # all that can be wrong with the start has been, and an older run is not lost for nothing
        if not options.resume:
            folder.clear()
        if trainer.goal >= trainer.state.step:  # else it would tell of a run that never was
            write_config(folder, options, recipe)
    return trainer


def run(trainer: "Trainer") -> int:
    """Play the rounds, and make the page of the run, also of one whose numbers went bad; returns the exit code."""
    from minigan.reports.page import write_report
    from minigan.runs.health import NotFiniteError
    from minigan.runs.trainer import unless_open

    try:
        code = trainer.run()
    except NotFiniteError:
        if trainer.team.leads:
            write_report(trainer.folder)  # it shows how things came to this
        raise
    if trainer.team.leads:
        trainer.expect_folder()
        with unless_open():
            write_report(trainer.folder)
    return code


def tell(notes: "Iterable[str]") -> None:
    """What the user should know, a line each."""
    for note in notes:
        print(f"note: {note}", flush=True)


def last_words(trainer: "Trainer", seconds: float, code: int) -> None:
    """How it went, and how to go on; all is saved, so that it does not matter if that cannot be printed any more."""
    from minigan.runs.signals import UNREAD
    from minigan.runs.trainer import resume_command

    out = sys.stderr if code == UNREAD else sys.stdout
    command = resume_command(trainer.folder.path, trainer.goal, trainer.team.size)
    try:
        report(trainer, seconds)
        if code and trainer.team.leads:
            print(f"stopped at step {trainer.state.step}; go on with: {command}", file=out)
        elif trainer.team.leads:
            print(f"score the samples with: {cli.program('evaluate')} {cli.path_word(trainer.folder.path)}", file=out)
        out.flush()
    except OSError:
        cli.hush(out)


def report(trainer: "Trainer", seconds: float) -> None:
    """The last lines: how it went and where the pictures are."""
    from minigan.runs.progress import describe

    print(f"step {trainer.state.step} after {seconds:.0f} s", end="")
    if trainer.rows:
        measured = int(trainer.rows[-1]["step"])
        at = "" if measured == trainer.state.step else f"  at step {measured}:"
        print(f"{at}  {describe(trainer.rows, trainer.diagnoses(), trainer.recipe.critic)}", end="")
    print()
    folder = trainer.folder
    for path in (folder.last_samples, folder.animation, folder.curves, folder.report):
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
    sys.exit(cli.run(main, stops_unread=True))
