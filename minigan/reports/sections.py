"""The facts, charts and histograms of a page, from a run's contents."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from minigan.recipes import RECIPES
from minigan.reports.axes import Axis, linear_axis
from minigan.reports.charts import (
    PROBABILITY,
    Bars,
    Chart,
    Series,
    chart,
    class_bars,
    largest_share,
    layer_tones,
    mirrored_bars,
)
from minigan.reports.contents import Contents, Evaluation
from minigan.reports.numbers import shown
from minigan.runs.checkpoint import step_of
from minigan.runs.doctor import WINDOW
from minigan.runs.vitals import Vitals

CLASSES = 20  # of samples, up to which their shares are drawn
COLUMNS = (("loss of D", "loss_d"), ("loss of G", "loss_g"), ("D(x)", "d_real"), ("D(G(z))", "d_fake"))


class Inside(NamedTuple):
    """How a field of the vitals is drawn."""

    field: str
    title: str
    about: str
    log: bool = False
    up: Axis | None = None
    rule: tuple[float, str] | None = None


INSIDE = (
    Inside("gradients", "Gradients", "norm of the loss's gradient, by layer", log=True),
    Inside("updates", "Updates", "change of the weights in a round, relative to them, by layer", log=True,
           rule=(1e-3, "a thousandth, a rule of thumb")),
    Inside("dead", "Dead units", "share of rectifiers that no sample switches on, by layer", up=PROBABILITY),
    Inside("saturated", "Saturation", "share of outputs where the activation is flat; G's pixels should often be",
           up=PROBABILITY),
)  # fmt: skip


def last_step(contents: Contents) -> int:
    """The last round that anything is known of."""
    ends = [row["step"] for row in contents.rows[-1:]] + [step_of(path) for path in contents.samples[-1:]]
    ends += [vitals.step for vitals in contents.vitals[-1:]] + [line.steps[-1] for line in contents.scores[:1]]
    return int(max((end for end in ends if np.isfinite(end)), default=0))


def facts(contents: Contents) -> list[tuple[str, str]]:
    """(name, value): what the run is, and how it ended."""
    settings, recent = contents.settings, contents.rows[-WINDOW:]
    found = [("steps", _steps(contents))]
    found += [(key.replace("_", " "), str(settings[key])) for key in ("data", "batch_size", "seed") if key in settings]
    if recent:
        means = {name: sum(row[column] for row in recent) / len(recent) for name, column in _columns(contents)}
        found += [(name, shown(mean)) for name, mean in means.items()]
    return found


def _steps(contents: Contents) -> str:
    """``1,200 of 3,000``, where it is known how many there were to be."""
    last, settings = last_step(contents), contents.settings
    goal = settings.get("steps") or (RECIPES[contents.recipe]().steps if contents.recipe else None)
    if "epochs" in settings or not isinstance(goal, int) or goal <= last:
        return f"{last:,}"
    return f"{last:,} of {goal:,}"


def curve_charts(contents: Contents, last: float) -> list[Chart]:
    """The losses of both players, and what D thinks, unless it is a critic."""
    steps = np.array([row["step"] for row in contents.rows])

    def series(column: str, label: str, tone: str) -> Series:
        return Series(label, tone, steps, np.array([row[column] for row in contents.rows]))

    losses = [series("loss_d", "discriminator", "real"), series("loss_g", "generator", "fake")]
    thoughts = [
        series("d_real", "D(x), real images", "real"),
        series("d_fake", "D(G(z)), in D's step", "fake"),
        series("d_fake_g", "D(G(z)), in G's step", "late"),
    ]
    about = "mean probability of being real"
    found = [chart("Losses", "mean over the images of a batch", losses, last)]
    if not contents.critic:
        found += [chart("What D thinks", about, thoughts, last, up=PROBABILITY, rule=(0.5, "undecided"))]
    return _made(found)


def network_charts(vitals: Sequence[Vitals], last: float) -> list[Chart]:
    """What goes on in each layer, of G and of D, and how much the samples differ."""
    steps = np.array([float(line.step) for line in vitals])

    def by_layer(field: str, player: str) -> list[Series]:
        tables = [getattr(line, field)[player] for line in vitals]
        layers = list(dict.fromkeys(layer for table in tables for layer in table))
        values = (np.array([table.get(layer, np.nan) for table in tables], float) for layer in layers)
        return [
            Series(*line) for line in zip(layers, layer_tones(len(layers)), [steps] * len(layers), values, strict=True)
        ]

    found = [
        chart(f"{inside.title} in {player}", inside.about, by_layer(inside.field, player), last,
              log=inside.log, up=inside.up, rule=inside.rule)
        for inside in INSIDE for player in ("G", "D")
    ]  # fmt: skip
    spread = Series("samples", "fake", steps, np.array([line.spread for line in vitals], float))
    about, up = (
        "how much the samples differ from each other, relative to the data",
        linear_axis(0, max([1, *spread.values])),
    )
    return _made([*found, chart("Diversity", about, [spread], last, up=up, rule=(1.0, "as the data"))])


def score_charts(contents: Contents, last: float) -> list[Chart]:
    """scores.csv: a chart for each column."""
    return _made([chart(line.label, "", [line], last) for line in contents.scores])


def _made(found: Sequence[Chart | None]) -> list[Chart]:
    return [made for made in found if made]


def histograms(vitals: Sequence[Vitals]) -> dict[int, Bars]:
    """By step: what D thinks of real and of generated images, all on one scale."""
    top = largest_share([counts for line in vitals for counts in (line.d_real, line.d_fake)])
    return {line.step: mirrored_bars(line.d_real, line.d_fake, top) for line in vitals}


def class_histograms(vitals: Sequence[Vitals]) -> dict[int, Bars]:
    """By step: the classes of the samples, where there was a classifier."""
    known = [(line.step, line.classes) for line in vitals if line.classes]
    top = largest_share([counts for _, counts in known])
    return {step: class_bars(counts, top) for step, counts in known}


def evaluated_classes(evaluation: Evaluation | None) -> Bars | None:
    """The classes of the samples that were scored, where a classifier knows them and they are few enough to draw."""
    if evaluation is None or not sum(evaluation.classes) or len(evaluation.classes) > CLASSES:
        return None
    return class_bars(evaluation.classes, largest_share([evaluation.classes]))


def measured_at(contents: Contents, step: int) -> list[tuple[str, str]]:
    """(name, value) of the last row up to a step; nothing before the first."""
    before = bisect_right(contents.rows, step, key=itemgetter("step"))
    return [(name, shown(contents.rows[before - 1][column])) for name, column in _columns(contents)] if before else []


def _columns(contents: Contents) -> Sequence[tuple[str, str]]:
    """What to tell of a row: of a critic both losses."""
    return COLUMNS[:2] if contents.critic else COLUMNS
