"""What processes have to agree on before they train together."""

import re

import numpy as np
import pytest

from minigan.backend import CPU, GPUUnavailable
from minigan.data.batches import Batches
from minigan.errors import UsageError, UserError
from minigan.parallel.team import ALONE, Team
from minigan.recipes import MLPMnist, ToolboxMLP
from minigan.runs import together as module
from minigan.runs.state import State
from minigan.runs.together import check_parts, check_same, device_of
from tests.parallel.thread_team import together

RECIPE = MLPMnist(batch_size=8, latent=3, hidden_g=(8,), hidden_d=(8,))
IMAGES = np.zeros((20, 6, 6, 1), np.uint8)


def refused(batches, size, recipe=RECIPE):
    with pytest.raises(UsageError) as caught:
        check_parts(recipe, batches, Team(0, size))
    return str(caught.value)


def test_batches_that_have_equal_parts():
    for size in (1, 2, 4, 8):
        check_parts(RECIPE, Batches(20, 8, 0), Team(0, size))
    check_parts(RECIPE, Batches(24, 8, 0, "keep"), Team(0, 2))
    check_parts(ToolboxMLP(), Batches(2000, 999, 0, "keep"), ALONE)


def test_the_nearest_sizes_that_have_are_named():
    assert refused(Batches(20, 8, 0), 3).endswith("no equal parts for 3 processes: the nearest that has is 6 or 9")
    assert refused(Batches(20, 8, 0), 16).endswith("no equal parts for 16 processes: the nearest that has is 16")


def test_a_last_batch_that_is_shorter_is_refused():
    assert "a last batch of 4 images" in refused(Batches(20, 8, 0, "keep"), 2)


def test_a_game_with_batches_of_its_own_is_refused():
    assert "toolbox-mlp plays rounds of its own" in refused(Batches(2000, 1000, 0), 2, ToolboxMLP())


@pytest.mark.parametrize("other", ["seed", "images", "step"])
def test_processes_with_other_numbers_are_stopped(other):
    def start(team, odd):
        state = State.start(RECIPE, IMAGES, 2, odd if other == "seed" else 0, np.dtype("float32"), CPU, team)
        state.step = odd if other == "step" else 0
        check_same(state, 20 + odd if other == "images" else 20, team)

    together(2, lambda team: start(team, 0))
    with pytest.raises(UserError, match="do not have the same step"):
        together(2, lambda team: start(team, team.rank))


@pytest.fixture
def gpus(monkeypatch):
    """Set how many GPUs the machine has."""
    there = [0]

    def select(name):
        if name in ("cpu", "auto"):
            return CPU
        if int(name.partition(":")[2]) >= there[0]:
            raise GPUUnavailable(f"no GPU number {name}")
        return module.Device(name, "cupy")

    monkeypatch.setattr(module, "select_device", select)
    return lambda count: there.__setitem__(0, count)


def test_each_process_gets_a_gpu_of_its_own_or_all_get_the_cpu(gpus):
    gpus(2)
    for name in ("auto", "gpu"):
        assert [d.name for d in together(2, lambda team, name=name: device_of(name, team))] == ["gpu:0", "gpu:1"]
    gpus(1)
    assert together(2, lambda team: device_of("auto", team)) == [CPU, CPU]
    with pytest.raises(GPUUnavailable, match="no GPU number gpu:1"):
        together(2, lambda team: device_of("gpu", team))
    assert together(2, lambda team: device_of("cpu", team)) == [CPU, CPU]


def test_one_gpu_for_all_is_refused(gpus):
    gpus(2)
    with pytest.raises(UsageError, match=re.escape("--device gpu:1 for 2 processes: choose")):
        device_of("gpu:1", Team(0, 2))
    assert device_of("gpu:1", ALONE).name == "gpu:1"
