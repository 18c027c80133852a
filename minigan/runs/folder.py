"""A run's folder: what is in it, and who may write to it.

runs/<recipe>-<time>/
    config.toml        everything needed to repeat the run (see runs.config)
    metrics.csv        losses and probabilities, a row every few rounds
    vitals.jsonl       gradients, updates, dead and saturated units, diversity: a line at each snapshot
    scores.csv         scores of the samples against real images (with --evaluate-every)
    tensorboard/       all of these and the samples as events (with --tensorboard)
    samples/           step-*.png: the same z drawn again and again
    samples.png        the last of them, larger
    progress.gif       all of them, animated
    losses.png         the curves
    checkpoints/       the newest two states, and those that --keep-every keeps
    evaluation.json    scores of the samples (minigan.evaluate)
    neighbours.png     samples above the training images that they are nearest to (likewise)
    report.html        all of it on one page (minigan.report)
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from minigan.errors import UsageError, UserError
from minigan.runs.atomic import remove_stale
from minigan.runs.checkpoint import checkpoint_files, step_files, step_of, step_path

Identity = tuple[int, int | str]  # the device, and a number there
EVENTS = ".minigan"  # the ending of a file of events
ATTEMPTS = 5  # to make a new run's folder, each of which another run may take at that moment


class InUse(UserError):
    """Another process is writing to the folder."""


class RunFolder:
    """Paths inside a run's folder, and the lock that keeps a second process out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.metrics = path / "metrics.csv"
        self.vitals = path / "vitals.jsonl"
        self.scores = path / "scores.csv"
        self.events = path / "tensorboard"
        self.samples = path / "samples"
        self.last_samples = path / "samples.png"
        self.animation = path / "progress.gif"
        self.curves = path / "losses.png"
        self.checkpoints = path / "checkpoints"
        self.evaluation = path / "evaluation.json"
        self.neighbours = path / "neighbours.png"
        self.report = path / "report.html"
        self._pid = path / ".pid"
        self._lock = FileLock(path / ".lock")
        self._opened: list[Identity | None] = []  # the folder and the lock that is held, wherever they are now

    @property
    def holds_a_run(self) -> bool:
        """Whether there is anything that a new run would replace."""
        return any(file.exists() for file in self._made())

    def open(self) -> None:
        """Make the folder, lock it and clean up after interrupted writes.

        Raises InUse if another process is using it, UserError if it cannot be written.
        """
        try:
            self._is_new = not self.path.exists()
            for folder in (self.path, self.samples, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._opened = [_identity(self.path), _identity(self.path / ".lock")]
            self._pid.write_text(str(os.getpid()), encoding="ascii")
        except Timeout:
            raise InUse(f"{self.path} is in use by process {self._owner()}") from None
        except (OSError, ValueError, NotImplementedError) as err:  # of a path with a null byte; of no locks there
            reason = getattr(err, "strerror", None) or err
            raise UserError(f"cannot write to {self.path}: {reason}; choose another --out") from err
        for folder in (self.path, self.samples, self.checkpoints):
            remove_stale(folder)

    def close(self) -> None:
        """Release the lock; a folder that was made for a run that never began goes away again."""
        is_here = self.is_here
        if is_here:
            self._pid.unlink(missing_ok=True)
        self._lock.release()
        self._opened = []
        if is_here and self._is_new and not self.holds_a_run:
            (self.path / ".lock").unlink(missing_ok=True)
            for folder in (self.events, self.samples, self.checkpoints, self.path):
                with contextlib.suppress(OSError):  # it is not there, or somebody has put something in
                    folder.rmdir()

    @property
    def is_here(self) -> bool:
        """Whether the open folder is still at its path, where another run may lie by now."""
        if not self._opened or os.name == "nt":  # where no folder is moved that has an open file
            return True
        folder, lock = self._opened
        return _identity(self.path) == folder and _identity(self.path / ".lock") in (lock, None)  # None: just deleted

    def clear(self) -> None:
        """Remove an older run's files, and only those; the folder must be open."""
        self.empty_events()
        for file in reversed(self._made()):  # that by which the run could go on last: on Windows one may be in use
            file.unlink(missing_ok=True)

    def refuse_to_replace(self, path: Path | None, option: str = "--out") -> None:
        """Raises UsageError if what somebody wants to write there, by that option, is a file of a run, of this or of
        another one, or would lie among a run's checkpoints or samples."""
        if path is None:
            return
        real = Path(os.path.realpath(path))  # of what a link leads to; unlike Path.resolve it takes loops of links
        for folder in (self, *map(RunFolder, real.parents[:2])):
            of_runs = [folder.path / ".lock", folder._pid, *folder._made(), *folder.event_files()]
            is_one = _is_among(real, of_runs)
            lies_among_them = str(real.parent) in map(os.path.realpath, (folder.checkpoints, folder.samples))
            if folder.config.exists() and (is_one or lies_among_them):
                raise UsageError(f"{option} {path} is a file of the run in {folder.path}: choose another name")

    def refuse_to_lose(self, data: str) -> None:
        """Raises UsageError if the images that ``--data`` names are files of the run that is to be replaced."""
        kind, _, path = data.partition(":")
        if not path:
            return
        images = os.path.realpath(os.path.expanduser(path))  # which, unlike Path's, refuse nothing
        folders = (self.path, self.samples, self.checkpoints)
        if _is_among(Path(images), [*(folders if kind == "folder" else ()), *self._made()]):
            raise UsageError(f"--overwrite would delete images of --data {data}: choose another --out")

    def _made(self) -> list[Path]:
        """The files of a run, there or not; those by which it can go on come first."""
        numbers = [self.metrics, self.vitals, self.scores, self.evaluation]
        pictures = [self.last_samples, self.animation, self.curves, self.neighbours, self.report, *self.sample_files()]
        return [self.config, *checkpoint_files(self.checkpoints), *numbers, *pictures]

    def sample_path(self, step: int) -> Path:
        return step_path(self.samples, step, ".png")

    def sample_files(self) -> list[Path]:
        """The sample pictures so far, oldest first."""
        return step_files(self.samples, ".png")

    def event_files(self) -> list[Path]:
        """What was written for TensorBoard; other programs give their events the same names, but for the ending."""
        return sorted(path for path in self.events.glob(f"events.out.tfevents.*{EVENTS}") if path.is_file())

    def empty_events(self) -> None:
        """Leave nothing in the events so far. A TensorBoard that reads such a file goes on to the next one from it, as
        it would not from one that is gone; so a file goes only when it is found empty.
        """
        for path in self.event_files():
            with contextlib.suppress(PermissionError):  # on Windows, while somebody reads it
                if path.stat().st_size:
                    os.truncate(path, 0)
                else:
                    path.unlink()

    def keep_samples(self, wanted: Callable[[int], bool]) -> None:
        """Remove the sample pictures of all rounds but those."""
        for path in self.sample_files():
            if not wanted(step_of(path)):
                path.unlink()

    def _owner(self) -> str:
        try:
            return self._pid.read_text(encoding="ascii", errors="replace") or "unknown"
        except OSError:
            return "unknown"


def _is_among(path: Path, others: Iterable[Path]) -> bool:
    """Whether what lies there is one of them, by whatever name."""
    found = _identity(path)
    return found is not None and any(_identity(other) == found for other in others)


def _identity(path: Path) -> Identity | None:
    """Of what lies there, wherever it is moved; None where nothing does."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # a path with a null byte
        return None
    return found.st_dev, found.st_ino or os.path.realpath(path)  # 0: on some drives of a network


def new_run_path(recipe: str) -> Path:
    """``runs/<recipe>-<time>``, with a number behind it if two runs start in one second."""
    base = Path("runs") / f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = base, 2
    while path.exists():
        path, number = base.with_name(f"{base.name}-{number}"), number + 1
    return path


def open_new(recipe: str) -> RunFolder:
    """The folder of a new run in ``runs/``, opened: another one if a run that starts at this moment has taken it."""
    for _ in range(ATTEMPTS):
        folder = RunFolder(new_run_path(recipe))
        with contextlib.suppress(InUse):
            folder.open()
            return folder
    raise UserError(f"cannot lock {folder.path}: its file system may have no locks; choose another --out")


def newest_run_path() -> Path:
    """The run in ``runs/`` with the newest checkpoint. Raises UsageError if there is none."""
    found = (path for path in Path("runs").glob("*") if RunFolder(path).config.exists())
    runs = [path for path in found if checkpoint_files(path / "checkpoints")]
    if not runs:
        raise UsageError("no run with a checkpoint in runs/: name one with --out DIR")
    return max(runs, key=lambda path: checkpoint_files(path / "checkpoints")[0].stat().st_mtime)
