"""Files that grow by a line at a time, and come back whole whatever interrupted the writing."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from minigan.runs.atomic import to_disk, write_atomically


class LinesFile:
    """Appends lines, each with its newline, to those so far."""

    def __init__(self, path: Path, lines: Iterable[str] = ()) -> None:
        """Start a file with these lines, in place of an older one."""
        write_atomically(path, "".join(lines).encode())
        self._file: TextIO = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115  closed by close()

    def write(self, line: str) -> None:
        """Write a line; it is on the disk after the next `sync`."""
        self._file.write(line)
        self._file.flush()

    def sync(self) -> None:
        """Wait until all lines are on the disk: before a checkpoint that counts on them."""
        to_disk(self._file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a line that there is no room for, which `write` has told of
            self._file.close()


def whole_lines(path: Path) -> list[str]:
    """The lines that end with a newline: all but a last one cut short by a crash."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]
