"""Real batches as D sees them: changed by the recipe's augmentation, as a function of (seed, step)."""

import dataclasses

import numpy as np
import pytest

from minigan.backend import CPU, to_host
from minigan.data import augment
from minigan.data.batches import Batches
from minigan.errors import UserError
from minigan.games import play_round
from minigan.randomness import Purpose, stream
from minigan.recipes import DCGAN28, DCGAN64, DCGAN256, MLP2014, RECIPES, MLPMnist, ToolboxMLP
from minigan.runs import draws as draws_module
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import feed
from minigan.runs.state import State
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

COUNT, BATCH = 12, 4
F4 = np.dtype("float32")
FLAT = MLPMnist(batch_size=BATCH, latent=3, hidden_g=(8,), hidden_d=(8,))
DEEP = DCGAN64(batch_size=BATCH, latent=3, width=1)


def photos(recipe, channels=3):
    size = recipe.image_size or (6, 5)
    return np.random.default_rng(0).integers(0, 256, (COUNT, *size, channels), dtype=np.uint8)


def real(recipe, images, step=0, k=0, seed=0, d_steps=1, dtype=F4):
    return SeededDraws(recipe, feed(images, Batches(COUNT, BATCH, seed), CPU), seed, step, d_steps, dtype).real(k)


def plain(images, step=0, seed=0):
    """The batch without any change, as bytes."""
    return images[Batches(COUNT, BATCH, seed).indices(step)]


def with_both(recipe):
    return dataclasses.replace(recipe, flip=True, jitter=0.3)


@pytest.mark.parametrize("recipe", [FLAT, DEEP], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_changed_before_they_are_flattened(recipe, channels):
    recipe, images = with_both(recipe), photos(recipe, channels)
    changes = augment.draw_changes(stream(5, Purpose.AUGMENT, 2, 0), BATCH, 0.3)
    x = augment.mirror(plain(images, 2, seed=5), changes.mirrored)
    x = augment.jitter(x.astype(F4), changes.factors.astype(F4))
    expected = x.reshape(BATCH, *recipe.sample_shape(images.shape[1:])) * np.float32(2 / 255) - 1
    found = real(recipe, images, 2, seed=5)
    assert found.dtype == F4
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_nothing_is_drawn_and_nothing_changed_where_both_are_off(recipe, monkeypatch):
    steps = {"minibatch": BATCH} if recipe is ToolboxMLP else {}
    recipe = recipe(batch_size=BATCH, jitter=0.0, **steps)
    images = photos(recipe)

    def refuse(*_args):
        raise AssertionError("drawn")

    monkeypatch.setattr(draws_module, "stream", refuse)
    assert np.array_equal(real(recipe, images), recipe.encode(plain(images), F4))


def test_only_the_cntk_face_dcgan_changes_its_images_by_default():
    assert {name: (recipe().flip, recipe().jitter) for name, recipe in RECIPES.items()} == {
        "mlp-mnist": (False, 0.0),
        "mlp-2014": (False, 0.0),
        "toolbox-mlp": (False, 0.0),
        "dcgan-28": (False, 0.0),
        "dcgan-64": (False, 0.0),
        "dcgan-upsample": (False, 0.0),
        "dcgan-256": (False, 0.2),
        "wgan-gp-28": (False, 0.0),
    }


def test_flips_alone_are_the_images_or_their_mirror_images():
    recipe = dataclasses.replace(DEEP, flip=True)
    images, kinds = photos(recipe), []
    for step in range(6):
        before, found = plain(images, step), real(recipe, images, step)
        for image, sample in zip(before, recipe.decode(found, images.shape[1:]), strict=True):
            assert np.array_equal(sample, image) != np.array_equal(sample, image[:, ::-1])
            kinds.append(np.array_equal(sample, image))
    assert 4 < sum(kinds) < 20  # of 24


def test_flips_do_not_depend_on_whether_there_is_jitter():
    images = photos(DEEP)
    faint = real(dataclasses.replace(DEEP, flip=True, jitter=1e-6), images)
    np.testing.assert_allclose(faint, real(dataclasses.replace(DEEP, flip=True), images), atol=1e-5)


def test_changes_are_a_function_of_seed_step_and_turn_and_each_sample_has_its_own():
    """One image twelve times, so that samples differ by their changes alone."""
    recipe = with_both(DCGAN28(batch_size=BATCH, d_steps=2))
    images = np.repeat(photos(recipe)[:1], COUNT, axis=0)
    again = [real(recipe, images, 1, 1, d_steps=2) for _ in range(2)]
    assert np.array_equal(again[0], again[1])
    keys = [(step, k, seed) for step in (0, 1) for k in (0, 1) for seed in (0, 1)]
    samples = np.concatenate([real(recipe, images, step, k, seed, d_steps=2) for step, k, seed in keys])
    assert len({sample.tobytes() for sample in samples}) == len(keys) * BATCH


@pytest.mark.parametrize("recipe", [FLAT, DEEP, DCGAN256(batch_size=2, latent=3, width=1)], ids=lambda r: r.name)
def test_a_gpu_gets_the_same_bits_without_waiting(recipe, strict):
    """Real batches and the weights after two rounds; nothing in double precision."""
    recipe, ends = with_both(recipe), []
    images = photos(recipe)
    batches, game = Batches(COUNT, recipe.batch_size, 0), recipe.game()
    for device in (CPU, strict):
        state = State.start(recipe, images, batches.per_epoch, 0, F4, device)
        there = feed(images, batches, device)
        with forbid_synchronisation(), forbid_dtype("float64"):
            for step in range(2):
                play_round(game, state.g, state.d, SeededDraws(recipe, there, 0, step, game.d_steps, F4))
        ends.append(state.tensors())
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_pixels_stay_between_black_and_white():
    for recipe in (MLPMnist(batch_size=BATCH, jitter=1.0), MLP2014(batch_size=BATCH, jitter=1.0)):
        x = to_host(real(recipe, photos(recipe)))
        assert recipe.low <= x.min()
        assert x.max() <= recipe.high


def test_a_batch_that_the_rules_do_not_have_is_refused():
    """It would be that of the next round."""
    images = photos(FLAT, channels=1)
    assert np.array_equal(real(FLAT, images, d_steps=2, k=1), real(FLAT, images, step=1))
    for k in (2, -1):
        with pytest.raises(UserError, match=f"asks for batch {k}, counted from 0, and its rules have d_steps = 2"):
            real(FLAT, images, d_steps=2, k=k)
