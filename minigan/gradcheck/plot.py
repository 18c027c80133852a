"""Error against step size: why four points, and why h = 1e-4."""

from pathlib import Path

import numpy as np

from minigan.errors import UsageError
from minigan.gradcheck.method import STEP, TOLERANCE, Problem, Rule, check, four_point, two_point

PICTURES = (".png", ".pdf", ".svg", ".jpg")  # that matplotlib writes everywhere


def check_ending(path: Path) -> None:
    """Raises UsageError if --plot names a file of no such kind."""
    if path.suffix not in PICTURES:
        raise UsageError(f"--plot {path}: the file's ending must be one of {', '.join(PICTURES)}")


def plot_steps(problem: Problem, path: Path) -> None:
    """Draw the worst error of a problem's gradients for steps from 0.1 to 1e-11, for both quotients."""
    from matplotlib.figure import Figure

    steps = np.logspace(-1, -11, 41)
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    rules: list[tuple[str, Rule]] = [("two points", two_point), ("four points", four_point)]
    for label, rule in rules:
        errors = [max(row.error for row in check(problem, h, rule)) for h in steps]
        axes.loglog(steps, errors, marker=".", label=label)
    axes.axvline(STEP, color="grey", linewidth=0.8, linestyle=":", label=f"h = {STEP:g}, used by the check")
    axes.axhline(TOLERANCE, color="grey", linewidth=0.8, linestyle="--", label=f"tolerance {TOLERANCE:g}")
    axes.set(
        xlabel="step h", ylabel="worst relative error", title=f"Finite differences against backward: {problem.name}"
    )
    axes.legend()
    figure.savefig(path, dpi=120)
