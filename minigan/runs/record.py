"""What a run measures, as lists in memory and as files in its folder."""

from minigan.runs.folder import RunFolder
from minigan.runs.metrics import MetricsFile, Row, as_read
from minigan.runs.vitals import Vitals, VitalsFile


class Record:
    """Appends to the lists it is given and to metrics.csv and vitals.jsonl, which start with them."""

    def __init__(self, folder: RunFolder, rows: list[Row], vitals: list[Vitals]) -> None:
        self.rows, self.vitals = rows, vitals
        self._metrics, self._vitals = MetricsFile(folder.metrics, rows), VitalsFile(folder.vitals, vitals)

    def add_row(self, row: Row) -> None:
        self._metrics.append(row)
        self.rows.append(as_read(row))

    def add_vitals(self, vitals: Vitals) -> None:
        self._vitals.append(vitals)
        self.vitals.append(vitals)

    def sync(self) -> None:
        """Wait until all is on the disk: before a checkpoint that counts on it."""
        self._metrics.sync()
        self._vitals.sync()

    def close(self) -> None:
        self._metrics.close()
        self._vitals.close()


class NoRecord(Record):
    """The lists without the files: another process writes those."""

    def __init__(self, rows: list[Row], vitals: list[Vitals]) -> None:
        self.rows, self.vitals = rows, vitals

    def add_row(self, row: Row) -> None:
        self.rows.append(as_read(row))

    def add_vitals(self, vitals: Vitals) -> None:
        self.vitals.append(vitals)

    def sync(self) -> None: ...
    def close(self) -> None: ...
