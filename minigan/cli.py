"""What all commands share: options from dataclasses, and errors as one line.

Exit codes: 0 done, 1 something failed while running, 2 wrong usage, 130 interrupted.
"""

import contextlib
import errno
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

import tyro

from minigan.errors import UsageError, UserError, machine_failure
from minigan.processor import choose_blas_kernels

Options = TypeVar("Options")

ON_WINDOWS = os.name == "nt"
CLOSED = (errno.EPIPE, *([errno.EINVAL] if ON_WINDOWS else []))  # what a pipe says that has been closed (bpo-19612)
NOBODY = (*CLOSED, errno.EIO)  # reads: that, or a terminal that is gone
LONGEST = 2000  # characters of a message
NARROW, WIDE = 40, 10_000  # columns, between which help can be laid out
# What Python, or tyro where an option may be left out, says of a word that is no number.
NOT_A_NUMBER = (
    r"Error parsing (--[a-z0-9-]+): (?:no type matching .* )?"
    r"(invalid literal for int\(\) with base 10|could not convert string to float): ('.*')"
)
NUMBERS = {"invalid literal for int() with base 10": "a whole number", "could not convert string to float": "a number"}
FILES: list[str] = []  # what `minigan --with FILE` has run in this process, before the command
FOR_CMD = set("&|<>^(),;%")  # what the command prompt of Windows reads in words without quotes
BOX = re.compile(r"[╭╮╰╯│─]+|-{9,}")  # of a terminal with Unicode, or without


def parse(
    options: type[Options], argv: Sequence[str], *, prog: str, description: str, default: Options | None = None
) -> Options:
    """Options of a dataclass from command line arguments; every field is ``--its-name``.

    Raises UsageError with one line that names the option and, for a typo, what was probably meant.
    ``--help`` prints and leaves.
    """
    shown = io.StringIO()
    if not NARROW <= _columns() <= WIDE:
        os.environ["COLUMNS"] = str(NARROW)
    try:
        with contextlib.redirect_stderr(shown):
            chosen: Any = tyro.cli(
                options,
                args=list(argv),
                prog=prog,
                description=description,
                default=default,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as leave:
        if not leave.code:  # --help
            raise
        hint = "--with comes before the command, ; " if "--with" in argv else ""
        raise UsageError(f"{_condense(shown.getvalue())} ({hint}{prog} --help shows all options)") from None
    checked: Options = chosen
    return checked


def program(command: str) -> str:
    """How the user starts a command in this process, for a shell."""
    return shell_line(program_words(command))


def program_words(command: str) -> list[str]:
    """The same as its words."""
    if not FILES:
        return ["python", "-m", f"minigan.{command}"]
    return ["minigan", *(word for file in FILES for word in ("--with", file)), command]


def path_word(path: Path) -> str:
    """The path as a word for a shell, which no command takes for an option."""
    return shell_line([f"./{path}" if str(path).startswith("-") else str(path)])


def shell_line(words: Sequence[str]) -> str:
    """The words as a line to type: on Windows with double quotes, the only ones that its command prompt knows."""
    return " ".join(map(_for_cmd, words)) if ON_WINDOWS else shlex.join(words)


def _for_cmd(word: str) -> str:
    quoted = subprocess.list2cmdline([word])
    return f'"{quoted}"' if FOR_CMD & set(word) and not quoted.startswith('"') else quoted


def _columns() -> int:
    try:
        return shutil.get_terminal_size().columns
    except ValueError:  # COLUMNS has thousands of digits
        return 0


def parse_known(options: type[Options], argv: Sequence[str]) -> Options:
    """Only the options of this dataclass, wherever they stand; whatever else there is, is left alone.

    Anything wrong with them is left to the full `parse`, which knows all options.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found, _ = tyro.cli(
                options,
                args=list(argv),
                return_unknown_args=True,
                add_help=False,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit:
        return options()
    known: Options = found
    return known


def _condense(box: str) -> str:
    """The message of a boxed, multi-line error in one line."""
    lines = [BOX.sub(" ", line).strip() for line in box.splitlines()]
    # Without tyro's own words around the message; a user's word may be "help", too.
    lines = [line for line in takewhile(lambda line: not line.startswith("For full helptext"), lines) if line]
    lines = [line for line in lines if line != "Argument helptext:"]
    title, *rest = lines or ["wrong usage"]
    text = re.sub(r"\s+", " ", " ".join(rest) or title)
    text = re.sub(r" Perhaps you meant: (--\S+).*", r"; did you mean \1?", text)
    text = re.sub(NOT_A_NUMBER, lambda found: f"{found[1]} takes {NUMBERS[found[2]]}, got {found[3]}", text)
    # What follows is the option's line of the help: " --steps {None}|INT how many (default: 100)".
    return re.sub(r" --[a-z0-9-]+ \S*[A-Z]{3}\S* .*\(default: .*", "", text).strip()


def run(command: Callable[[list[str]], int | None], stops_unread: bool = False) -> int:
    """Run a command on sys.argv and turn what goes wrong into one line and an exit code.

    Where nobody reads its output any more, as after `... | head -1`, a command does its work all the same, silently;
    one that `stops_unread` gets the error, and may stop.
    """
    argv = sys.argv[1:]
    _mend_streams()
    # Pictures go to files. A notebook sets a backend that this environment may not have, and a user's own settings may
    # ask for programs or fonts that are not there.
    os.environ |= {"MPLBACKEND": "Agg", "MATPLOTLIBRC": os.devnull}
    choose_blas_kernels()
    stdout = sys.stdout
    if not stops_unread:
        sys.stdout = cast(TextIO, Patient(stdout))
    try:
        code = command(argv) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("minigan: interrupted", file=sys.stderr)
        return 130
    except Exception as err:
        closed = isinstance(err, OSError) and err.errno in CLOSED and not err.filename
        if stops_unread and closed:  # before there was anything to stop
            hush(stdout)
            return 0
        if "--debug" in argv:
            traceback.print_exc()
        print(f"minigan: {_one_line(err)}", file=sys.stderr)
        return err.exit_code if isinstance(err, UserError) else 1
    finally:
        sys.stdout = stdout
    return code


class Patient:
    """A stream that swallows what it is given from when nobody reads it any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as err:
            if err.errno not in NOBODY:
                raise
            hush(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def hush(stream: TextIO) -> None:
    """Let the stream swallow what is printed from here on: nobody reads it any more."""
    with contextlib.suppress(io.UnsupportedOperation, AttributeError):  # no stream of the system's
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _mend_streams() -> None:
    """Let a closed stream swallow what is printed, and show bytes of a path that are no text escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: >&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  to the end of the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _one_line(err: Exception) -> str:
    text = " ".join(str(err).split())
    if len(text) > LONGEST:  # what a file claims may be of any length
        text = f"{text[: LONGEST - 100]} ... {text[-90:]}"
    if isinstance(err, UserError):
        return f"error: {text}"
    if isinstance(err, OSError):
        text = err.strerror or text
        return f"error: {text}: {err.filename}" if err.filename else f"error: {text}"
    if words := machine_failure(err):
        return f"error: {words}"
    if line := line_of(err, FILES):
        return f"error in {line}: {type(err).__name__}: {text}"
    return f"internal error: {type(err).__name__}: {text} (--debug shows where)"


def line_of(err: BaseException, files: Sequence[str]) -> str:
    """In which line of somebody's own files an error arose, as "FILE, line N"; empty if in none of them."""
    paths = {str(Path(file).absolute()) for file in files}
    calls = reversed(traceback.extract_tb(err.__traceback__))
    return next((f"{Path(call.filename).name}, line {call.lineno}" for call in calls if call.filename in paths), "")
