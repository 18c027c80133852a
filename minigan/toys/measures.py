"""How a toy ended, in numbers that can be compared with what theory says."""

import numpy as np
from scipy.special import xlogy

from minigan.evaluation.modes import gaussian_modes
from minigan.toys.problems import Toy
from minigan.toys.training import View, p_generated

SUPPORT = 0.05  # the support: where p_data is at least this share of its maximum


def measures(toy: Toy, view: View) -> dict[str, float]:
    """Numbers by what they are."""
    if toy.dimensions == 1:
        return _on_the_line(toy, view)
    return _in_the_plane(toy, view)


def _on_the_line(toy: Toy, view: View) -> dict[str, float]:
    """Mean and deviation of G's samples, and how far D is from 1/2 where data are."""
    assert toy.density is not None
    p = toy.density(view.points.ravel())
    away = abs(view.d - 0.5)[p >= SUPPORT * p.max()]
    x, p_g = p_generated(toy, view)
    return {
        "mean of G(z)": float(view.many.mean()),
        "standard deviation of G(z)": float(view.many.std()),
        "Jensen-Shannon divergence from the data, nats": jensen_shannon(_shares(toy.density(x), x), _shares(p_g, x)),
        "largest |D - 1/2| over the support": float(away.max()),
        "mean |D - 1/2| over the support": float(away.mean()),
    }


def _shares(density: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Of each bin around x (B,), and of all that is beyond the window: (B + 1,)."""
    inside = density.astype(float) * (x[1] - x[0])
    return np.append(inside, max(0.0, 1 - inside.sum()))


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    r"""Between two densities in the same places (B,), each made to sum to 1; from 0 to log 2.

    .. math:: \tfrac12 \mathrm{KL}(p \Vert m) + \tfrac12 \mathrm{KL}(q \Vert m), \qquad m = \tfrac12 (p + q)
    """
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    return float(sum((xlogy(a, a) - xlogy(a, middle)).sum() for a in (p, q)) / 2)


def _in_the_plane(toy: Toy, view: View) -> dict[str, float]:
    """D at the samples, and the modes where there are any."""
    found = {"mean |push| on the samples": float(np.linalg.norm(view.push, axis=1).mean())}
    if toy.modes is not None:
        centres, std = toy.modes
        report = gaussian_modes(view.many[: toy.counted], centres, std)
        found |= {
            f"modes covered, of {len(centres)}": report.covered,
            "share within 3 standard deviations of a mode": report.high_quality,
            "reverse KL of the modes, nats": report.reverse_kl,
        }
    return found
