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
    columns: int | None = None
    """samples in a row of the picture; without it the picture is square"""
    scale: int = 2
    """how much each pixel is enlarged"""
    out: Path | None = None
    """picture to write; without it RUN/more-samples-SEED.png"""
    device: str = "auto"
    """auto, cpu, gpu or gpu:N"""
    debug: bool = False
    """show the traceback of an error"""

    def __post_init__(self) -> None:
        for name, highest in (("count", 100_000), ("columns", 100_000), ("scale", 64)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= highest:
                raise UsageError(f"--{name} {value} is out of range: allowed are 1 to {highest}")


def main(argv: list[str]) -> int:
    options = cli.parse(
        Options, argv, prog="python -m minigan.sample", description="Draw samples from a run's newest checkpoint."
    )
    # Imported here, so that --help answers at once.
    from minigan.backend import select_device
    from minigan.randomness import Purpose, stream
    from minigan.runs import pictures
    from minigan.runs.saved import load_run

    saved = load_run(options.run, select_device(options.device))
    for note in saved.notes:
        print(f"note: {note}")
    z = saved.recipe.draw_latents(stream(options.seed, Purpose.SAMPLE), options.count)
    picture = pictures.grid(saved.draw(z), options.columns)
    out = options.out or options.run / f"more-samples-{options.seed}.png"
    pictures.save_png(out, picture, options.scale)
    print(f"{options.count} samples of {saved.recipe.name}, step {saved.state.step}: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
