"""Layers keep their promises with fast kernels too: the contract battery once more."""

from collections.abc import Iterator

import numpy as np
import pytest

from minigan import nn, ops
from minigan.backend import CPU, Device
from minigan.functional.patches import Geometry
from tests.kernels.twins import fast
from tests.nn.promises import *  # noqa: F403


@pytest.fixture
def device() -> Device:
    return CPU


@pytest.fixture(autouse=True)
def fast_kernels() -> Iterator[None]:
    with fast(2):
        yield


def test_the_fast_versions_are_those_that_were_tested() -> None:
    assert ops.kernels_in_use().startswith("fast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ops._host_twins, "conv2d", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            nn.Conv2D(2, 3).forward({"w": np.ones((3, 3, 1, 2)), "b": np.ones(2)}, np.ones((1, 5, 5, 1)), train=True)
    assert ops.conv2d(np.ones((1, 5, 5, 1)), np.ones((3, 3, 1, 2)), Geometry()).shape == (1, 3, 3, 2)
