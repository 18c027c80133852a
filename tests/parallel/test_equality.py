"""N processes that share a batch make the updates of one that has all of it, to the last digits of float64."""

import dataclasses
from unittest.mock import patch

import numpy as np
import pytest

from minigan.backend import CPU
from minigan.data.batches import Batches
from minigan.data.stream import StreamedImages
from minigan.games import play_round, r1
from minigan.games.player import Player
from minigan.kernels import blocks
from minigan.parallel.mpi import NCCLTeam
from minigan.parallel.team import ALONE, PartOfDraws, Team
from minigan.recipes import CDCGAN28, DCGAN28, DCGAN64, MLP2014, WGANGP28, DCGANUpsample, MLPMnist
from minigan.runs import state as states
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import feed
from minigan.runs.saved import draw_samples
from minigan.runs.state import State
from tests.kernels.twins import fast
from tests.parallel.thread_team import ThreadTeam, together
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

BATCH, COUNT, ROUNDS, BOUND = 6, 20, 3, 1e-12
MNIST = MLPMnist(batch_size=BATCH, latent=3, hidden_g=(8, 6), hidden_d=(8, 6), flip=True, jitter=0.3)
JOINED = DCGANUpsample(batch_size=BATCH, latent=3, size=(8, 8), width=2, width_d=2, joined=True, drop=0.4)


class Penalised(DCGAN64):
    """R1 through BatchNorm, whose second gradient needs the means over all processes."""

    def game(self):
        return dataclasses.replace(super().game(), penalty=r1(1.0))


PENALISED = Penalised(batch_size=BATCH, latent=5, width=2, size=(16, 16))
RECIPES = [
    MNIST,
    MLP2014(batch_size=BATCH, latent=3, hidden_g=8, hidden_d=4, pieces=2),
    DCGAN64(batch_size=BATCH, latent=5, width=2, size=(16, 16)),
    DCGAN64(batch_size=BATCH, latent=5, width=2, size=(16, 16), flip=True, jitter=0.2),
    JOINED,
    dataclasses.replace(JOINED, joined=False),
    WGANGP28(batch_size=BATCH, latent=3, width=1, d_steps=2),
    CDCGAN28(batch_size=BATCH, latent=3, width=1, units=4),
    PENALISED,
]
BESIDE = DCGAN28(batch_size=BATCH, latent=3, width=2, width_d=2, units=4)  # biases beside BatchNorm
in_two_and_three = pytest.mark.parametrize("processes", [2, 3])


def images_of(recipe):
    height, width = recipe.image_size or (6, 5)
    return np.random.default_rng(0).integers(0, 256, (COUNT, height, width, 3), dtype=np.uint8)


def play(team: Team, recipe, device=CPU, dtype="float64", rounds=ROUNDS, stream=False, **changes):
    """(means of what each round measured, all tensors at the end) in one process of a team."""
    images, game = images_of(recipe), dataclasses.replace(recipe.game(), **changes)
    batches = Batches(COUNT, BATCH, 0)
    state = State.start(recipe, images, batches.per_epoch, 0, np.dtype(dtype), device, team)
    source = StreamedImages(images.shape[1:], images.__getitem__, range(COUNT)) if stream else images
    rows = []
    with feed(source, batches, device, team, labels=np.arange(COUNT) % 10) as there:
        for step in range(rounds):
            draws = SeededDraws(recipe, there, 0, step, game.d_steps, np.dtype(dtype))
            measured = play_round(game, state.g, state.d, draws)
            state.finish_round(recipe.average)
            rows.append(team.gather(device.xp.stack(list(measured.values()))).mean(axis=0))
    return np.array([device.xp.asarray(row).get() if device is not CPU else row for row in rows]), state.tensors()


def apart(found, expected):
    """The largest difference, relative to the largest number."""
    return abs(found - expected).max() / abs(expected).max()


@in_two_and_three
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_losses_and_all_numbers_are_those_of_one_process(recipe, processes):
    rows, tensors = play(ALONE, recipe)
    for found, all_of_them in together(processes, lambda team: play(team, recipe)):
        assert apart(found, rows) <= BOUND
        for name, tensor in tensors.items():
            assert apart(all_of_them[name], tensor) <= BOUND, name


@pytest.mark.parametrize("recipe", RECIPES[:3], ids=lambda recipe: recipe.name)
def test_processes_that_share_batches_put_no_two_of_them_into_one_array(recipe):
    _, tensors = play(ALONE, recipe)
    for _, all_of_them in together(2, lambda team: play(team, recipe, at_once=True)):
        assert all(apart(all_of_them[name], tensor) <= BOUND for name, tensor in tensors.items())


@in_two_and_three
def test_biases_beside_batchnorm_may_differ_but_nothing_that_they_change(processes):
    """Their gradient is zero; what rounding leaves of it, Adam makes steps of."""
    rows, _ = play(ALONE, BESIDE)
    for found, _ in together(processes, lambda team: play(team, BESIDE)):
        assert apart(found, rows) <= BOUND


@pytest.mark.parametrize("recipe", [MNIST, BESIDE], ids=lambda recipe: recipe.name)
def test_all_processes_have_the_same_bits(recipe):
    first, *others = together(3, lambda team: play(team, recipe, dtype="float32"))
    for rows, tensors in others:
        assert np.array_equal(rows, first[0])
        assert all(np.array_equal(tensors[name], first[1][name]) for name in tensors)


@pytest.mark.parametrize("recipe", [MNIST, JOINED], ids=lambda recipe: recipe.name)
def test_fast_kernels_and_images_that_are_streamed(recipe):
    rows, tensors = play(ALONE, recipe)
    with fast(1, blocks):
        for found, all_of_them in together(2, lambda team: play(team, recipe, stream=True)):
            assert apart(found, rows) <= BOUND
            assert max(apart(all_of_them[name], tensor) for name, tensor in tensors.items()) <= BOUND


def test_an_observer_sees_the_gradient_of_the_whole_batch():
    def seen(team):
        player = State.start(MNIST, images_of(MNIST), 3, 0, np.dtype("float64"), CPU, team).d
        found = []
        player.observer = lambda player: found.append(player.grads.flat.copy())
        player.grads.flat[:] = team.rank + 1
        player.update()
        return found[0]

    for gradient in together(2, seen):
        assert (gradient == 1.5).all()


def test_one_meeting_an_update_and_one_a_pass_through_a_batchnorm():
    boards = together(2, lambda team: (play(team, MNIST, rounds=1), team.board.meetings)[1])
    # G has two BatchNorms: forward in D's step, forward and backward in its own; two updates; one row of measurements.
    assert set(boards) == {2 + 2 + 2 + 2 + 1}


# On a GPU ---------------------------------------------------------------------------------------------


class FakeNCCL:
    """The two calls of cupyx.distributed.NCCLBackend that are used, between threads."""

    def __init__(self, team: ThreadTeam) -> None:
        self.team = team

    def all_reduce(self, source, target):
        target[...] = self.team.gather(source).sum(axis=0)

    def all_gather(self, source, target, count):
        assert source.size == count
        target[...] = self.team.gather(source)


def with_nccl(team: ThreadTeam) -> NCCLTeam:
    return NCCLTeam(team.rank, team.size, team.place, team.neighbours, nccl=FakeNCCL(team))


@pytest.mark.parametrize("recipe", [MNIST, JOINED], ids=lambda recipe: recipe.name)
def test_a_gpu_s_arrays_stay_there_and_get_the_bits_of_the_cpu(recipe, strict):
    with forbid_synchronisation(), forbid_dtype("float64"):
        on_gpu = together(2, lambda team: play_without_reading(with_nccl(team), recipe, strict))
    on_cpu = together(2, lambda team: play_without_reading(team, recipe, CPU))
    for there, here in zip(on_gpu, on_cpu, strict=True):
        tensors = here.tensors()
        assert all(np.array_equal(tensor, tensors[name]) for name, tensor in there.tensors().items())


def play_without_reading(team: Team, recipe, device) -> State:
    images, game, batches = images_of(recipe), recipe.game(), Batches(COUNT, BATCH, 0)
    state = State.start(recipe, images, batches.per_epoch, 0, np.dtype("float32"), device, team)
    with feed(images, batches, device, team) as there:
        for step in range(2):
            play_round(game, state.g, state.d, SeededDraws(recipe, there, 0, step, game.d_steps, np.dtype("float32")))
    return state


# A test that cannot fail is no test -------------------------------------------------------------------


def differs(recipe=MNIST) -> bool:
    rows, tensors = play(ALONE, recipe)
    (found, all_of_them), _ = together(2, lambda team: play(team, recipe))
    errors = [apart(found, rows), *(apart(all_of_them[name], tensor) for name, tensor in tensors.items())]
    return max(errors) > 100 * BOUND


def _update_alone(self: Player) -> None:
    self.updates += 1
    self.optimiser.update(self.theta, self.grads, self.moments, self.updates)
    self.grads.flat.fill(0)


def _summed(self: Team, vector):
    vector[...] = self.gather(vector).sum(axis=0)


def _norm_of_the_part(net, gather):
    assert gather is not None
    return net


def _first_masks(self: Team, rng, rows):
    assert rows == BATCH // self.size
    return rng


def _first_part(self: Team, batch):
    return batch[: len(batch) // self.size]


def _every_other_sample(self: Team, batch):
    return batch[self.rank :: self.size]


def _masks_as_if_apart(self: PartOfDraws, size, dtype):
    return self.rng.random((self.team.size, *size), dtype=dtype)[self.team.rank]


@pytest.mark.parametrize(
    ("place", "name", "wrong"),
    [
        (Player, "update", _update_alone),
        (ThreadTeam, "average", _summed),
        (states, "convert_sync_batchnorm", _norm_of_the_part),
        (Team, "draws", _first_masks),
        (Team, "part", _first_part),
        (Team, "part", _every_other_sample),  # while masks go by parts
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_planted_mistake_is_noticed(place, name, wrong):
    with patch.object(place, name, wrong):
        assert differs()


def test_masks_of_a_joined_batch_in_the_wrong_order_are_noticed():
    assert not differs(JOINED)
    with patch.object(PartOfDraws, "random", _masks_as_if_apart):
        assert differs(JOINED)


def test_what_one_process_draws_the_others_need_not_know_of():
    """Samples that are normalised among themselves are drawn by the one that writes the pictures."""
    recipe = CDCGAN28(batch_size=BATCH, latent=3, width=1, units=4, running_statistics=False)

    def draw(team):
        state = State.start(recipe, images_of(recipe), 1, 0, np.dtype("f4"), CPU, team)
        if not team.leads:
            return None
        z = recipe.told(recipe.draw_latents(np.random.default_rng(0), 6))
        return draw_samples(recipe, state, z, (28, 28, 3))

    drawn, _ = together(2, draw)
    assert np.array_equal(drawn, draw(ALONE))
