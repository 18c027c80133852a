"""Layers keep their promises with the fast kernels of a GPU too, on the stand-in: the contract battery once more."""

from collections.abc import Iterator

import numpy as np
import pytest

from minigan import nn, ops
from minigan.backend import Device
from tests import strict_cupy
from tests.nn.promises import *  # noqa: F403


@pytest.fixture
def device() -> Iterator[Device]:
    with strict_cupy.installed() as found, ops.fast_kernels(1):
        yield found


def test_the_versions_of_the_gpu_are_those_that_were_tested(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ops._gpu_twins, "conv2d_and_seen", lambda *_: 1 / 0)
    theta = {"w": device.put(np.ones((3, 3, 1, 2))), "b": device.put(np.ones(2))}
    with pytest.raises(ZeroDivisionError):
        nn.Conv2D(2, 3).forward(theta, device.put(np.ones((1, 5, 5, 1))), train=True)
