"""Files that grow by a line at a time."""

import os
from pathlib import Path

import pytest

from minigan.runs.lines import LinesFile, whole_lines


def test_lines_come_back_whole_and_behind_those_that_were_there(tmp_path: Path) -> None:
    file = LinesFile(tmp_path / "lines", ["a\n"])
    file.write("b\n")
    file.sync()
    file.write("cut sho")
    file.close()
    assert whole_lines(tmp_path / "lines") == ["a\n", "b\n"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_line_that_there_is_no_room_for_is_told_of_once(tmp_path: Path) -> None:
    """Closing would try it once more, and its error would hide the first one, which says what has been kept."""
    file = LinesFile(tmp_path / "lines")
    file._file.close()
    file._file = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115  closed by close()
    with pytest.raises(OSError, match=os.strerror(28)):
        file.write("a\n")
    file.close()
