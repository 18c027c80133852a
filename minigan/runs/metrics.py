"""metrics.csv and scores.csv: one row every few rounds. No times are in them, so that equal runs give equal files."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from minigan.errors import DataError
from minigan.runs.lines import LinesFile, whole_lines

OPINIONS = ("d_real", "d_fake", "d_fake_g")  # what D thinks, which says nothing if it is a critic
COLUMNS = ("step", "loss_d", "loss_g", *OPINIONS)
PENALISED = (*COLUMNS, "penalty")  # of a run whose game has one, which D minimises together with loss_d

Row = dict[str, float]


def _header(columns: Sequence[str]) -> str:
    return ",".join(columns) + "\n"


HEADER = _header(COLUMNS)


class MetricsFile(LinesFile):
    """Appends rows to those of the rounds so far."""

    def __init__(self, path: Path, rows: Sequence[Row] = (), columns: Sequence[str] = COLUMNS) -> None:
        """Start a file with these rows, in place of an older one."""
        self._columns = columns
        super().__init__(path, [_header(columns), *map(self._line, rows)])

    def append(self, row: Row) -> None:
        self.write(self._line(row))

    def _line(self, row: Row) -> str:
        """A run that an older version began has rows that lack a column: what was not measured then is nan."""
        return ",".join(_digits(row.get(name, math.nan)) for name in self._columns) + "\n"


def _digits(number: float) -> str:
    """Nine of them give every float32 back exactly."""
    return f"{number:.9g}"


def as_read(row: Row) -> Row:
    """The row that will come back from the file: a resumed run draws the curves of one that was never stopped."""
    return {name: float(_digits(value)) for name, value in row.items()}


def read_metrics(path: Path, columns: Sequence[str] | None = COLUMNS) -> list[Row]:
    """All whole rows; a last line cut short by a crash is left out. Without columns, those that the file has.

    Raises DataError if this is no file of these columns; those of a run may have the penalty's behind them.
    """
    whole = whole_lines(path)
    header = _header(columns) if columns else "step,"
    headers = (header, _header(PENALISED)) if columns == COLUMNS else header
    try:
        if whole and not whole[0].startswith(headers):
            raise ValueError(f"its first line is not {header.strip()}")
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(whole)]
        if not all(0 <= row["step"] < 2**53 for row in rows):
            raise ValueError("a step that is no number of rounds")
        return rows
    except (TypeError, ValueError, csv.Error) as err:
        raise DataError(f"{path}: not a metrics file of minigan ({err})") from err
