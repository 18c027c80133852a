"""Writing files so that a crash at any moment leaves either the old file or the new one."""

import contextlib
import errno
import os
import shutil
import time
from importlib import import_module
from pathlib import Path

FULL_SYNC = getattr(import_module("fcntl"), "F_FULLFSYNC", None) if os.name == "posix" else None  # fsync(2) of macOS
DAY = 24 * 3600  # seconds: no write takes as long
TEMPORARY = ".minigan-tmp-"  # prefix of files being written; whatever of it is found at the start is stale
# What some file systems say that cannot synchronise a folder: those shared with a virtual machine's host, of a network.
NO_FOLDER_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)
WAITS = (0.01, 0.1, 1.0)  # seconds between attempts to put a file in place


def write_atomically(path: Path, *content: bytes | memoryview) -> None:
    """Write a file in full or not at all, even if the machine loses power.

    The content, of one piece or several, goes to a temporary file in the same folder and to the disk (fsync); then
    one rename puts it in place, and the folder itself is synchronised so that the rename survives too.
    Raises OSError, with nothing changed, if it cannot be written; folders and devices are not replaced.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with open(temporary, "wb") as file:
            for piece in content:
                file.write(piece)
            file.flush()
            to_disk(file.fileno())
        put_in_place(temporary, path)
    except BaseException as err:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(err, OSError):
            err.filename = str(path)  # the name that the caller knows
        raise
    _sync_folder(path.parent)


def to_disk(descriptor: int) -> None:
    """Wait until what was written is on the disk; on macOS fsync waits for the drive to have it in its memory only."""
    if FULL_SYNC is not None:
        with contextlib.suppress(OSError):  # not of this kind of file system
            import_module("fcntl").fcntl(descriptor, FULL_SYNC)
            return
    os.fsync(descriptor)


def put_in_place(temporary: Path, path: Path) -> None:
    """Windows refuses while another program has one of both open: a virus scanner has each new file, for a moment."""
    for wait in WAITS:
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            time.sleep(wait)
    os.replace(temporary, path)


def remove_stale(folder: Path) -> None:
    """Remove what interrupted writes left behind. Only for the owner of the folder's lock.

    What belongs to another process that is there stays: a score, say, that is just being written.
    """
    for path in folder.glob(f"{TEMPORARY}*"):
        if _is_being_written(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(PermissionError):  # on Windows: somebody has it open, so it is not stale
                path.unlink(missing_ok=True)


def _is_being_written(path: Path) -> bool:
    """Whether another process of the number in its name is there, and the file is not older than any write takes."""
    process = path.name.removeprefix(TEMPORARY).partition("-")[0]
    if os.name != "posix" or not process.isdecimal() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)  # no signal
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is there, and somebody else's
    try:
        return time.time() - path.stat().st_mtime < DAY
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder; elsewhere one may be written to and not read
        return
    try:
        os.fsync(descriptor)
    except OSError as err:
        if err.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
