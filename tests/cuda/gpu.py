"""Fast kernels on the stand-in for a GPU, and arrays there that lie in memory in any way."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from minigan import ops
from minigan.backend import Device, array_module
from minigan.cuda import batchnorm, conditioning, dense, launch, losses, pcg64
from tests import strict_cupy
from tests.kernels.twins import ALL_TWINS, Arrays

# Sizes of launches, and such that small arrays need several blocks, several turns of a block, and several chunks.
SIZES = [
    (launch, "THREADS", 4), (launch, "BLOCKS", 3), (losses, "THREADS", 8), (dense, "THREADS", 4),
    (conditioning, "THREADS", 4),
    (batchnorm, "LANES", 2), (batchnorm, "LANES_OF_SUMS", 3), (batchnorm, "BLOCKS", 4), (batchnorm, "FEW", 6),
    (pcg64, "THREADS", 3), (pcg64, "WORDS", 2), (pcg64, "MOST_THREADS", 9),
]  # fmt: skip


@contextmanager
def small_launches() -> Iterator[None]:
    with ExitStack() as stack:
        for module, name, value in SIZES:
            assert getattr(module, name) > value
            stack.enter_context(patch.object(module, name, value))
        yield


@contextmanager
def fast_gpu() -> Iterator[Device]:
    """The stand-in, and its fast kernels."""
    with strict_cupy.installed() as device, ops.fast_kernels(1):
        yield device


def _turned(array: Any) -> Any:
    return array[tuple([slice(None, None, -1)] * array.ndim)]


def _batch_last(array: Any) -> Any:
    xp = array_module(array)
    return xp.moveaxis(xp.moveaxis(array, 0, -1).copy(), -1, 0)


def _rows_first(array: Any) -> Any:
    return array.swapaxes(0, 1).copy().swapaxes(0, 1) if array.ndim > 2 else array


# From the name of an array on the device and itself to one with the same numbers in other places.
LAYOUTS: dict[str, Callable[[str, Any], Any]] = {
    "C": lambda _, array: array,
    "Fortran": lambda _, array: array_module(array).asfortranarray(array),
    "every other": lambda _, array: array.repeat(2, axis=-1)[..., ::2],
    "backwards": lambda _, array: _turned(_turned(array).copy()),
    "batch last": lambda _, array: _batch_last(array),
    "rows first": lambda _, array: _rows_first(array),
    "dy rows first": lambda name, array: _rows_first(array) if name == "dy" else array,
    "rows first, not dy": lambda name, array: array if name == "dy" else _rows_first(array),
}


def on_gpu(device: Device, name: str, arrays: Arrays, extra: Any, layout: str = "C") -> list[np.ndarray]:
    """The results of a call there, which neither waits for the GPU nor copies to it, and leaves its arguments alone."""
    given = {key: LAYOUTS[layout](key, device.put(array)) for key, array in arrays.items()}
    with strict_cupy.counting() as counts, strict_cupy.forbid_synchronisation():
        results = ALL_TWINS[name].call(given, extra)
    assert counts.uploads == 0
    for key, array in arrays.items():
        assert np.array_equal(given[key].get(), array, equal_nan=True), f"{key} was changed"
    return [result if isinstance(result, np.ndarray) else result.get() for result in results]
