"""Everything that a run's folder tells, read so that a missing or damaged file costs its own section and no more."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from minigan.errors import UserError
from minigan.reports.charts import Series
from minigan.runs.config import command_line, has_critic, read_config
from minigan.runs.doctor import Diagnosis, course, diagnose
from minigan.runs.folder import RunFolder
from minigan.runs.kinds import are_counts
from minigan.runs.metrics import Row, read_metrics
from minigan.runs.vitals import Vitals, read_vitals

Found = TypeVar("Found")
Config: TypeAlias = tuple[str, dict[str, Any], list[str]]  # recipe, settings, command
UNREADABLE = (OSError, UserError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class Score(NamedTuple):
    """A row of evaluation.json."""

    name: str
    value: float
    error: float | None
    real: float | None  # of real images in the samples' place
    real_error: float | None
    better: str
    space: str


@dataclass(frozen=True)
class Evaluation:
    step: int
    samples: int
    compared_with: str
    weights: str  # of G: last or average; empty if an older version wrote it
    classes: list[int]  # how many samples are of each; empty where no classifier knows the data's
    scores: list[Score]


@dataclass(frozen=True)
class Contents:
    """What the page is made of; empty or None where there is nothing."""

    recipe: str
    critic: bool  # so that nothing can be said of D(x) and D(G(z))
    settings: dict[str, Any]
    config_text: str
    command: list[str]  # that repeats the run, quoted for a shell
    rows: list[Row]
    vitals: list[Vitals]
    diagnoses: list[Diagnosis]
    earlier: dict[str, tuple[int, int]]  # first and last round of what was wrong earlier, and is not at the end
    evaluation: Evaluation | None
    scores: list[Series]
    samples: list[Path]
    notes: list[str]  # about files that could not be read


def read_contents(folder: RunFolder) -> Contents:
    """Read what is there."""
    notes: list[str] = []

    def read(reader: Callable[[Path], Found], path: Path, default: Found) -> Found:
        try:
            if path.exists() and not path.is_file():  # a pipe or a device may have no end
                raise ValueError("not a regular file")
            return reader(path) if path.exists() else default
        except UNREADABLE as err:  # whatever a damaged file gives
            notes.append(unreadable(folder, path, err))
            return default

    no_config: Config = ("", {}, [])
    recipe, settings, command = read(_read_config, folder.config, no_config)
    rows: list[Row] = read(read_metrics, folder.metrics, [])
    vitals: list[Vitals] = read(read_vitals, folder.vitals, [])
    critic = has_critic(folder.config)
    diagnoses = diagnose(rows, vitals, critic)
    at_the_end = {diagnosis.name for diagnosis in diagnoses}
    return Contents(
        recipe=recipe,
        critic=critic,
        settings=settings,
        config_text=read(_read_text, folder.config, ""),
        command=command if rows else [],  # a run that was loaded from other files has none
        rows=rows,
        vitals=vitals,
        diagnoses=diagnoses,
        earlier={name: span for name, span in course(rows, vitals, critic).items() if name not in at_the_end},
        evaluation=read(_read_evaluation, folder.evaluation, None),
        scores=read(_read_scores, folder.scores, []),
        samples=folder.sample_files(),
        notes=notes,
    )


def unreadable(folder: RunFolder, path: Path, err: Exception) -> str:
    """A line about a file that could not be read; where the folder lies is left out, so that equal runs look alike."""
    reason = getattr(err, "strerror", None) or " ".join(str(err).split())
    return f"{path.name} could not be read: {reason}".replace(f"{folder.path}{os.sep}", "")


def _read_text(path: Path) -> str:
    # Paths may hold bytes that are no UTF-8, which Python carries as surrogates.
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _read_config(path: Path) -> Config:
    recipe, settings = read_config(path)
    return recipe, settings, command_line(recipe, settings)


def _read_evaluation(path: Path) -> Evaluation:
    document = json.loads(path.read_text(encoding="utf-8"))
    scores = [
        Score(
            str(row["score"]), float(row["value"]), _optional(row["error"]), _optional(row["real"]),
            _optional(row["real_error"]), str(row["better"]), str(row["space"]),
        )
        for row in document["scores"]
    ]  # fmt: skip
    numbers = document["step"], document["samples"]
    if not are_counts(list(numbers)):
        raise ValueError("its step or its samples are no numbers")
    classes = document.get("class histogram", [])
    if not are_counts(classes):
        raise ValueError("its class histogram is no list of counts")
    return Evaluation(*numbers, str(document["compared with"]), str(document.get("weights", "")), classes, scores)


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _read_scores(path: Path) -> list[Series]:
    """A series for each column of scores.csv."""
    rows = read_metrics(path, None)
    steps = np.array([row["step"] for row in rows])
    names = [name for name in (rows[0] if rows else ()) if name != "step"]
    return [Series(name, "fake", steps, np.array([row[name] for row in rows])) for name in names]
