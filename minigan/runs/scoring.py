"""scores.csv: how good the samples are, every few rounds, by the same scores as `minigan.evaluate`.

The latents and the real images are the same each time, a function of the seed, and nothing of the run is touched:
it goes on to the same bits as without.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from minigan.backend import Device
from minigan.data.sources import Dataset
from minigan.evaluation.material import Images, choose_real, told_classes, wrapper
from minigan.evaluation.scores import METRICS, possible_metrics
from minigan.randomness import Purpose, stream
from minigan.recipes import Recipe
from minigan.runs.metrics import MetricsFile, Row, read_metrics
from minigan.runs.options import RunOptions
from minigan.runs.saved import draw_samples
from minigan.runs.state import State

SAMPLES = 1000
WORK = 2**32  # samples x samples x numbers in an image: what neighbours among pixels cost at most


class Scoring:
    """Scores G now and then, and keeps the rows. Open it as a context while training goes on."""

    def __init__(self, recipe: Recipe, options: RunOptions, data: Dataset, device: Device, path: Path) -> None:
        """Choose the real images among all of them, those that the recipe keeps back included.

        Raises DataError for too few.
        """
        self._recipe, self._path = recipe, path
        self._image_shape = data.images.shape[1:]
        most = min(SAMPLES, math.isqrt(WORK // math.prod(self._image_shape)))
        self._wrap = wrapper(options.data, self._image_shape, device)
        self._real = choose_real(options.data, data, recipe.training_part, most, options.seed, self._wrap)
        possible = possible_metrics(options.data, self._image_shape, told=recipe.condition > 0)
        self._metrics = [METRICS[name] for name in possible if METRICS[name].logged]
        z = recipe.draw_latents(stream(options.seed, Purpose.SAMPLE), len(self._real.stand_in.pixels))
        self._labels = told_classes(recipe.condition, self._real, len(z))
        self._z = device.put(recipe.told(z, recipe.codes(len(z), self._labels)).astype(options.precision))
        self._of_real = self._scores(self._real.stand_in)
        self.rows: list[Row] = []

    @property
    def columns(self) -> tuple[str, ...]:
        return ("step", *self._of_real)

    @property
    def words(self) -> str:
        """What is compared with what, and what real images get."""
        return f"{len(self._z)} samples against {self._real.words}; real images have {_described(self._of_real)}"

    def resume(self, step: int, would_be_there: Callable[[float], bool], every: int) -> None:
        """Take over the rows up to this step that belong to the run. Raises DataError for a file of other columns.

        Where all but the last were measured as often as now, what is left are those of a run that was never stopped:
        the last goes if it was due only because the run was to end there. If any came at another time, all stay.
        """
        if self._path.exists():
            rows = [row for row in read_metrics(self._path, self.columns) if row["step"] <= step]
            as_often = all(row["step"] % every == 0 for row in rows[:-1])
            self.rows = [row for row in rows if would_be_there(row["step"])] if as_often else rows

    def __enter__(self) -> "Scoring":
        self._file = MetricsFile(self._path, self.rows, self.columns)
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def score(self, state: State) -> str:
        """Write the row of this step; returns it in words."""
        samples = self._wrap(draw_samples(self._recipe, state, self._z, self._image_shape))
        found = self._scores(replace(samples, labels=self._labels))
        self.rows.append({"step": float(state.step)} | found)
        self._file.append(self.rows[-1])
        return f"step {state.step}: {_described(found)}"

    def sync(self) -> None:
        """Wait until all rows are on the disk: before a checkpoint that counts on them."""
        self._file.sync()

    def _scores(self, samples: Images) -> dict[str, float]:
        """By name; what is only a detail of the score above it is left out."""
        values = [value for metric in self._metrics for value in metric.compute(samples, self._real)]
        return {value.name: float(value.value) for value in values if not value.name.startswith("...")}


def _described(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
