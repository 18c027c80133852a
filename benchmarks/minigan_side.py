"""minigan in a process of its own: plain or fast kernels; on a GPU plain or fused ones, or captured rounds."""

import dataclasses
import os
import sys
from contextlib import ExitStack
from functools import cached_property
from typing import Any, TypeVar

from benchmarks.machine import largest
from benchmarks.rounds import digits, not_captured, seconds_a_round, start
from minigan.backend import select_device
from minigan.errors import UserError
from minigan.recipes import Recipe
from minigan.recipes.cost import cost
from minigan.runs.blas import blas_facts, compute
from minigan.runs.rounds import Rounds

# Rounds whose losses are compared: that of G is after D's first update. In float32 a second round tells little, as Adam
# magnifies rounding errors: those of dcgan-256 then differ by 1.4e-2. Narrow networks are compared longer in the tests.
CHECKED = 1

LOSSES = ("loss_d", "loss_g")

SomeRecipe = TypeVar("SomeRecipe", bound=Recipe)


def without_dropout(recipe: SomeRecipe) -> SomeRecipe:
    """The recipe with all shares to be dropped 0: each side draws its own masks, so that losses differ with them."""
    shares: dict[str, Any] = {f.name: 0.0 for f in dataclasses.fields(recipe) if f.name.startswith("drop")}
    return dataclasses.replace(recipe, **shares)


class NotCaptured(UserError):
    """Rounds that should be captured go operation by operation."""


class MiniganSide:
    """Plays rounds of one recipe: operation by operation, or captured on a GPU."""

    def __init__(
        self, recipe: Recipe, kernels: str, threads: int, device: str = "cpu", tf32: bool = False,
        capture: bool = False, numba: bool = True,
    ) -> None:  # fmt: skip
        """numba: False makes as if it were not installed."""
        self._recipe, self._capture = recipe, capture
        if not numba:
            sys.modules["numba"] = None  # type: ignore[assignment]
        if device != "cpu":  # CuPy reads it before its first product in float32, our own calls of cuBLAS at each
            os.environ["CUPY_TF32"] = str(int(tf32))
        self._device = select_device(device)
        self._images = digits(recipe)
        self._open = ExitStack()  # to the end of the process
        self._open.enter_context(compute(kernels, threads, cost(recipe, self._images.shape[1:]).round_macs))

    def first_losses(self) -> list[float]:
        """Losses of D and G in the first rounds, without dropout."""
        with self._start(without_dropout(self._recipe)) as match:
            return [float(measured[name]) for measured in (match.play() for _ in range(CHECKED)) for name in LOSSES]

    @cached_property
    def _match(self) -> Rounds:
        return self._open.enter_context(self._start(self._recipe))

    def _start(self, recipe: Recipe) -> Rounds:
        return start(recipe, self._images, self._device, capture=self._capture)

    def seconds_a_round(self, rounds: int) -> float:
        """Raises NotCaptured."""
        seconds = seconds_a_round(self._match.play, rounds, self._device.synchronize)
        if self._capture and (why := not_captured(self._match)):
            raise NotCaptured(why)
        return seconds

    def facts(self) -> dict[str, Any]:
        """What computed, and the process at its largest."""
        what = blas_facts(self._device) + (", captured rounds" if self._capture else "")
        return {"computed_by": what, "precision": "float32", "largest_bytes": largest()}
