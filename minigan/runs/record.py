"""What a run measures, as lists in memory and as files in its folder."""

from collections.abc import Sequence
from pathlib import Path

from minigan.runs.folder import RunFolder
from minigan.runs.metrics import COLUMNS, MetricsFile, Row, as_read
from minigan.runs.tensorboard import Events, NoEvents
from minigan.runs.vitals import Vitals, VitalsFile


class Record:
    """Appends to the lists it is given and to metrics.csv and vitals.jsonl, which start with them."""

    def __init__(
        self, folder: RunFolder, rows: list[Row], vitals: list[Vitals], columns: Sequence[str] = COLUMNS
    ) -> None:
        self.rows, self.vitals, self._columns = rows, vitals, columns
        self._metrics, self._vitals = MetricsFile(folder.metrics, rows, columns), VitalsFile(folder.vitals, vitals)
        self._events = NoEvents()

    def show(self, folder: RunFolder, scores: Sequence[Row], opinions: bool = True) -> None:
        """Write events for TensorBoard, too, from now on, after those of all that there is already."""
        self._events = Events(folder, opinions)
        for row in self.rows:
            self._events.add_row("metrics", row)
        for vitals in self.vitals:
            self._events.add_vitals(vitals)
        for row in scores:
            self._events.add_row("scores", row)
        for picture in folder.sample_files():
            self._events.add_picture(picture)
        self._events.flush()

    def add_row(self, row: Row) -> None:
        self._metrics.append(row)
        self.rows.append(as_read(row))
        self._events.add_row("metrics", as_read({name: row[name] for name in self._columns}))

    def add_vitals(self, vitals: Vitals) -> None:
        self._vitals.append(vitals)
        self.vitals.append(vitals)
        self._events.add_vitals(vitals)

    def add_scores(self, row: Row) -> None:
        """A row that stands in scores.csv."""
        self._events.add_row("scores", as_read(row))

    def add_picture(self, path: Path) -> None:
        """A picture that lies in samples/."""
        self._events.add_picture(path)

    def complaint(self) -> str:
        """What the user should know about the events; empty if nothing, or if it was said before."""
        return self._events.complaint()

    def sync(self) -> None:
        """Wait until all is on the disk: before a checkpoint that counts on it."""
        self._metrics.sync()
        self._vitals.sync()
        self._events.flush()

    def close(self) -> None:
        self._metrics.close()
        self._vitals.close()
        self._events.close()


class NoRecord(Record):
    """The lists without the files: another process writes those."""

    def __init__(self, rows: list[Row], vitals: list[Vitals]) -> None:
        self.rows, self.vitals = rows, vitals
        self._events = NoEvents()

    def add_row(self, row: Row) -> None:
        self.rows.append(as_read(row))

    def add_vitals(self, vitals: Vitals) -> None:
        self.vitals.append(vitals)

    def show(self, folder: RunFolder, scores: Sequence[Row], opinions: bool = True) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...
