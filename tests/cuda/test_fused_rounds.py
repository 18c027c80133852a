"""Whole rounds with fused kernels on the stand-in: what is learnt is what a CPU learns, and a graph replays them."""

import numpy as np
import pytest

from minigan import ops
from minigan.backend import CPU
from minigan.cuda import launch
from minigan.recipes import DCGAN64, MLP2014, MLPMnist
from tests import strict_graph
from tests.runs.test_captured import play, players
from tests.strategies import error
from tests.strict_cupy import forbid_dtype

pytestmark = pytest.mark.emulated

RECIPES = {
    "mlp-mnist": MLPMnist(batch_size=4, latent=3, hidden_g=(8,), hidden_d=(8,), average=0.9),
    "mlp-2014": MLP2014(batch_size=4, latent=3, hidden_g=8, hidden_d=4, pieces=2),
    "dcgan-64": DCGAN64(batch_size=2, latent=3, width=1),
}
VIEWS = {"getitem", "empty", "reshape", "swapaxes", "transpose", "view"}  # which launch nothing
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


@every_recipe
def test_five_rounds_are_those_of_the_cpu(recipe, strict):
    plain = players(recipe, CPU, "float64")
    expected = play(plain, 5)
    there = players(recipe, strict, "float64")
    with ops.fast_kernels(1):
        found = play(there, 5)
    for ours, right in zip(found, expected, strict=True):
        assert ours == pytest.approx(right, rel=1e-8)
    mine, theirs = there.state.tensors(), plain.state.tensors()
    assert max(error(mine[name], theirs[name], floor=1e-3) for name in mine) < 1e-6


def test_rounds_in_tf32_are_captured_and_nearly_those_of_the_cpu(strict, monkeypatch):
    """Their convolutions go to tensor cores, but for those from and to images and single logits."""
    monkeypatch.setenv("CUPY_TF32", "1")
    launched, kernel = [], launch._kernel
    monkeypatch.setattr(launch, "_kernel", lambda *of: launched.append(of[2]) or kernel(*of))
    recipe = DCGAN64(batch_size=2, latent=3, width=8, size=(16, 16))
    captured, one_by_one, on_cpu = players(recipe, strict), players(recipe, strict), players(recipe, CPU)
    with ops.fast_kernels(1):
        found = play(captured, 3)
        assert found == play(one_by_one, 3, watched=range(3))
    assert captured._graph.launches == 1
    mine, theirs = captured.state.tensors(), one_by_one.state.tensors()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    assert found[0] == pytest.approx(play(on_cpu, 1)[0], rel=1e-2)
    assert {"forward", "input_grad", "weight_grad", "cut", "add_up"} <= set(launched)


@every_recipe
def test_captured_rounds_are_those_operation_by_operation_to_the_bit(recipe, strict):
    captured, one_by_one = players(recipe, strict), players(recipe, strict)
    with ops.fast_kernels(1), forbid_dtype("float64"):
        found = play(captured, 8)
        assert found == play(one_by_one, 8, watched=range(8))
    assert captured._graph.launches == 6
    assert one_by_one._graph is None
    mine, theirs = captured.state.tensors(), one_by_one.state.tensors()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def launches_of_a_round(recipe, strict, monkeypatch):
    """How many, and how many of them on the second stream; operation by operation."""
    names, streams = [], []
    run, record = strict_graph.run, strict_graph.record

    def named(name, *more):
        names.append(name)
        try:
            return run(name, *more)
        finally:
            names.pop()

    def counted(call):
        if not (names and names[-1] in VIEWS):
            streams.append(strict.xp.cuda.get_current_stream())
        return record(call)

    rounds = players(recipe, strict)
    with rounds, monkeypatch.context() as patch:
        rounds.play()
        patch.setattr(strict_graph, "run", named)
        patch.setattr(strict_graph, "record", counted)
        rounds.play()
    return len(streams), sum(stream is rounds._second for stream in streams)


def test_a_round_of_fused_kernels_has_a_quarter_of_the_launches_at_most(strict, monkeypatch):
    """239 become 47."""
    plain, _ = launches_of_a_round(RECIPES["mlp-mnist"], strict, monkeypatch)
    with ops.fast_kernels(1):
        fused, _ = launches_of_a_round(RECIPES["mlp-mnist"], strict, monkeypatch)
    assert fused <= plain / 4


def test_a_round_of_the_paper_has_as_many_launches_as_docs_gpu_md_says(strict, monkeypatch):
    with ops.fast_kernels(1):
        assert launches_of_a_round(RECIPES["mlp-2014"], strict, monkeypatch) == (41, 13)
