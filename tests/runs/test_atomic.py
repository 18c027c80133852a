"""The atomic writer: the old file or the new one, whatever fails and whenever."""

import errno
import io
import os
import stat
import subprocess
import sys

import pytest

from minigan.runs import atomic
from minigan.runs.atomic import TEMPORARY, remove_stale, write_atomically

OLD, NEW = b"old", b"new content"


class FullDisk(io.BytesIO):
    """A file that takes a few bytes and then has no space left."""

    def write(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")


def fail(*_args):
    raise OSError(errno.EIO, "Input/output error")


def interrupt(*_args):
    raise KeyboardInterrupt


@pytest.mark.skipif(os.name != "posix", reason="processes are asked for in another way")
def test_what_another_process_writes_stays_and_what_nobody_writes_goes(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        kept = tmp_path / f"{TEMPORARY}{other.pid}-evaluation.json"
        for name in (kept.name, f"{TEMPORARY}{os.getpid()}-x", f"{TEMPORARY}{2**31 - 2}-x", f"{TEMPORARY}{10**30}-x"):
            (tmp_path / name).touch()
        remove_stale(tmp_path)
        assert temporaries(tmp_path) == [kept]
        os.utime(kept, (0, 0))  # from before this process began, surely
        remove_stale(tmp_path)
        assert temporaries(tmp_path) == []
        kept.touch()
        other.communicate(b"\n")
    remove_stale(tmp_path)
    assert temporaries(tmp_path) == []


def test_a_file_that_another_program_has_open_for_a_moment_is_replaced_after_it(path, monkeypatch):
    """A virus scanner on Windows."""
    waited, replace = [], os.replace

    def refused_at_first(source, target):
        if len(waited) < 2:
            raise PermissionError(errno.EACCES, "used by another process")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused_at_first)
    monkeypatch.setattr("time.sleep", waited.append)
    write_atomically(path, NEW)
    assert path.read_bytes() == NEW
    assert len(waited) == 2


def test_one_that_stays_open_is_told_of(path, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, "used by another process")

    monkeypatch.setattr(os, "replace", refused)
    monkeypatch.setattr("time.sleep", [].append)
    with pytest.raises(PermissionError, match="used by another process"):
        write_atomically(path, NEW)
    assert path.read_bytes() == OLD
    assert temporaries(path.parent) == []


def test_a_folder_that_cannot_be_opened_can_be_written_to(path, monkeypatch):
    """No folder can on Windows."""
    opened = os.open

    def no_folders(where, *arguments):
        if os.path.isdir(where):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(where, *arguments)

    monkeypatch.setattr(os, "open", no_folders)
    write_atomically(path, NEW)
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_that_synchronises_no_folders_can_be_written_to(path, monkeypatch, number):
    """Folders that a virtual machine shares with its host, some drives of a network."""
    fsync = os.fsync

    def files_only(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    write_atomically(path, NEW)
    assert path.read_bytes() == NEW


def test_macos_is_asked_for_more_than_fsync_and_a_disk_that_cannot_gets_that(path, monkeypatch):
    asked, synced, known = [], [], [True]

    class OfMacOS:
        @staticmethod
        def fcntl(_, number):
            asked.append(number)
            if not known[0]:
                raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(atomic, "FULL_SYNC", 51)
    monkeypatch.setattr(atomic, "import_module", lambda _: OfMacOS)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    write_atomically(path, NEW)
    assert (asked, synced) == ([51], [True])  # the file, and the folder
    known[0] = False
    write_atomically(path, OLD)
    assert (asked, synced) == ([51, 51], [True, False, True])


def test_what_cannot_be_removed_is_in_use_and_stays(path, monkeypatch):
    stale = path.with_name(f"{TEMPORARY}{2**31 - 2}-x")
    stale.touch()

    def refused(*_):
        raise PermissionError(errno.EACCES, "used by another process")

    monkeypatch.setattr(os, "unlink", refused)
    remove_stale(path.parent)
    assert temporaries(path.parent) == [stale]


def temporaries(folder):
    return list(folder.glob(f"{TEMPORARY}*"))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)
    return path


def test_a_new_file_and_an_old_one_end_with_the_content(path):
    write_atomically(path, NEW)
    write_atomically(path.with_name("other.bin"), NEW)
    assert path.read_bytes() == path.with_name("other.bin").read_bytes() == NEW
    assert temporaries(path.parent) == []


@pytest.mark.parametrize(
    ("stage", "replacement"),
    [("fsync", fail), ("replace", fail), ("fsync", interrupt), ("replace", interrupt)],
    ids=["fsync fails", "replace fails", "Ctrl-C in fsync", "Ctrl-C in replace"],
)
def test_a_failure_leaves_the_old_file_and_no_temporary(path, monkeypatch, stage, replacement):
    monkeypatch.setattr(os, stage, replacement)
    with pytest.raises((OSError, KeyboardInterrupt)):
        write_atomically(path, NEW)
    assert path.read_bytes() == OLD
    assert temporaries(path.parent) == []


def test_a_full_disk_leaves_the_old_file_and_is_reported_under_its_name(path, monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *_args: FullDisk())
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, NEW)
    monkeypatch.undo()
    assert caught.value.filename == str(path)
    assert path.read_bytes() == OLD


def test_a_failure_after_the_rename_leaves_the_new_file(path, monkeypatch):
    real, calls = os.fsync, []

    def only_the_first(descriptor):
        calls.append(descriptor)
        return real(descriptor) if len(calls) == 1 else fail()

    monkeypatch.setattr(os, "fsync", only_the_first)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, NEW)
    assert path.read_bytes() == NEW
    assert temporaries(path.parent) == []


def test_content_and_folder_are_on_the_disk_in_this_order(path, monkeypatch):
    events = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor):
        status = os.fstat(descriptor)
        events.append("folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes")
        real_fsync(descriptor)

    def replace(source, target):
        assert source.read_bytes() == NEW
        events.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(path, NEW)
    assert events == [f"{len(NEW)} bytes", "rename", "folder"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_follows_the_umask(path, umask, mode):
    path.chmod(0o640)
    before = os.umask(umask)
    try:
        write_atomically(path, NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_not_replaced(tmp_path, make):
    path = tmp_path / "special"
    make(path)
    kind = stat.S_IFMT(path.stat().st_mode)
    with pytest.raises(OSError, match="not a regular file"):
        write_atomically(path, NEW)
    assert stat.S_IFMT(path.stat().st_mode) == kind


@pytest.mark.parametrize("parts", [("missing", "x.bin"), ("file.bin", "x.bin")])
def test_an_impossible_place_is_reported_under_the_name_that_was_asked_for(path, parts):
    target = path.parent.joinpath(*parts)
    with pytest.raises(OSError, match=r"No such file|Not a directory") as caught:
        write_atomically(target, NEW)
    assert caught.value.filename == str(target)


def test_stale_temporaries_are_removed_and_nothing_else(path):
    stale = path.with_name(f"{TEMPORARY}123-file.bin")
    others = [path, path.with_name(".tmp-of-another-program"), path.with_name(f"x{TEMPORARY}1")]
    for file in (stale, *others):
        file.write_bytes(b"half")
    remove_stale(path.parent)
    assert sorted(path.parent.iterdir()) == sorted(others)
