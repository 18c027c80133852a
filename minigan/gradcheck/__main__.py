"""``python -m minigan.gradcheck``: the table of all gradients; exit code 1 if one is wrong."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from minigan import cli

DESCRIPTION = (
    "Compare hand-written gradients with finite differences in float64: those of every layer and every loss, of D's "
    "step, and of the networks of four recipes."
)


@dataclass(frozen=True)
class Options:
    layer: str | None = None
    """check only what has this in its name, for instance batchnorm or "generator:" """
    device: str = "auto"
    """auto, cpu, gpu or gpu:N"""
    plot: Path | None = None
    """draw the error against the step size of the first thing checked into this file"""
    step: float = 1e-4
    """h of the four-point quotient"""
    seed: int = 0
    """of the random parameters, inputs and upstream gradients"""
    debug: bool = False
    """show the traceback of an error"""


def main(argv: list[str]) -> int:
    options = cli.parse(Options, argv, prog="python -m minigan.gradcheck", description=DESCRIPTION)
    # Imported here, so that --help answers at once.
    from minigan.backend import select_device
    from minigan.errors import UsageError, did_you_mean
    from minigan.gradcheck import TOLERANCE, all_problems, check
    from minigan.gradcheck.plot import check_ending, plot_steps
    from minigan.randomness import check_seed
    from minigan.runs.folder import RunFolder

    if not 0 < options.step <= 1:
        raise UsageError(f"--step {options.step} is out of range: allowed are 0 to 1, best around 1e-4")
    if options.plot:
        check_ending(options.plot)
    if options.plot and not options.plot.parent.is_dir():
        raise UsageError(f"--plot {options.plot}: there is no folder {options.plot.parent}")
    if options.plot:
        RunFolder(options.plot.parent).refuse_to_replace(options.plot, "--plot")
    check_seed(options.seed)
    device = select_device(options.device)
    problems = [p for p in all_problems(device, options.seed) if options.layer is None or options.layer in p.name]
    if not problems:
        names = sorted({re.split("[,:]", p.name)[0] for p in all_problems(device, options.seed)})
        hint = did_you_mean(options.layer or "", names)
        raise UsageError(f"nothing is called {options.layer!r}{hint}; names begin with: {', '.join(names)}")
    print(f"four-point differences, h = {options.step:g}, float64 on {device.name}, seed {options.seed}")
    print(f"{'checked':38} {'gradient of':32} {'worst relative error':>21}  verdict")
    wrong, worst, count = 0, 0.0, 0
    for problem in problems:
        for row in check(problem, options.step):
            verdict = "ok" if row.passes() else "WRONG"
            print(f"{row.name:38} {row.variable:32} {row.error:21.1e}  {verdict}")
            wrong, worst, count = wrong + (not row.passes()), max(worst, row.error), count + 1
    print(f"{count} gradients, {wrong} wrong, worst {worst:.1e}, tolerance {TOLERANCE:g}")
    if options.plot:
        plot_steps(problems[0], options.plot)
        print(f"error against step size of {problems[0].name}, the first of {len(problems)}: {options.plot}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
