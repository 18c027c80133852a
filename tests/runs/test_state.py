"""What goes into a checkpoint, and what a checkpoint must be to come back."""

from pathlib import Path

import numpy as np
import pytest

from minigan.backend import CPU
from minigan.errors import CheckpointError
from minigan.recipes import MLP2014, MLPMnist
from minigan.runs.checkpoint import Checkpoint, write_checkpoint
from minigan.runs.state import State, check_layout, read_newest_state

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 1), dtype=np.uint8)
SMALL = MLPMnist(batch_size=8, latent=3, hidden_g=(8,), hidden_d=(8,))
MAXOUT = MLP2014(batch_size=8, latent=3, hidden_g=8, hidden_d=4, pieces=2)


def start(recipe=SMALL, seed=0, dtype="float32"):
    return State.start(recipe, IMAGES, 5, seed, np.dtype(dtype), CPU)


def saved(state):
    return Checkpoint({name: tensor.copy() for name, tensor in state.tensors().items()}, state.facts())


def scramble(state):
    """Other numbers everywhere, as after some training."""
    rng = np.random.default_rng(1)
    for tensor in state.tensors().values():
        tensor[...] = rng.standard_normal(tensor.shape)
        tensor[0] = -0.0  # equal to 0.0, but not the same bits
    state.step, state.g.updates, state.d.updates = 12, 13, 26
    return state


@pytest.mark.parametrize("recipe", [SMALL, MAXOUT], ids=lambda recipe: recipe.name)
def test_a_checkpoint_holds_parameters_moments_and_average(recipe):
    names = set(start(recipe).tensors())
    assert {"generator.theta", "discriminator.theta"} < names
    assert ("generator.average" in names) == (recipe.average > 0)
    for role in ("generator", "discriminator"):
        assert [name for name in names if name.startswith(role) and not name.endswith(("theta", "average"))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("recipe", [SMALL, MAXOUT], ids=lambda recipe: recipe.name)
def test_a_restored_state_is_the_saved_one(recipe, dtype):
    before = scramble(start(recipe, dtype=dtype))
    after = start(recipe, seed=5, dtype=dtype)
    after.restore(saved(before), CPU)
    assert after.facts() == before.facts()
    assert (after.step, after.g.updates, after.d.updates) == (12, 13, 26)
    assert {name: t.tobytes() for name, t in after.tensors().items()} == {
        name: t.tobytes() for name, t in before.tensors().items()
    }


def test_a_restored_state_does_not_share_memory_with_the_checkpoint():
    checkpoint = saved(start())
    state = start()
    state.restore(checkpoint, CPU)
    scramble(state)
    np.testing.assert_array_equal(checkpoint.tensors["generator.theta"], start().g.theta.flat)


def test_the_views_still_belong_to_the_vector_after_restoring():
    state = start()
    state.restore(saved(scramble(start())), CPU)
    first = next(iter(state.g.theta.values()))
    assert np.shares_memory(first, state.g.theta.flat)
    np.testing.assert_array_equal(first.ravel(), state.g.theta.flat[: first.size])


def test_all_missing_extra_and_differing_tensors_are_listed():
    needed = {"generator": {"dense1.w": (3, 8), "dense1.b": (8,), "gone.w": (1,)}, "discriminator": {"dense1.w": (2,)}}
    found = {"generator": {"dense1.w": [3, 9], "dense1.b": [8], "new.w": [1]}}
    with pytest.raises(CheckpointError) as caught:
        check_layout(needed, found)
    assert str(caught.value) == (
        "the checkpoint is of another network: extra generator.new.w; generator.dense1.w is (3, 9), not (3, 8); "
        "missing discriminator.dense1.w; missing generator.gone.w"
    )
    check_layout(needed, needed)


@pytest.mark.parametrize(
    ("other", "differences"),
    [
        (MLPMnist(latent=4, hidden_g=(8,), hidden_d=(8,)), ["generator.dense1.w is (4, 8), not (3, 8)"]),
        (MLPMnist(latent=3, hidden_g=(8, 8), hidden_d=(8,)), ["extra generator.dense3.w"]),
        (MLPMnist(latent=3, hidden_g=(8,), hidden_d=()), ["missing discriminator.dense2.w"]),
        (MAXOUT, ["missing generator.batchnorm1.mean", "extra discriminator.dense3.w"]),
    ],
    ids=["latent", "one layer more", "one layer less", "recipe"],
)
def test_a_checkpoint_of_another_network_is_refused_with_the_differences(other, differences):
    state = start()
    with pytest.raises(CheckpointError, match="of another network") as caught:
        state.restore(saved(scramble(start(other))), CPU)
    for difference in differences:
        assert difference in str(caught.value)
    assert state.step == 0


def test_a_checkpoint_of_another_precision_is_refused():
    with pytest.raises(CheckpointError, match=r"checkpoint is float64 .* needs float32 .* another --precision\?"):
        start().restore(saved(start(dtype="float64")), CPU)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_checkpoint_with_another_averaging_is_refused(average):
    def recipe(average):
        return MLPMnist(latent=3, hidden_g=(8,), hidden_d=(8,), average=average)

    with pytest.raises(CheckpointError, match=r"this run needs .*: other optimisers, or another averaging"):
        start(recipe(average)).restore(saved(start(recipe(0.9 - average))), CPU)


def test_a_vector_of_another_length_is_refused_even_if_the_layout_agrees():
    checkpoint = saved(start())
    checkpoint.tensors["generator.m"] = np.zeros(3, np.float32)
    with pytest.raises(CheckpointError, match=r"float32 \(3,\)"):
        start().restore(checkpoint, CPU)


def test_samples_are_drawn_with_the_average_where_there_is_one():
    state, plain = start(), start(MAXOUT)
    assert state.drawing is state.average
    assert plain.drawing is plain.g.theta
    assert plain.average is None


def test_a_checkpoint_that_is_not_of_a_run_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, Checkpoint({"x": np.zeros(3)}, {"step": 4}))
    with pytest.raises(CheckpointError, match="not of a run, it lacks updates, layout"):
        read_newest_state(tmp_path)


RIGHT = {
    "step": 4, "updates": {"generator": 4}, "layout": {"generator": {"dense.w": [2, 3], "scale": []}},
    "recipe": "mlp-mnist", "image_shape": [28, 28, 1], "blas": "OpenBLAS",
}  # fmt: skip
WRONG = {
    "step": [True, 2**60],
    "updates": [None, 4, [4], {}, {"generator": -1}, {"generator": 1.5}, {"generator": 4, "copy": 4}],
    "layout": [None, "x", [[]], {"generator": 4}, {"generator": {"w": 2}}, {"generator": {"w": [1.5]}}],
    "recipe": [None, 3, ["mlp-mnist"]],
    "image_shape": [None, 28, "28", [28, 28], [28, 28, 0], [28.0, 28, 1], [-28, -28, 1], [2**31, 2**31, 1]],
    "lacks": [None, 5, "discriminator"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_facts_that_no_run_writes_are_refused_though_the_checksum_fits(tmp_path, name, value):
    write_checkpoint(tmp_path, Checkpoint({"x": np.zeros(3)}, RIGHT))
    assert read_newest_state(tmp_path)[0].facts["step"] == 4
    (tmp_path / "step-000000004.safetensors").unlink()
    write_checkpoint(tmp_path, Checkpoint({"x": np.zeros(3)}, RIGHT | {name: value}))
    with pytest.raises(CheckpointError, match=f"not of a run, its .*{name}.* cannot be"):
        read_newest_state(tmp_path)
