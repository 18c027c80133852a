"""metrics.csv: one row every few rounds. No times are in it, so that equal runs give equal files."""

import csv
from collections.abc import Sequence
from pathlib import Path

from minigan.errors import DataError
from minigan.runs.lines import LinesFile, whole_lines

COLUMNS = ("step", "loss_d", "loss_g", "d_real", "d_fake", "d_fake_g")
HEADER = ",".join(COLUMNS) + "\n"

Row = dict[str, float]


class MetricsFile(LinesFile):
    """Appends rows to those of the rounds so far."""

    def __init__(self, path: Path, rows: Sequence[Row] = ()) -> None:
        """Start a file with these rows, in place of an older one."""
        super().__init__(path, [HEADER, *map(_line, rows)])

    def append(self, row: Row) -> None:
        self.write(_line(row))


def read_metrics(path: Path) -> list[Row]:
    """All whole rows; a last line cut short by a crash is left out.

    Raises DataError if this is no metrics file.
    """
    whole = whole_lines(path)
    try:
        if whole[:1] not in ([], [HEADER]):
            raise ValueError(f"its first line is not {HEADER.strip()}")
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(whole)]
    except (TypeError, ValueError, csv.Error) as err:
        raise DataError(f"{path}: not a metrics file of minigan ({err})") from err


def _line(row: Row) -> str:
    """Nine digits give every float32 back exactly."""
    return ",".join(f"{row[name]:.9g}" for name in COLUMNS) + "\n"
