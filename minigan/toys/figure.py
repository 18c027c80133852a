"""What a toy has learnt, drawn: the figure of the 2014 paper for one dimension, a map of D for two."""

import io
import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from minigan.toys.problems import Toy
from minigan.toys.training import SURFACE, View, best_discriminator, p_generated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARROWS = 20  # from z to x, and of gradients on the line
PLANE_ARROWS = 80  # of gradients in the plane
LONGEST = 0.5  # of them, in the picture
LEVELS = 25  # lines of equal score of a critic, at most
REAL = 1000  # samples of the data in the plane
GREEN, BLUE, RED, GREY = "tab:green", "tab:blue", "tab:red", "0.55"


def stages(toy: Toy, views: Sequence[View]) -> bytes:
    """A PNG of some views, in rows."""
    return _render(toy, views, dpi=110)


def animation_frames(toy: Toy, views: Sequence[View], held: int = 15) -> np.ndarray:
    """Pictures (N, H, W, 3) of one view each, the last one repeated `held` times."""
    pictures: dict[int, np.ndarray] = {}
    for view in views:
        if view.step not in pictures:  # a short run shows the same view many times
            pictures[view.step] = np.asarray(Image.open(io.BytesIO(_render(toy, [view], dpi=80))).convert("RGB"))
    return np.stack([pictures[view.step] for view in [*views, *[views[-1]] * held]])


def _render(toy: Toy, views: Sequence[View], dpi: int) -> bytes:
    from matplotlib.figure import Figure

    rows, columns = _grid(len(views))
    figure = Figure(figsize=(4.2 * columns, 4.2 * rows + 0.4), layout="constrained")
    if toy.dimensions == 1:
        _draw_line(figure, toy, views)
    else:
        _draw_plane(figure, toy, views)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    return buffer.getvalue()


def _draw_line(figure: "Figure", toy: Toy, views: Sequence[View]) -> None:
    """Above: densities, D, D*, and where the gradient pushes samples; below: from z to x = G(z)."""
    rows, columns = _grid(len(views))
    lines = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=(3, 1) * rows)
    for above, below, view in zip_longest(lines[::2].flat, lines[1::2].flat, views):
        if view is None:  # the last row is not full
            above.axis("off"), below.axis("off")
            continue
        _draw_densities(above, toy, view)
        _draw_mapping(below, toy, view)
        above.set_title(f"after {view.step} rounds", fontsize=10)
    _explain(figure, lines[0, 0], columns=5 if len(views) > 1 else 3)


def _draw_densities(axes: "Axes", toy: Toy, view: View) -> None:
    assert toy.density is not None
    line = view.points.ravel()
    x, p_g = p_generated(toy, view)
    axes.plot(line, toy.density(line), "k:", linewidth=2, label="$p_{data}$")
    axes.plot(x, p_g, color=GREEN, linewidth=2, label="$p_g$")
    axes.plot(line, view.d, "--", color=BLUE, linewidth=2, label="$D(x)$")
    axes.plot(*best_discriminator(toy, view), color="lightskyblue", linewidth=1, zorder=1, label="$D^*(x)$")
    axes.axhline(0.5, color=GREY, linewidth=0.5)
    chosen = _spread_out(len(view.x), ARROWS)
    axes.quiver(  # two and a half times as long as they are
        view.x[chosen, 0], np.full(len(chosen), -0.08), view.push[chosen, 0], np.zeros(len(chosen)), color=RED,
        angles="xy", scale_units="xy", scale=0.4, width=0.006, label=r"$-\partial L_G / \partial x$",
    )  # fmt: skip
    axes.set(xlim=(-toy.window, toy.window), ylim=(-0.15, 1.15))
    axes.tick_params(labelsize=8)


def _draw_mapping(axes: "Axes", toy: Toy, view: View) -> None:
    """The paper's two lines: z below, x above, and an arrow from one to the other. z is stretched to the same width."""
    reach = abs(view.z).max()
    chosen = _spread_out(len(view.z), ARROWS)
    z, x = view.z[chosen, 0] * (toy.window / reach), view.x[chosen, 0]
    axes.hlines([0, 1], -toy.window, toy.window, color="k", linewidth=1)
    axes.quiver(
        z, np.zeros(len(z)), x - z, np.ones(len(z)), angles="xy", scale_units="xy", scale=1, width=0.004, color=GREY
    )
    axes.text(-toy.window, 1.05, "$x$", fontsize=10)
    axes.text(-toy.window, -0.3, "$z$", fontsize=10)
    axes.set(xlim=(-toy.window, toy.window), ylim=(-0.35, 1.3))
    axes.axis("off")


def _draw_plane(figure: "Figure", toy: Toy, views: Sequence[View]) -> None:
    """D as colour, data grey, samples green, each with its arrow, of a critic lines of equal score."""
    real = toy.real(np.random.default_rng(0), REAL)
    extent = (-toy.window, toy.window, -toy.window, toy.window)
    critic = toy.game.loss.critic
    lowest, highest = (-toy.window, toy.window) if critic else (0, 1)
    places = figure.subplots(*_grid(len(views)), squeeze=False)
    for axes, view in zip_longest(places.flat, views):
        if view is None:
            axes.axis("off")
            continue
        surface = view.d.reshape(SURFACE, SURFACE)
        image = axes.imshow(surface, extent=extent, origin="lower", cmap="RdBu", vmin=lowest, vmax=highest, alpha=0.6)
        if critic:
            levels = np.linspace(lowest, highest, LEVELS)
            axes.contour(surface, levels, extent=extent, colors="0.35", linewidths=0.5, linestyles="solid")
        axes.scatter(*real.T, s=2, color="0.25", linewidths=0, label="data")
        axes.scatter(*view.x.T, s=7, color=GREEN, linewidths=0, label="$G(z)$")
        chosen = np.arange(min(PLANE_ARROWS, len(view.x)))
        arrows = view.push[chosen] / 4
        arrows *= np.minimum(1, LONGEST / np.maximum(np.linalg.norm(arrows, axis=1, keepdims=True), 1e-9))
        axes.quiver(
            *view.x[chosen].T, *arrows.T, color="k", angles="xy", scale_units="xy", scale=1, width=0.004,
            label=rf"$-\partial L_G / \partial x$, a quarter, at most {LONGEST}",
        )  # fmt: skip
        axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
        axes.set_title(f"after {view.step} rounds", fontsize=10)
        axes.tick_params(labelsize=8)
    _explain(figure, places[0, 0], columns=3)
    figure.colorbar(
        image,
        ax=places,
        shrink=0.6,
        label=r"$f(x) - \langle f(G(z)) \rangle$" if critic else "$D(x)$",
        location="right",
        pad=0.02,
    )


def _grid(count: int) -> tuple[int, int]:
    """Rows and columns for so many pictures: up to three side by side, more in as many rows as columns."""
    columns = count if count < 4 else math.ceil(math.sqrt(count))
    return math.ceil(count / columns), columns


def _explain(figure: "Figure", axes: "Axes", columns: int) -> None:
    """What everything in these axes is, below the figure: an arrow as one, and points large enough to be seen."""
    from matplotlib.colors import to_rgba_array
    from matplotlib.lines import Line2D
    from matplotlib.quiver import Quiver

    handles, labels = axes.get_legend_handles_labels()
    for number, handle in enumerate(handles):
        if isinstance(handle, Quiver):
            (colour,) = to_rgba_array(handle.get_facecolor())
            arrow = Line2D([], [], color=tuple(colour), marker=r"$\rightarrow$", markersize=6, linestyle="none")
            handles[number] = arrow
    looks = {"fontsize": 8, "frameon": False, "markerscale": 2.5}
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, **looks)


def _spread_out(count: int, wanted: int) -> np.ndarray:
    """Up to `wanted` numbers from 0 to count - 1, equally far from each other."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(int))
