"""With ``--tensorboard``: what a run measures as events in its folder, which TensorBoard shows while it goes on.

The files that count are metrics.csv, vitals.jsonl, scores.csv and samples/. The events say the same under the names
that stand there: ``metrics/loss_d``, ``gradients/D/dense1``, ``scores/precision``, ... They are begun anew whenever a
run is resumed, from those files, and so tell of one run in one go. Form and checksums of a file are tensorboardX's.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from minigan.errors import DataError, UsageError, UserError
from minigan.runs.checkpoint import step_of
from minigan.runs.folder import EVENTS, RunFolder
from minigan.runs.metrics import OPINIONS, Row
from minigan.runs.pictures import read_picture
from minigan.runs.vitals import BINS, Vitals

FRESH = 10.0  # seconds after which somebody who watches sees what was written
WITHOUT = "leave it out, or resume a run that has it with --no-tensorboard"
BY_LAYER = ("gradients", "updates", "weights", "dead", "saturated")  # of the vitals


def check_tensorboard(folder: RunFolder) -> None:
    """Raises UsageError if the package that writes events cannot be used, UserError if there is no place for them."""
    try:
        import tensorboardX.event_file_writer
        import tensorboardX.proto.event_pb2  # noqa: F401
    except Exception as err:  # of a protobuf that does not fit, too, which is a TypeError
        raise UsageError(f"--tensorboard needs tensorboardX ({err}): pip install '.[tb]'; {WITHOUT}") from err
    try:
        folder.events.mkdir(exist_ok=True)
        TemporaryFile(dir=folder.events).close()
    except OSError as err:
        raise UserError(f"cannot write events into {folder.events}: {err.strerror}; {WITHOUT}") from err


class NoEvents:
    """Where nobody has asked for them."""

    def add_row(self, group: str, row: Row) -> None: ...
    def add_vitals(self, vitals: Vitals) -> None: ...
    def add_picture(self, path: Path) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def complaint(self) -> str:
        return ""


class Events(NoEvents):
    """A file of events in a run's folder; those so far are to be emptied before.

    Nothing depends on it: where it cannot be written any more the run goes on without, and says so.
    """

    def __init__(self, folder: RunFolder, opinions: bool = True) -> None:
        """opinions: also what D thinks of images, which those of a critic say nothing of."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._opinions = opinions
        self._writer: Any = None
        self._failed: OSError | None = None
        self._told = False
        self._flushed = time.monotonic()
        self._path = folder.events.absolute() / "events"  # to the package, a word before a colon would be a server
        self._attempt(lambda: self._open(EventsWriter))
        self._write(session_log=SessionLog(status=SessionLog.START))  # what was told before of later steps is void

    def _open(self, writer: Any) -> None:
        """By a writer without a thread of its own, whose errors nobody would hear of."""
        self._path.parent.mkdir(exist_ok=True)
        self._writer = writer(str(self._path), EVENTS)

    def add_row(self, group: str, row: Row) -> None:
        """The numbers of a row, but for its step, as ``group/name``."""
        left_out = ("step",) if self._opinions else ("step", *OPINIONS)
        named = {f"{group}/{name}": value for name, value in row.items() if name not in left_out}
        self._add(int(row["step"]), ({"tag": tag, "simple_value": value} for tag, value in named.items()))

    def add_vitals(self, vitals: Vitals) -> None:
        named = {"vitals/spread": vitals.spread}
        for kind in BY_LAYER:
            for player, layers in getattr(vitals, kind).items():
                named |= {f"{kind}/{player}/{layer}": value for layer, value in layers.items()}
        if vitals.classes is not None:
            named |= {f"vitals/class {name}": float(count) for name, count in enumerate(vitals.classes)}
        values: list[dict] = [{"tag": tag, "simple_value": value} for tag, value in named.items()]
        seen = {"D of training images": vitals.d_real, "D of samples": vitals.d_fake} if self._opinions else {}
        for tag, counts in seen.items():
            values.append({"tag": f"opinions/{tag}", "histo": _histogram(counts)})
        self._add(vitals.step, values)

    def add_picture(self, path: Path) -> None:
        """A picture of samples, of the step in its name; one that cannot be read is left out (the run's page tells)."""
        with contextlib.suppress(DataError, OSError):
            found, content = read_picture(path), path.read_bytes()
            size = {"height": found.height, "width": found.width, "colorspace": len(found.getbands())}
            self._add(step_of(path), [{"tag": "samples", "image": {**size, "encoded_image_string": content}}])

    def _add(self, step: int, values: Iterable[dict]) -> None:
        self._write(step=step, summary={"value": list(values)})
        if time.monotonic() - self._flushed > FRESH:
            self.flush()

    def _write(self, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._attempt(lambda: self._writer.write_event(Event(wall_time=time.time(), **what)))

    def flush(self) -> None:
        """Show what was added to those who watch."""
        self._flushed = time.monotonic()
        self._attempt(lambda: self._writer.flush())

    def close(self) -> None:
        self._attempt(lambda: self._writer.close())

    def complaint(self) -> str:
        """Why there are no events any more; empty if there are, or if it was said before."""
        if self._failed is None or self._told:
            return ""
        self._told = True
        why = self._failed.strerror or self._failed
        return (
            f"no more events for TensorBoard in {self._path.parent} ({why}); when the run is resumed, all are made anew"
        )

    def _attempt(self, act: Callable[[], Any]) -> None:
        if self._failed is None:
            try:
                act()
            except OSError as err:
                self._failed = err
                with contextlib.suppress(OSError, AttributeError):  # the package closes nothing that it cannot flush
                    self._writer._py_recordio_writer.close()


def _histogram(counts: list[int]) -> dict:
    """Numbers in [0, 1] that were counted in bins of equal width, as if each lay in the middle of its bin."""
    middles = [(bin + 0.5) / BINS for bin in range(BINS)]
    moments = (sum(count * middle**power for count, middle in zip(counts, middles, strict=True)) for power in (1, 2))
    limits = [(bin + 1) / BINS for bin in range(BINS)]
    sums = dict(zip(("sum", "sum_squares"), moments, strict=True))
    return {"min": 0.0, "max": 1.0, "num": sum(counts), "bucket_limit": limits, "bucket": counts, **sums}
