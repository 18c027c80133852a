"""With ``--tensorboard``: what a run measures as events in its folder, which TensorBoard shows while it goes on.

The files that count are metrics.csv, vitals.jsonl, scores.csv and samples/. The events say the same under the names
that stand there: ``metrics/loss_d``, ``gradients/D/dense1``, ``scores/precision``, ... They are begun anew whenever a
run is resumed, from those files, and so tell of one run in one go. Form and checksums of a file are tensorboardX's.
"""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from minigan.errors import UsageError
from minigan.runs.checkpoint import step_of
from minigan.runs.folder import RunFolder
from minigan.runs.metrics import Row
from minigan.runs.pictures import read_picture
from minigan.runs.vitals import BINS, Vitals

FRESH = 10.0  # seconds after which somebody who watches sees what was written
BY_LAYER = ("gradients", "updates", "weights", "dead", "saturated")  # of the vitals


def check_tensorboard() -> None:
    """Raises UsageError if the package that writes events cannot be imported."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as err:
        raise UsageError(f"--tensorboard needs tensorboardX ({err}): pip install '.[tb]'") from err


class NoEvents:
    """Where nobody has asked for them."""

    def add_row(self, group: str, row: Row) -> None: ...
    def add_vitals(self, vitals: Vitals) -> None: ...
    def add_picture(self, path: Path) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Events(NoEvents):
    """A file of events in a folder, in place of those of an older run or of the same one before it was resumed."""

    def __init__(self, folder: RunFolder) -> None:
        """Raises OSError if there is no place for it; whatever is added may raise that, too."""
        from tensorboardX.event_file_writer import EventsWriter

        folder.events.mkdir(exist_ok=True)
        for older in folder.event_files():
            with contextlib.suppress(PermissionError):  # on Windows, while TensorBoard reads it
                older.unlink()
        self._writer = EventsWriter(str(folder.events / "events"))  # which, unlike the package's thread, fails here
        self._flushed = time.monotonic()

    def add_row(self, group: str, row: Row) -> None:
        """The numbers of a row, but for its step, as ``group/name``."""
        named = {f"{group}/{name}": value for name, value in row.items() if name != "step"}
        self._add(int(row["step"]), ({"tag": tag, "simple_value": value} for tag, value in named.items()))

    def add_vitals(self, vitals: Vitals) -> None:
        named = {"vitals/spread": vitals.spread}
        for kind in BY_LAYER:
            for player, layers in getattr(vitals, kind).items():
                named |= {f"{kind}/{player}/{layer}": value for layer, value in layers.items()}
        if vitals.classes is not None:
            named |= {f"vitals/class {name}": float(count) for name, count in enumerate(vitals.classes)}
        values: list[dict] = [{"tag": tag, "simple_value": value} for tag, value in named.items()]
        for tag, counts in (("D of training images", vitals.d_real), ("D of samples", vitals.d_fake)):
            values.append({"tag": f"opinions/{tag}", "histo": _histogram(counts)})
        self._add(vitals.step, values)

    def add_picture(self, path: Path) -> None:
        """A picture of samples, of the step in its name. Raises DataError if it cannot be read."""
        found = read_picture(path)
        image: dict = {"height": found.height, "width": found.width, "colorspace": len(found.getbands())}
        image |= {"encoded_image_string": path.read_bytes()}
        self._add(step_of(path), [{"tag": "samples", "image": image}])

    def _add(self, step: int, values: Iterable[dict]) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary={"value": list(values)}))
        if time.monotonic() - self._flushed > FRESH:
            self.flush()

    def flush(self) -> None:
        """Show what was added to those who watch."""
        self._writer.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of no space, which has been told
            self._writer.close()


def _histogram(counts: list[int]) -> dict:
    """Numbers in [0, 1] that were counted in bins of equal width, as if each lay in the middle of its bin."""
    middles = [(bin + 0.5) / BINS for bin in range(BINS)]
    moments = (sum(count * middle**power for count, middle in zip(counts, middles, strict=True)) for power in (1, 2))
    limits = [(bin + 1) / BINS for bin in range(BINS)]
    sums = dict(zip(("sum", "sum_squares"), moments, strict=True))
    return {"min": 0.0, "max": 1.0, "num": sum(counts), "bucket_limit": limits, "bucket": counts, **sums}
