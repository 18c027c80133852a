"""metrics.csv and scores.csv: one row every few rounds. No times are in them, so that equal runs give equal files."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from minigan.errors import DataError
from minigan.runs.atomic import write_atomically

COLUMNS = ("step", "loss_d", "loss_g", "d_real", "d_fake", "d_fake_g")

Row = dict[str, float]


class MetricsFile:
    """Appends rows to those of the rounds so far."""

    def __init__(self, path: Path, rows: Sequence[Row] = (), columns: Sequence[str] = COLUMNS) -> None:
        """Start a file with these rows, in place of an older one."""
        self._columns = columns
        write_atomically(path, (_header(columns) + "".join(map(self._line, rows))).encode())
        self._file: TextIO = open(path, "a", encoding="ascii")  # noqa: SIM115  closed by close()

    def append(self, row: Row) -> None:
        """Write a row; it is on the disk after the next `sync`."""
        self._file.write(self._line(row))
        self._file.flush()

    def sync(self) -> None:
        """Wait until all rows are on the disk: before a checkpoint that counts on them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _line(self, row: Row) -> str:
        """Nine digits give every float32 back exactly."""
        return ",".join(f"{row[name]:.9g}" for name in self._columns) + "\n"


def read_metrics(path: Path, columns: Sequence[str] | None = COLUMNS) -> list[Row]:
    """All whole rows; a last line cut short by a crash is left out. Without columns, those that the file has.

    Raises DataError if this is no file of these columns.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    header = _header(columns) if columns else "step,"
    try:
        if whole and not whole[0].startswith(header):
            raise ValueError(f"its first line is not {header.strip()}")
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(whole)]
    except (TypeError, ValueError, csv.Error) as err:
        raise DataError(f"{path}: not a metrics file of minigan ({err})") from err


def _header(columns: Sequence[str]) -> str:
    return ",".join(columns) + "\n"
