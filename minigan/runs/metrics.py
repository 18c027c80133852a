"""metrics.csv: one row every few rounds. No times are in it, so that equal runs give equal files."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from minigan.errors import DataError
from minigan.runs.atomic import write_atomically

COLUMNS = ("step", "loss_d", "loss_g", "d_real", "d_fake", "d_fake_g")
HEADER = ",".join(COLUMNS) + "\n"

Row = dict[str, float]


class MetricsFile:
    """Appends rows to those of the rounds so far."""

    def __init__(self, path: Path, rows: Sequence[Row] = ()) -> None:
        """Start a file with these rows, in place of an older one."""
        write_atomically(path, (HEADER + "".join(map(_line, rows))).encode())
        self._file: TextIO = open(path, "a", encoding="ascii")  # noqa: SIM115  closed by close()

    def append(self, row: Row) -> None:
        """Write a row; it is on the disk after the next `sync`."""
        self._file.write(_line(row))
        self._file.flush()

    def sync(self) -> None:
        """Wait until all rows are on the disk: before a checkpoint that counts on them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class NoMetricsFile(MetricsFile):
    """Writes nothing: another process does."""

    def __init__(self) -> None:
        """There is no file."""

    def append(self, row: Row) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...


def read_metrics(path: Path) -> list[Row]:
    """All whole rows; a last line cut short by a crash is left out.

    Raises DataError if this is no metrics file.
    """
    lines = path.read_text(encoding="ascii", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    try:
        if whole[:1] not in ([], [HEADER]):
            raise ValueError(f"its first line is not {HEADER.strip()}")
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(whole)]
    except (TypeError, ValueError, csv.Error) as err:
        raise DataError(f"{path}: not a metrics file of minigan ({err})") from err


def _line(row: Row) -> str:
    """Nine digits give every float32 back exactly."""
    return ",".join(f"{row[name]:.9g}" for name in COLUMNS) + "\n"
