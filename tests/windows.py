"""A command of minigan on a system that lacks and forbids what Windows does, as far as that can be had on Linux.

``python -X warn_default_encoding tests/windows.py minigan.train --steps 10``. Sources: the documentation of Python's
`os` and `signal` ("Availability: Unix"), of `os.DirEntry.stat`, and of CreateFileW (names, sharing).
"""

import builtins
import errno
import os
import runpy
import signal
import sys
import warnings
from pathlib import Path

LACKING = {
    os: (
        "sched_getaffinity", "sched_setaffinity", "register_at_fork", "fork", "killpg", "getloadavg", "statvfs",
        "getuid", "geteuid", "getpgid", "mkfifo", "fchmod", "chown", "sysconf", "sync", "posix_fadvise",
    ),
    signal: ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGALRM", "SIGUSR1", "alarm", "setitimer", "pthread_sigmask"),
}  # fmt: skip
FORBIDDEN = set('<>:"|?*')  # in the name of a file


def in_use(path: object) -> bool:
    """Whether this process has the file open, or anything in the folder; or has it in its memory."""
    real = os.path.realpath(os.fspath(path))
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    taken = [os.readlink(link) for link in links if os.path.lexists(link)]
    with _open("/proc/self/maps", encoding="utf-8") as maps:
        taken += [line.split(maxsplit=5)[-1].strip() for line in maps]
    return any(file == real or file.startswith(f"{real}/") for file in taken)


def asked_by_others() -> bool:
    """filelock and tempfile have another way for each system, and take that for Linux here."""
    frame = sys._getframe()
    while frame := frame.f_back:
        if {"filelock", "tempfile.py"} & set(Path(frame.f_code.co_filename).parts):
            return True
    return False


def not_while_open(act):
    def careful(*paths, **options):
        if not asked_by_others() and any(in_use(path) for path in paths if isinstance(path, str | os.PathLike)):
            raise PermissionError(errno.EACCES, "the file is used by a process", str(paths[0]))
        return act(*paths, **options)

    return careful


def with_such_names(act):
    def careful(path, *arguments, **options):
        if act is _open and sys._getframe(1).f_globals["__name__"].startswith("minigan"):
            binary = any("b" in str(mode) for mode in (*arguments[:1], options.get("mode", "")))
            assert binary or "encoding" in options, f"{path} is opened as text, without saying how it is written"
        if isinstance(path, str | os.PathLike) and FORBIDDEN & set(os.path.basename(os.fspath(path))):
            raise OSError(errno.EINVAL, "no name for a file", str(path))
        return act(path, *arguments, **options)

    return careful


def no_folders(act):
    def careful(path, flags, *arguments, **options):
        if os.path.isdir(path) and not asked_by_others():
            raise PermissionError(errno.EACCES, "a folder cannot be opened", str(path))
        return act(path, flags, *arguments, **options)

    return careful


class Entry:
    """An os.DirEntry that tells no st_dev and no st_ino."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self._entry = entry

    def stat(self, **options: bool) -> os.stat_result:
        found = list(self._entry.stat(**options))
        found[1:4] = 0, 0, 0  # st_ino, st_dev, st_nlink
        return os.stat_result(found)

    def __fspath__(self) -> str:
        return self._entry.path

    def __getattr__(self, name: str) -> object:
        return getattr(self._entry, name)


class Entries:
    def __init__(self, *path: object) -> None:
        self._entries = _scandir(*path)

    def __iter__(self):
        return map(Entry, self._entries)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.close()


_open, _scandir = builtins.open, os.scandir


def become_windows() -> None:
    for module, names in LACKING.items():
        for name in names:
            module.__dict__.pop(name, None)
    for name in ("replace", "rename", "unlink", "remove", "rmdir"):
        setattr(os, name, not_while_open(getattr(os, name)))
    os.open = no_folders(with_such_names(os.open))
    os.mkdir = with_such_names(os.mkdir)
    builtins.open = with_such_names(builtins.open)
    os.scandir = Entries
    for of_unix in ("resource", "pwd", "grp", "termios", "syslog"):
        sys.modules[of_unix] = None
    # Text that is written without saying how would be in another encoding there.
    warnings.filterwarnings("error", category=EncodingWarning, module=r"minigan(\.|$)")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    become_windows()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
