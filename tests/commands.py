"""Commands as a person starts them, but in this process: one of its own takes a second to import everything."""

import contextlib
import io
import os
import re
import runpy
import sys
import warnings
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch


class Done(NamedTuple):
    """What a command has left."""

    returncode: int
    stdout: str
    stderr: str


def run(cwd: Path, module: str, *arguments: object) -> Done:
    """What ``python -m module ARGUMENTS`` does in this folder, to its end; bytes that are no text come escaped."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.dict(os.environ, COLUMNS="80"),
        patch.object(sys, "argv", [module, *map(str, arguments)]),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", r"'\S+' found in sys\.modules", RuntimeWarning)  # by an earlier test
        code = _exit_code(module)
    return Done(code, *(stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in (out, err)))


def error_of(done: Done) -> str:
    """The error of a command that failed as it should: one line, and no traceback in any disguise."""
    assert "Traceback" not in done.stdout + done.stderr
    assert "internal error" not in done.stderr
    assert re.fullmatch(r"minigan: error: .+\n", done.stderr), done.stderr
    return done.stderr


def _exit_code(module: str) -> int:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0
