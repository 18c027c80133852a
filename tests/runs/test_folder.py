"""A run's folder: one owner at a time, and nothing removed that is not the run's."""

import errno
import os
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from minigan.errors import UsageError, UserError
from minigan.runs.atomic import TEMPORARY
from minigan.runs.folder import RunFolder, new_run_path, newest_run_path, open_new

MADE = (
    "config.toml", "metrics.csv", "vitals.jsonl", "scores.csv", "samples.png", "progress.gif", "losses.png",
    "samples/step-000000010.png", "checkpoints/step-000000010.safetensors", "evaluation.json", "neighbours.png",
    "report.html",
)  # fmt: skip
FOREIGN = (
    "notes.txt", "more-samples-0.png", "samples/step-best.png", "samples/mine.png", "checkpoints/best.safetensors",
    "checkpoints/step-000000010 (copy).safetensors", "checkpoints/step-000000010.safetensors.bak", ".tmp-other",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "a" / "run")
    folder.open()
    yield folder
    folder.close()


def fill(folder, names):
    for name in names:
        (folder.path / name).write_bytes(b"x")


def contents(folder):
    return {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}


def test_opening_makes_the_folders(folder):
    assert folder.samples.is_dir()
    assert folder.checkpoints.is_dir()


def test_a_second_owner_is_told_which_process_has_the_folder(folder):
    with pytest.raises(UserError, match=rf"run is in use by process {os.getpid()}$"):
        RunFolder(folder.path).open()


def test_the_first_owner_keeps_its_folder_after_a_refusal(folder):
    fill(folder, [f"{TEMPORARY}being-written"])
    for _ in range(2):
        with pytest.raises(UserError, match="in use by process"):
            RunFolder(folder.path).open()
    assert f"{TEMPORARY}being-written" in contents(folder)


@pytest.mark.parametrize("content", [None, b""])
def test_a_lost_process_number_is_unknown(folder, content):
    pid = folder.path / ".pid"
    pid.unlink()
    if content is not None:
        pid.write_bytes(content)
    with pytest.raises(UserError, match="in use by process unknown"):
        RunFolder(folder.path).open()


def test_a_closed_folder_can_be_opened_again(folder):
    folder.close()
    second = RunFolder(folder.path)
    second.open()
    second.close()
    assert not (folder.path / ".pid").exists()


@pytest.mark.parametrize("name", ["file", "file/run", "nul\0byte", "x" * 300])
def test_a_place_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write to .*; choose another --out"):
        RunFolder(tmp_path / name).open()


@pytest.mark.parametrize("blocked", ["samples", "checkpoints"])
def test_a_file_in_the_way_of_a_subfolder_is_an_error(tmp_path, blocked):
    (tmp_path / blocked).write_bytes(b"mine")
    with pytest.raises(UserError, match="cannot write to"):
        RunFolder(tmp_path).open()
    assert (tmp_path / blocked).read_bytes() == b"mine"


def test_opening_removes_what_interrupted_writes_left(folder):
    gone = 2**31 - 2  # no process has such a number
    stale = [f"{TEMPORARY}{gone}-config.toml", f"samples/{TEMPORARY}{gone}-x.png", f"checkpoints/{TEMPORARY}load"]
    fill(folder, [*stale, *MADE, *FOREIGN])
    folder.close()
    second = RunFolder(folder.path)
    second.open()
    assert contents(folder) - {".lock", ".pid"} == {*MADE, *FOREIGN}
    second.close()


def test_clearing_removes_only_the_files_of_a_run(folder):
    fill(folder, [*MADE, *FOREIGN])
    folder.clear()
    assert contents(folder) - {".lock", ".pid"} == set(FOREIGN)


@pytest.mark.parametrize("name", MADE)
def test_whatever_clearing_would_remove_counts_as_a_run(folder, name):
    fill(folder, FOREIGN)
    assert not folder.holds_a_run
    fill(folder, [name])
    assert folder.holds_a_run
    folder.clear()
    assert not folder.holds_a_run


def test_a_file_that_is_in_use_stops_the_clearing_of_a_run_that_can_still_go_on(folder, monkeypatch):
    """On Windows, while a viewer shows the samples."""
    fill(folder, MADE)
    unlink = os.unlink

    def refused(path, **options):
        if Path(path) == folder.last_samples:
            raise PermissionError(errno.EACCES, "used by another process")
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", refused)
    with pytest.raises(PermissionError):
        folder.clear()
    assert folder.config.exists()
    assert (folder.checkpoints / "step-000000010.safetensors").exists()


def test_where_nothing_can_be_locked_a_new_run_is_not_tried_for_ever(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tried = []

    def never(_, timeout):
        tried.append(timeout)
        raise Timeout(str(tmp_path))

    monkeypatch.setattr(FileLock, "acquire", never)
    with pytest.raises(UserError, match="may have no locks"):
        open_new("mlp-mnist")
    assert 1 < len(tried) < 10


def test_without_locks_the_place_is_refused(tmp_path, monkeypatch):
    def none_here(self, timeout):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", none_here)
    with pytest.raises(UserError, match="does not appear to support flock; choose another --out"):
        RunFolder(tmp_path / "run").open()


def test_on_a_drive_without_numbers_files_are_told_apart_by_their_paths(tmp_path, monkeypatch):
    """Some drives of a network on Windows."""
    stat = os.stat

    def without_number(path, **options):
        found = list(stat(path, **options))
        found[1] = 0
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", without_number)
    folder = RunFolder(tmp_path / "run")
    folder.open()
    fill(folder, [*MADE, "other.png"])
    folder.refuse_to_replace(folder.path / "other.png")
    folder.refuse_to_lose(f"folder:{tmp_path}")
    with pytest.raises(UsageError):
        folder.refuse_to_replace(folder.last_samples)
    with pytest.raises(UsageError):
        folder.refuse_to_lose(f"folder:{folder.samples}")
    assert folder.is_here
    folder.close()


def test_samples_are_listed_in_the_order_of_their_steps(folder):
    steps = [0, 5, 10, 999_999_999, 1_000_000_000]
    for step in reversed(steps):
        folder.sample_path(step).write_bytes(b"x")
    fill(folder, ["samples/step-best.png"])
    assert folder.sample_files() == [folder.sample_path(step) for step in steps]


def test_samples_later_than_a_step_are_forgotten(folder):
    for step in (0, 9, 10, 11, 1000):
        folder.sample_path(step).write_bytes(b"x")
    fill(folder, ["samples/step-best.png"])
    folder.keep_samples(lambda step: step <= 10)
    assert folder.sample_files() == [folder.sample_path(step) for step in (0, 9, 10)]
    assert (folder.samples / "step-best.png").exists()


def test_runs_that_start_in_one_second_get_different_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _format: "20300102-030405")
    paths = []
    for _ in range(3):
        paths.append(new_run_path("mlp-mnist"))
        paths[-1].mkdir(parents=True)
    base = "runs/mlp-mnist-20300102-030405"
    assert paths == [Path(base), Path(f"{base}-2"), Path(f"{base}-3")]


def test_two_runs_that_start_at_once_are_both_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _format: "20300102-030405")
    first = open_new("mlp-mnist")
    free = iter([first.path, Path("runs/b")])  # as it looked before the first one made its folder
    monkeypatch.setattr("minigan.runs.folder.new_run_path", lambda _: next(free))
    second = open_new("mlp-mnist")
    assert (first.path, second.path) == (Path("runs/mlp-mnist-20300102-030405"), Path("runs/b"))
    for folder in (first, second):
        folder.close()


def test_a_folder_that_was_moved_away_is_not_taken_for_the_one_at_its_path(folder):
    (folder.path / ".lock").unlink()
    assert folder.is_here  # a lost file is no reason to stop
    intruder = RunFolder(folder.path)
    intruder.open()
    assert not folder.is_here  # but whoever has locked the folder anew is
    intruder.close()
    (folder.path / ".lock").unlink(missing_ok=True)
    folder.path.rename(folder.path.with_name("moved"))
    assert not folder.is_here
    other = RunFolder(folder.path)
    other.open()
    assert not folder.is_here
    folder.close()
    assert (other.path / ".pid").exists()  # of the other one
    assert other.is_here
    other.close()


@pytest.mark.parametrize("data", ["folder:{}/samples", "folder:{}", "folder:{}/../run/samples/", "numpy:{}/scores.csv"])
def test_images_that_would_be_deleted_are_not_replaced(folder, data):
    fill(folder, MADE)
    with pytest.raises(UsageError, match="--overwrite would delete images of --data"):
        folder.refuse_to_lose(data.format(folder.path))


@pytest.mark.parametrize("data", ["mnist5k", "folder:{}/mine", "numpy:{}/my.npy", "folder:~nobody/x", "folder:{}/loop"])
def test_other_images_may_lie_in_the_folder(folder, data):
    (folder.path / "loop").symlink_to(folder.path / "loop")
    folder.refuse_to_lose(data.format(folder.path))


def test_the_newest_run_is_the_one_with_the_newest_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seconds in (("b", 100), ("a", 300), ("c", 200), ("d", 400)):
        path = Path("runs", name, "checkpoints")
        path.mkdir(parents=True)
        file = path / "step-000000001.safetensors"
        file.write_bytes(b"x")
        os.utime(file, (seconds, seconds))
        if name != "d":  # whose settings are lost
            (path.parent / "config.toml").touch()
    Path("runs", "without-checkpoint", "checkpoints").mkdir(parents=True)
    Path("runs", "file").write_bytes(b"x")
    assert newest_run_path() == Path("runs", "a")


@pytest.mark.parametrize("make", [lambda: None, lambda: Path("runs/x/checkpoints").mkdir(parents=True)])
def test_without_a_checkpoint_in_runs_there_is_no_newest_run(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    make()
    with pytest.raises(UsageError, match="name one with --out DIR"):
        newest_run_path()


def test_a_link_to_the_checkpoints_hides_nothing(folder):
    fill(folder, MADE)
    (folder.path.parent / "link").symlink_to(folder.checkpoints)
    with pytest.raises(UsageError, match=r"link/mine.safetensors is a file of the run in .*run: choose another name"):
        RunFolder(folder.path).refuse_to_replace(folder.path.parent / "link" / "mine.safetensors")
    (folder.path.parent / "loop").symlink_to(folder.path.parent / "loop")
    folder.refuse_to_replace(folder.path.parent / "loop")
