"""minigan in a process of its own: plain or fast kernels, or a GPU."""

import dataclasses
import os
from contextlib import ExitStack
from functools import cached_property
from typing import Any, TypeVar

from benchmarks.machine import largest
from benchmarks.rounds import digits, seconds_a_round, start
from minigan.backend import CPU, select_device
from minigan.recipes import Recipe
from minigan.recipes.cost import cost
from minigan.runs.blas import blas_facts, compute

# Rounds whose losses are compared: that of G is after D's first update. In float32 a second round tells little, as Adam
# magnifies rounding errors: those of dcgan-256 then differ by 1.4e-2. Narrow networks are compared longer in the tests.
CHECKED = 1

SomeRecipe = TypeVar("SomeRecipe", bound=Recipe)


def without_dropout(recipe: SomeRecipe) -> SomeRecipe:
    """The recipe with all shares to be dropped 0: each side draws its own masks, so that losses differ with them."""
    shares: dict[str, Any] = {f.name: 0.0 for f in dataclasses.fields(recipe) if f.name.startswith("drop")}
    return dataclasses.replace(recipe, **shares)


class MiniganSide:
    """Plays rounds of one recipe."""

    def __init__(self, recipe: Recipe, kernels: str, threads: int, device: str = "cpu", tf32: bool = False) -> None:
        self._recipe = recipe
        if tf32:  # read by CuPy at each product
            os.environ["CUPY_TF32"] = "1"
        self._device = select_device(device)
        self._images = digits(recipe)
        self._open = ExitStack()  # to the end of the process
        if self._device is CPU:
            self._open.enter_context(compute(kernels, threads, cost(recipe, self._images.shape[1:]).round_macs))

    def first_losses(self) -> list[float]:
        """Losses of D and G in the first rounds, without dropout."""
        _, play = start(without_dropout(self._recipe), self._images, self._device)
        return [float(metrics[name]) for metrics in (play() for _ in range(CHECKED)) for name in ("loss_d", "loss_g")]

    @cached_property
    def _match(self) -> Any:
        return start(self._recipe, self._images, self._device)

    def seconds_a_round(self, rounds: int) -> float:
        return seconds_a_round(self._match[1], rounds, self._device.synchronize)

    def facts(self) -> dict[str, Any]:
        """What computed, and the process at its largest."""
        what = blas_facts() if self._device is CPU else f"CuPy {self._device.xp.__version__} on {self._device.name}"
        return {"computed_by": what, "precision": "float32", "largest_bytes": largest()}
