"""``python -m minigan.toy TOY``: a GAN of one or two dimensions, and pictures of everything that happens in it."""

import csv
import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from minigan import cli
from minigan.errors import UsageError

if TYPE_CHECKING:
    from minigan.runs.signals import StopRequest
    from minigan.toys.problems import Toy
    from minigan.toys.training import View

STILL, ANIMATED, MEASURED = "stages.png", "progress.gif", "measures.csv"
Name = Literal["gaussian-1d", "ring", "grid", "swiss-roll"]


@dataclass(frozen=True)
class Options:
    toy: tyro.conf.Positional[Name] = "gaussian-1d"
    """gaussian-1d (the figure of the 2014 paper), ring (8 Gaussians), grid (25 Gaussians) or swiss-roll"""
    setting: Literal["a", "b", "pacgan", "unrolled", "wgan-gp"] | None = None
    """published constants. Of gaussian-1d: a, N(-1, 1) with tanh and momentum; b, N(4, 0.5^2) with Adam. Of ring and
    grid: pacgan, the plain GAN of the PacGAN paper, 400,000 rounds; of ring: unrolled, a G that looks ahead. Of all in
    the plane: wgan-gp, a critic with a penalty on its slopes"""
    unroll: int | None = None
    """with --setting unrolled: how many updates of D its G looks ahead; without it 10, and 0 is a GAN as of 2014"""
    steps: int | None = None
    """rounds; without it the toy's own number"""
    batch_size: int | None = None
    """samples in a batch; without it the toy's own number"""
    lr: float | None = None
    """learning rate of both players; without it the toy's own"""
    seed: int = 0
    """of everything random; the same seed gives the same pictures"""
    stages: tuple[float, ...] = (0, 0.1, 0.4, 1)
    """at which shares of the rounds the pictures of stages.png are taken, and what is measured is printed"""
    kernels: Literal["plain", "fast"] = "plain"
    """plain, the code that the docs explain; or fast, for the large networks of pacgan"""
    frames: int = 60
    """pictures in the animation, and rows of measures.csv besides those of the stages; 0: no animation"""
    out: Path | None = None
    """folder for stages.png, progress.gif and measures.csv; without it a new one in runs/"""
    overwrite: bool = False
    """replace the pictures that are in --out"""
    debug: bool = False
    """show the traceback of an error"""

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "steps": (1, 1_000_000), "batch_size": (1, 100_000), "lr": (1e-9, 1e6), "frames": (0, 1000),
            "seed": (0, 2**32 - 1), "unroll": (0, 1000),
        }  # fmt: skip
        for name, (lowest, highest) in limits.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:  # also for NaN
                option = f"--{name.replace('_', '-')} {value}"
                raise UsageError(f"{option} is out of range: allowed are {lowest:g} to {highest:g}")
        if not 1 <= len(self.stages) <= 8 or not all(0 <= share <= 1 for share in self.stages):
            raise UsageError("--stages takes one to eight shares of the rounds, each from 0 to 1")


def main(argv: list[str]) -> int:
    options = cli.parse(
        Options, argv, prog="python -m minigan.toy", description="Train a GAN of one or two dimensions, and draw it."
    )
    # Imported here, so that --help answers at once.
    from minigan.games import UnrolledGame
    from minigan.runs.folder import RunFolder, new_run_path
    from minigan.runs.signals import StopRequest
    from minigan.toys.problems import TOYS

    settings = TOYS[options.toy]
    if options.setting and options.setting not in settings:
        there = ", ".join(name for name in settings if name)
        raise UsageError(f"--setting {options.setting} is not one of {options.toy}: there is {there}")
    toy = (settings[options.setting] if options.setting else next(iter(settings.values())))()
    if options.unroll is not None:
        toy = unrolled(toy, options.unroll)
    if options.batch_size == 1 and (toy.generator.mixes_samples or toy.discriminator.mixes_samples):
        raise UsageError("--batch-size 1: batch normalisation, which this setting has, needs two samples at least")
    out = options.out or new_run_path(options.toy)
    if RunFolder(out).config.exists():
        raise UsageError(f"{out} holds a run of minigan.train: choose another --out")
    if not options.overwrite and any((out / name).exists() for name in (STILL, ANIMATED, MEASURED)):
        raise UsageError(f"{out} holds what a toy has left: choose another --out, or replace it (--overwrite)")
    out.mkdir(parents=True, exist_ok=True)
    steps = options.steps or toy.steps
    shown = [round(share * steps) for share in sorted(options.stages)]
    intervals = options.frames - 1
    moving = [round(steps * frame / intervals) if intervals else steps for frame in range(options.frames)]
    ahead = f"; G looks {toy.game.unroll} of D's updates ahead" if isinstance(toy.game, UnrolledGame) else ""
    print(f"{options.toy}: {toy.about}{ahead}; {steps} rounds", flush=True)
    with StopRequest() as stop:
        views, measured = watch(toy, options, steps, {*shown, *moving, steps}, out / MEASURED, stop)
    last = max(views)
    if last < steps:  # stopped: how it was then stands in the place of what did not come
        shown = [step for step in shown if step < last] + [last]
    print_columns({step: measured[step] for step in dict.fromkeys(shown)})
    draw(toy, views, shown, [step for step in moving if step <= last], out)  # whoever stops this leaves at once
    if last < steps:
        print(f"stopped after {last} of {steps} rounds")
    return stop.exit_code


def unrolled(toy: "Toy", steps: int) -> "Toy":
    """The toy with another number of updates that G looks ahead. Raises UsageError if it does not look ahead."""
    from minigan.games import UnrolledGame

    if not isinstance(toy.game, UnrolledGame):
        raise UsageError("--unroll goes with --setting unrolled")
    return replace(toy, game=replace(toy.game, unroll=steps))


def watch(
    toy: "Toy", options: Options, steps: int, looks: set[int], table: Path, stop: "StopRequest"
) -> "tuple[dict[int, View], dict[int, dict[str, float]]]":
    """Train, look after some rounds, and write what is measured into a table; what was seen and measured, by round.

    Somebody who stops it sees how it is then. Raises UsageError if the parameters are not finite any more.
    """
    import numpy as np

    from minigan.runs.blas import compute
    from minigan.runs.progress import Bar
    from minigan.toys.measures import measures
    from minigan.toys.training import look, rounds

    views: dict[int, View] = {}
    measured: dict[int, dict[str, float]] = {}
    lr = options.lr or toy.lr

    def newest() -> str:
        found = measured[max(measured)] if measured else {}
        return "; ".join(f"{words}: {value:.3g}" for words, value in found.items())

    bar = Bar(0, steps, stop)
    try:
        # Small matrices: more threads are slower, and not bit-exact.
        with compute(options.kernels, 1, 0), np.errstate(all="ignore"):  # looked at by `look`
            for step, g, d in rounds(toy, steps, options.batch_size or toy.batch_size, lr, options.seed):
                if step in looks or stop.exit_code:
                    views[step] = look(toy, g, d, step, options.seed)
                    measured[step] = measures(toy, views[step])
                    write_table(table, measured)
                if stop.exit_code:
                    break
                if step:
                    bar.advance()
                bar.show(step, newest)
    except FloatingPointError as err:
        raise UsageError(f"{err}: try a lower --lr than {lr:g}") from err
    finally:
        bar.close()
    return views, measured


def write_table(path: Path, measured: dict[int, dict[str, float]]) -> None:
    """A row for each look, of what `minigan.toys.measures` measures."""
    from minigan.runs.atomic import write_atomically

    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["rounds", *next(iter(measured.values()))])
    rows.writerows([step, *(f"{value:.6g}" for value in found.values())] for step, found in measured.items())
    write_atomically(path, text.getvalue().encode())


def print_columns(measured: dict[int, dict[str, float]]) -> None:
    """What was measured, a line each, with a column for each of the rounds."""
    print("".join([f"  {'after rounds':45}", *(f"{step:>12}" for step in measured)]))
    for words in next(iter(measured.values())):
        print("".join([f"  {words:45}", *(f"{found[words]:>12.4g}" for found in measured.values())]))


def draw(toy: "Toy", views: "dict[int, View]", shown: list[int], moving: list[int], out: Path) -> None:
    """Write the pictures of the rounds in `shown`, side by side, and in `moving`, one after the other."""
    from minigan.runs.atomic import write_atomically
    from minigan.runs.pictures import save_gif
    from minigan.toys.figure import animation_frames, stages

    write_atomically(out / STILL, stages(toy, [views[step] for step in shown]))
    print(f"  {out / STILL}", flush=True)
    if moving:
        save_gif(out / ANIMATED, animation_frames(toy, [views[step] for step in moving]))
        print(f"  {out / ANIMATED}")
    else:
        (out / ANIMATED).unlink(missing_ok=True)  # of a toy before


if __name__ == "__main__":
    sys.exit(cli.run(main))
