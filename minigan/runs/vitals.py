"""vitals.jsonl: what goes on inside both networks, a line (a JSON object) at each snapshot."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from minigan.errors import DataError
from minigan.runs.kinds import are_counts, by_name, is_count, is_size
from minigan.runs.lines import LinesFile, whole_lines

BINS = 20  # of the histograms of D
LONGEST = 2**16  # characters of a line; those of the recipes have about 2,000

# {"G": {layer: number}, "D": {layer: number}}, layers by the names that theta gives them ("dense1"), in order.
ByLayer: TypeAlias = dict[str, dict[str, float]]


class Vitals(NamedTuple):
    """One line. How each number is measured: see `minigan.runs.gauge`."""

    step: int
    gradients: ByLayer  # |dL/dtheta| of each layer with parameters, at the player's last update in this round
    updates: ByLayer  # |change of theta in this round| / |theta|
    weights: ByLayer  # |theta| after this round
    dead: ByLayer  # share of a rectifier's units that no sample switches on
    saturated: ByLayer  # share of a sigmoid's or tanh's outputs where it is flat
    d_real: list[int]  # D(x) of up to 100 training images, counted in 20 bins over [0, 1]
    d_fake: list[int]  # D(G(z)) of the 100 fixed latents, likewise
    spread: float  # deviation of the samples from each other, over that of the data
    classes: list[int] | None  # samples of each class, where there is a classifier for the data


class VitalsFile(LinesFile):
    """Appends vitals to those of the rounds so far."""

    def __init__(self, path: Path, vitals: Iterable[Vitals] = ()) -> None:
        """Start a file with these, in place of an older one."""
        super().__init__(path, map(_line, vitals))

    def append(self, vitals: Vitals) -> None:
        self.write(_line(vitals))


def read_vitals(path: Path) -> list[Vitals]:
    """All whole lines; a last one cut short by a crash is left out.

    Raises DataError, naming the line, if this is no file of vitals.
    """
    found = []
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            found.append(_parse(line))
        except (ValueError, RecursionError) as err:
            raise DataError(f"{path}: not a vitals file of minigan (line {number}: {err})") from err
    return found


def _line(vitals: Vitals) -> str:
    return json.dumps(vitals._asdict(), separators=(",", ":"), allow_nan=False) + "\n"


def _parse(line: str) -> Vitals:
    """Raises ValueError for anything but what `_line` writes."""
    if len(line) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
    found = json.loads(line)
    if not isinstance(found, dict) or tuple(found) != Vitals._fields:
        raise ValueError(f"its keys are not {', '.join(Vitals._fields)}")
    for name in ("gradients", "updates", "weights", "dead", "saturated"):
        if not _is_by_layer(found[name]):
            raise ValueError(f"{name} is not a number for each layer of G and D")
    for name in ("d_real", "d_fake"):
        if not (are_counts(found[name]) and len(found[name]) == BINS):
            raise ValueError(f"{name} is not {BINS} counts")
    if not (found["classes"] is None or are_counts(found["classes"])):
        raise ValueError("classes are not counts")
    if not (is_count(found["step"]) and is_size(found["spread"])):
        raise ValueError("step or spread is not a number")
    return Vitals(**found)


def _is_by_layer(value: Any) -> bool:
    """All numbers of a layer are sizes or shares."""
    return by_name(by_name(is_size))(value) and tuple(value) == ("G", "D")
