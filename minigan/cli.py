"""What all commands share: options from dataclasses, and errors as one line.

Exit codes: 0 done, 1 something failed while running, 2 wrong usage, 130 interrupted.
"""

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from minigan.errors import UsageError, UserError

Options = TypeVar("Options")

BOX = re.compile(r"[╭╮╰╯│─]+")


def parse(
    options: type[Options], argv: Sequence[str], *, prog: str, description: str, default: Options | None = None
) -> Options:
    """Options of a dataclass from command line arguments; every field is ``--its-name``.

    Raises UsageError with one line that names the option and, for a typo, what was probably meant.
    ``--help`` prints and leaves.
    """
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            chosen: Options = tyro.cli(
                options,
                args=list(argv),
                prog=prog,
                description=description,
                default=default,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
            return chosen
    except SystemExit as leave:
        if not leave.code:  # --help
            raise
        raise UsageError(f"{_condense(shown.getvalue())} ({prog} --help shows all options)") from None


def _condense(box: str) -> str:
    """The message of a boxed, multi-line error in one line."""
    lines = [BOX.sub(" ", line).strip() for line in box.splitlines()]
    lines = [line for line in lines if line and "help" not in line]
    title, *rest = lines or ["wrong usage"]
    text = " ".join(rest) or title
    return re.sub(r"\s+", " ", text).strip()


def run(command: Callable[[list[str]], int | None]) -> int:
    """Run a command on sys.argv and turn what goes wrong into one line and an exit code."""
    argv = sys.argv[1:]
    try:
        code = command(argv) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("minigan: interrupted", file=sys.stderr)
        return 130
    except Exception as err:
        if "--debug" in argv:
            traceback.print_exc()
        print(f"minigan: {_one_line(err)}", file=sys.stderr)
        return err.exit_code if isinstance(err, UserError) else 1
    return code


def _one_line(err: Exception) -> str:
    text = " ".join(str(err).split())
    if isinstance(err, UserError):
        return f"error: {text}"
    if isinstance(err, OSError):
        return f"error: {err.strerror or text}: {err.filename}" if err.filename else f"error: {text}"
    if isinstance(err, MemoryError):
        return "error: out of memory: try a smaller --batch-size"
    return f"internal error: {type(err).__name__}: {text} (--debug shows where)"
