"""``python -m minigan.sample RUN``: draw more samples from a run's newest checkpoint."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from minigan import cli
from minigan.errors import UsageError


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[Path]
    """folder of the run"""
    count: int = 100
    """how many samples"""
    seed: int = 0
    """of the latents; the same seed draws the same samples"""
    label: int | None = None
    """the class of all samples, where G is told of classes (cdcgan-28); without it they are 0, 1, ... in turn"""
    columns: int | None = None
    """samples in a row of the picture; without it the picture is square"""
    scale: int | None = None
    """how much each pixel is enlarged; without it twice, and more where --walk or --arithmetic draws few"""
    walk: int | None = None
    """an animated walk on great circles through this many of the samples, and back to the first"""
    between: int | None = None
    """pictures from one sample of the walk to the next; without it 12"""
    arithmetic: tuple[int, ...] = ()
    """A B C, numbers of samples counted from 0: draws A, B, C and A - B + C"""
    out: Path | None = None
    """file to write; without it RUN/more-samples-SEED.png, RUN/walk-SEED.gif or RUN/arithmetic-SEED.png, with --step in
    the name if that is given"""
    device: str = "auto"
    """auto, cpu, gpu or gpu:N"""
    last_weights: bool = False
    """of a run that averages G's parameters: draw with the last ones instead"""
    step: int | None = None
    """of the checkpoint: one that `minigan.train --keep-every` has kept; without it the newest"""
    debug: bool = False
    """show the traceback of an error"""

    def __post_init__(self) -> None:
        if self.walk is not None and self.count < 2:
            raise UsageError(f"--walk needs two samples at least: --count {self.count} is too small")
        limits = {"count": (1, 100_000), "columns": (1, 100_000), "scale": (1, 64), "between": (1, 100)}
        for name, (lowest, highest) in (limits | {"walk": (2, min(self.count, 50))}).items():
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:
                raise UsageError(f"--{name} {value} is out of range: allowed are {lowest} to {highest}")
        numbers_fit = len(self.arithmetic) == 3 and all(0 <= number < self.count for number in self.arithmetic)
        if self.arithmetic and not numbers_fit:
            raise UsageError(f"--arithmetic takes three numbers from 0 to {self.count - 1}")
        if self.arithmetic and self.walk is not None:
            raise UsageError("--walk and --arithmetic make different pictures: give one of them")
        if self.columns is not None and (self.arithmetic or self.walk is not None):
            raise UsageError("--columns is for a picture of samples: --walk and --arithmetic have a form of their own")
        if self.between is not None and self.walk is None:
            raise UsageError("--between is about --walk: give both")
        ending = ".png" if self.walk is None else ".gif"
        if self.out is not None and self.out.suffix.lower() not in ("", ending):
            raise UsageError(f"--out {self.out}: the picture is a {ending[1:].upper()}, give it the ending {ending}")


def main(argv: list[str]) -> int:
    options = cli.parse(
        Options, argv, prog="python -m minigan.sample",
        description="Draw samples from a run's newest checkpoint, or from an earlier one.",
    )  # fmt: skip
    # Imported here, so that --help answers at once.
    from minigan.backend import select_device
    from minigan.randomness import Purpose, stream
    from minigan.runs import latents, pictures
    from minigan.runs.folder import RunFolder
    from minigan.runs.saved import load_run

    RunFolder(options.run).refuse_to_replace(options.out)
    saved = load_run(options.run, select_device(options.device), options.last_weights, options.step)
    for note in saved.notes:
        print(f"note: {note}")
    check_label(options, saved.recipe.condition)
    name = own_name(options)
    few = options.walk is not None or options.arithmetic
    scale = options.scale or (max(2, 224 // saved.image_shape[0]) if few else 2)
    (height, width, _), between = saved.image_shape, options.between or 12
    if options.walk is not None:  # found out now rather than after all has been drawn
        pictures.check_gif(options.walk * between, (height, width), scale)
    elif not options.arithmetic:
        pictures.check_png(pictures.grid_size(options.count, (height, width), options.columns), scale)
    z = saved.recipe.draw_latents(stream(options.seed, Purpose.SAMPLE), options.count)
    codes = saved.recipe.codes(options.count, options.label)  # of classes, (count, 0) where G is told of none
    if options.walk is not None:
        out = options.out or options.run / f"walk-{name}.gif"
        z = latents.walk(z[: options.walk], between)
        codes = latents.walk(codes[: options.walk], between, latents.straight)
        pictures.save_gif(out, saved.draw(z, codes), scale)
        what = f"a walk through {options.walk} samples"
    elif options.arithmetic:
        out = options.out or options.run / f"arithmetic-{name}.png"
        z, first = latents.arithmetic(z, options.arithmetic), options.arithmetic[0]
        codes = codes[[*options.arithmetic, first]]  # the fourth in the class of the first
        pictures.save_png(out, pictures.grid(saved.draw(z, codes), columns=4), scale)
        what = "samples {} - {} + {}".format(*options.arithmetic)
    else:
        out = options.out or options.run / f"more-samples-{name}.png"
        pictures.save_png(out, pictures.grid(saved.draw(z, codes), options.columns), scale)
        what = f"{options.count} samples"
    if options.label is not None:
        what += f" of class {options.label}"
    weights = ", G's last weights" if options.last_weights else ""
    print(f"{what} of {saved.recipe.name}, step {saved.state.step}{weights}: {out}")
    return 0


def own_name(options: Options) -> str:
    """What tells the picture from others of the run: the checkpoint, the class, the weights and the seed."""
    marks = {"step": options.step, "label": options.label}
    given = [f"{mark}-{value}-" for mark, value in marks.items() if value is not None]
    return "".join(given) + ("last-" if options.last_weights else "") + str(options.seed)


def check_label(options: Options, classes: int) -> None:
    """Raises UsageError for a class that the run's G is not told of."""
    if options.label is None or 0 <= options.label < classes:
        return
    if not classes:
        raise UsageError(f"--label {options.label}: the G of {options.run} is told of no classes")
    raise UsageError(f"--label {options.label} is out of range: the G of {options.run} is told of 0 to {classes - 1}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
