"""report.html: put together and written."""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from minigan import __version__
from minigan.errors import DataError, UsageError
from minigan.reports import charts, layout, pictures, sections
from minigan.reports.charts import Bars
from minigan.reports.contents import Contents, read_contents, unreadable
from minigan.reports.numbers import printable, shown
from minigan.reports.pictures import Picture
from minigan.runs.atomic import write_atomically
from minigan.runs.checkpoint import step_of
from minigan.runs.doctor import WINDOW, in_a_word, too_early
from minigan.runs.folder import RunFolder

TEMPLATE = files("minigan.reports") / "template"


@dataclass(frozen=True)
class Frame:
    """A position of the slider: the samples of a step, and what was measured there."""

    step: int
    x: float  # of the step in all charts of curves
    picture: Picture
    measured: list[tuple[str, str]]
    opinions: Bars | None
    classes: Bars | None


def write_report(folder: RunFolder, out: Path | None = None) -> Path:
    """Make the page of a run, as `out` or in its folder; returns where it is.

    Nothing about the time or the place of the run is in it, so that equal runs give equal pages.
    Raises UsageError if the folder holds no run, OSError if the page cannot be written.
    """
    if not (folder.config.exists() or folder.metrics.exists() or folder.sample_files()):
        raise UsageError(f"{folder.path} holds no run of minigan: there is no config.toml, and nothing else to report")
    path = out or folder.report
    write_atomically(path, render(folder).encode())
    return path


def render(folder: RunFolder) -> str:
    """The page as text."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part), autoescape=True, undefined=jinja2.StrictUndefined, finalize=printable,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["shown"] = shown
    contents = read_contents(folder)
    notes = list(contents.notes)
    last = sections.last_step(contents)
    style, script = _part("report.css"), _part("report.js")
    return environment.get_template("report.html").render(
        contents=contents,
        last_step=last,
        last_rows=WINDOW,
        facts=sections.facts(contents),
        in_a_word=in_a_word(contents.rows, contents.diagnoses, contents.critic),
        too_early=too_early(contents.vitals),
        frames=frames(folder, contents, last, notes),
        curves=sections.curve_charts(contents, last),
        networks=sections.network_charts(contents.vitals, last),
        scores=sections.score_charts(contents, last),
        evaluated_classes=sections.evaluated_classes(contents.evaluation),
        neighbours=_picture(folder, folder.neighbours, pictures.BUDGET // pictures.MOST, notes),
        notes=notes,
        box=layout,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=__version__,
    )


def frames(folder: RunFolder, contents: Contents, last: int, notes: list[str]) -> list[Frame]:
    """The positions of the slider; pictures that cannot be read are left out, with a note."""
    opinions = {} if contents.critic else sections.histograms(contents.vitals)
    classes = sections.class_histograms(contents.vitals)
    paths = pictures.chosen(contents.samples)
    found = []
    for path in paths:
        step, picture = step_of(path), _picture(folder, path, pictures.BUDGET // len(paths), notes)
        if picture is not None:
            measured = sections.measured_at(contents, step)
            x = charts.place_of(step, last)
            found.append(Frame(step, x, picture, measured, opinions.get(step), classes.get(step)))
    return found


def _picture(folder: RunFolder, path: Path, budget: int, notes: list[str]) -> Picture | None:
    if not path.exists():
        return None
    try:
        return pictures.embedded(path, budget)
    except DataError as err:
        notes.append(unreadable(folder, path, err))
        return None


def _part(name: str) -> str:
    return (TEMPLATE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a Content-Security-Policy allows: this very text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
