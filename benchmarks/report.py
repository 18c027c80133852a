"""Results: summed up, as a table for the screen and the documentation, and as JSON."""

import errno
import io
import json
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import described, machine, warning
from minigan.errors import UsageError
from minigan.gradcheck.plot import check_ending
from minigan.runs.atomic import TEMPORARY, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILES = ("json", "write", "plot")  # options that name a file to be written


@dataclass(frozen=True)
class Output:
    """Options that all benchmarks share."""

    json: Path | None = None
    """file for the results, with the machine and all settings"""
    write: Path | None = None
    """Markdown page whose section for this table is replaced (docs/benchmarks.md)"""
    debug: bool = False
    """show the traceback of an error"""


@dataclass(frozen=True)
class Summary:
    """Seconds: median, best, and the quartiles between which half of the measurements lie."""

    median: float
    best: float
    lower: float
    upper: float
    count: int

    @classmethod
    def of(cls, times: Sequence[float]) -> "Summary":
        """Of at least one measurement."""
        lower, median, upper = statistics.quantiles(times, method="inclusive") if len(times) > 1 else 3 * [times[0]]
        return cls(median, min(times), lower, upper, len(times))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that can be read as it is: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * (width - 1) + ":") if column else "-" * width for column, width in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def counted(count: int, what: str) -> str:
    """``1 block``, ``2 blocks``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def milliseconds(seconds: float) -> str:
    """Three digits."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


class Report:
    """One run of a benchmark: the machine as it was at the start, and where the results go."""

    def __init__(self, name: str, argv: Sequence[str], output: Output, *, timed: bool = True) -> None:
        """`timed`: whether a busy machine spoils what is measured."""
        self.name, self.output = name, output
        self.command = shlex.join(["python", "-m", f"benchmarks.{name}", *without_outputs(argv)])
        check_files(output)  # complains now rather than after the measurement
        if output.write is not None:
            section(read_page(output.write), name, "")
        self.machine = machine()
        self.warning = warning(self.machine) if timed else ""
        if self.warning:
            print(self.warning, file=sys.stderr, flush=True)

    def publish(self, text: str, results: Any, **facts: Any) -> None:
        """Print the tables, and write them and the results where they were asked for."""
        notes = [f"`{self.command}`", described(self.machine), self.warning]
        text = "\n\n".join([text, *filter(None, notes)])
        print(text, flush=True)
        if self.output.json is not None:
            document = {"benchmark": self.name, "command": self.command, "machine": self.machine, **facts}
            content = json.dumps(document | {"results": results}, indent=1, default=str) + "\n"
            write_atomically(self.output.json, content.encode())
        if self.output.write is not None:
            page = section(read_page(self.output.write), self.name, text)
            write_atomically(self.output.write, page.encode())


def without_outputs(argv: Sequence[str]) -> list[str]:
    """The arguments that decide what is measured."""
    kept, skip, files = [], False, [f"--{name}" for name in FILES]
    for word in argv:
        if not skip and word.partition("=")[0] not in (*files, "--debug"):
            kept.append(word)
        skip = not skip and word in files
    return kept


def check_files(output: Output) -> None:
    """Raises UsageError, with the option's name, for a file that could not be written in the end."""
    for name in FILES:
        path = getattr(output, name, None)
        if path is None:
            continue
        if name == "plot":
            check_ending(path)
        try:
            try_to_write(path)
        except OSError as err:
            raise UsageError(f"--{name} {path}: {err.strerror}") from err


def try_to_write(path: Path) -> None:
    """Raises OSError where `write_atomically` would, and leaves nothing behind."""
    with tempfile.NamedTemporaryFile(prefix=f"{TEMPORARY}{path.name}", dir=path.parent):
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "not a regular file", str(path))


def save(figure: "Figure", path: Path) -> None:
    """The picture as a file, in full or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format=path.suffix[1:])
    write_atomically(path, buffer.getvalue())


def read_page(path: Path) -> str:
    """Raises UsageError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as err:
        raise UsageError(f"--write {path}: {err.strerror}") from err


def section(page: str, name: str, text: str) -> str:
    """The page with `text` between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.

    Raises UsageError if the page has no such place.
    """
    marker, end = f"<!-- table: {name} -->\n", "<!-- end of table -->"
    before, found, rest = page.partition(marker)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise UsageError(f"--write: the page has no place for this table: {marker.strip()} and {end} below it")
    return f"{before}{marker}\n{text}\n\n{end}{after}"
