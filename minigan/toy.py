"""``python -m minigan.toy TOY``: a GAN of one or two dimensions, and pictures of everything that happens in it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from minigan import cli
from minigan.errors import UsageError

if TYPE_CHECKING:
    from minigan.toys.problems import Toy
    from minigan.toys.training import View

STILL, ANIMATED = "stages.png", "progress.gif"
Name = Literal["gaussian-1d", "ring", "grid", "swiss-roll"]


@dataclass(frozen=True)
class Options:
    toy: tyro.conf.Positional[Name] = "gaussian-1d"
    """gaussian-1d (the figure of the 2014 paper), ring (8 Gaussians), grid (25 Gaussians) or swiss-roll"""
    setting: Literal["a", "b", "pacgan"] | None = None
    """published constants. Of gaussian-1d: a, N(-1, 1) with tanh and momentum; b, N(4, 0.5) with Adam. Of ring and
    grid: pacgan, the plain GAN of the PacGAN paper, 400,000 rounds"""
    steps: int | None = None
    """rounds; without it the toy's own number"""
    batch_size: int | None = None
    """samples in a batch; without it the toy's own number"""
    lr: float | None = None
    """learning rate of both players; without it the toy's own"""
    seed: int = 0
    """of everything random; the same seed gives the same pictures"""
    stages: tuple[float, ...] = (0, 0.1, 0.4, 1)
    """when the pictures of stages.png are taken, as shares of the rounds"""
    kernels: Literal["plain", "fast"] = "plain"
    """plain, the code that the docs explain; or fast, for the large networks of pacgan"""
    frames: int = 60
    """pictures in the animation; 0 for none"""
    out: Path | None = None
    """folder for stages.png and progress.gif; without it a new one in runs/"""
    overwrite: bool = False
    """replace the pictures that are in --out"""
    debug: bool = False
    """show the traceback of an error"""

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "steps": (1, 1_000_000), "batch_size": (1, 100_000), "lr": (1e-9, 1e6), "frames": (0, 1000),
            "seed": (0, 2**32 - 1),
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
    from minigan.runs.blas import compute
    from minigan.runs.folder import new_run_path
    from minigan.toys.measures import measures
    from minigan.toys.problems import TOYS
    from minigan.toys.training import train

    settings = TOYS[options.toy]
    if options.setting and options.setting not in settings:
        there = ", ".join(name for name in settings if name) or "none"
        raise UsageError(f"--setting {options.setting} is not one of {options.toy}: there is {there}")
    toy = (settings[options.setting] if options.setting else next(iter(settings.values())))()
    out = options.out or new_run_path(options.toy)
    if not options.overwrite and any((out / name).exists() for name in (STILL, ANIMATED)):
        raise UsageError(f"{out} holds pictures of a toy: choose another --out, or replace them (--overwrite)")
    steps = options.steps or toy.steps
    shown = [round(share * steps) for share in sorted(options.stages)]
    moving = [round(steps * frame / max(options.frames - 1, 1)) for frame in range(options.frames)]
    print(f"{options.toy}: {toy.about}; {steps} rounds", flush=True)
    try:
        with compute(options.kernels, 1, 0):  # small matrices: more threads are slower, and not bit-exact
            views = train(
                toy, steps, options.batch_size or toy.batch_size, options.lr or toy.lr, options.seed,
                {*shown, *moving, steps},
            )  # fmt: skip
    except FloatingPointError as err:
        raise UsageError(f"{err}: try a lower --lr than {options.lr or toy.lr:g}") from err
    for words, value in measures(toy, views[-1]).items():
        print(f"  {words:45} {value:.4g}")
    draw(toy, {view.step: view for view in views}, shown, moving, out)
    return 0


def draw(toy: "Toy", views: "dict[int, View]", shown: list[int], moving: list[int], out: Path) -> None:
    """Write the pictures of the rounds in `shown`, side by side, and in `moving`, one after the other."""
    from minigan.runs.atomic import write_atomically
    from minigan.runs.pictures import save_gif
    from minigan.toys.figure import animation_frames, stages

    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / STILL, stages(toy, [views[step] for step in shown]))
    print(f"  {out / STILL}", flush=True)
    if moving:
        save_gif(out / ANIMATED, animation_frames(toy, [views[step] for step in moving]))
        print(f"  {out / ANIMATED}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
