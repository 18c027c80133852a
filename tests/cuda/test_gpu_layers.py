"""Layers keep their promises with the fast kernels of a GPU too, on the stand-in: the contract battery once more."""

from collections.abc import Iterator

import numpy as np
import pytest

from minigan import nn, ops
from minigan.backend import Device
from tests import strict_cupy
from tests.nn.test_contract import (
    test_arrays_have_the_shapes_that_were_told,
    test_backward_changes_neither_its_gradient_nor_parameters_nor_cache,
    test_caches_of_several_passes_live_side_by_side,
    test_forward_changes_neither_parameters_nor_input,
    test_gradients_are_added_to_what_is_there,
    test_strides_do_not_matter,
    test_the_precision_is_kept,
    test_without_a_place_for_gradients_the_input_gradient_is_the_same,
    test_without_an_input_gradient_the_parameter_gradients_are_the_same,
)

__all__ = [
    "test_arrays_have_the_shapes_that_were_told",
    "test_backward_changes_neither_its_gradient_nor_parameters_nor_cache",
    "test_caches_of_several_passes_live_side_by_side",
    "test_forward_changes_neither_parameters_nor_input",
    "test_gradients_are_added_to_what_is_there",
    "test_strides_do_not_matter",
    "test_the_precision_is_kept",
    "test_without_a_place_for_gradients_the_input_gradient_is_the_same",
    "test_without_an_input_gradient_the_parameter_gradients_are_the_same",
]


@pytest.fixture
def device() -> Iterator[Device]:
    with strict_cupy.installed() as found, ops.fast_kernels(1):
        yield found


def test_the_versions_of_the_gpu_are_those_that_were_tested(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ops._gpu_twins, "conv2d", lambda *_: 1 / 0)
    theta = {"w": device.put(np.ones((3, 3, 1, 2))), "b": device.put(np.ones(2))}
    with pytest.raises(ZeroDivisionError):
        nn.Conv2D(2, 3).forward(theta, device.put(np.ones((1, 5, 5, 1))), train=True)
