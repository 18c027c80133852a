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
from minigan.recipes import CDCGAN28, DCGAN28, DCGAN64, DCGAN256, MLP2014, RECIPES, MLPMnist, ToolboxMLP
from minigan.runs import draws as draws_module
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import feed
from minigan.runs.state import State
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

COUNT, BATCH = 12, 4
F4 = np.dtype("float32")
LABELS = np.arange(COUNT, dtype=np.uint8) % 3
FLAT = MLPMnist(batch_size=BATCH, latent=3, hidden_g=(8,), hidden_d=(8,))
DEEP = DCGAN64(batch_size=BATCH, latent=3, width=1)


def photos(recipe, channels=3):
    size = recipe.image_size or (6, 5)
    return np.random.default_rng(0).integers(0, 256, (COUNT, *size, channels), dtype=np.uint8)


def real(recipe, images, step=0, k=0, seed=0, d_steps=1, dtype=F4):
    there = feed(images, Batches(COUNT, BATCH, seed), CPU, labels=LABELS)
    return SeededDraws(recipe, there, seed, step, d_steps, dtype).real(k)


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
    found = real(recipe, images)
    assert np.array_equal(found[..., : found.shape[-1] - recipe.condition], recipe.encode(plain(images), F4))


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
        "cdcgan-28": (False, 0.0),
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


# What the networks are told -----------------------------------------------------------------------------


def told(device=CPU, **constants):
    recipe = CDCGAN28(batch_size=BATCH, latent=3, classes=3, width=1, units=4, **constants)
    there = feed(photos(recipe, 1), Batches(COUNT, BATCH, 0), device, labels=LABELS)
    return SeededDraws(recipe, there, 0, 2, 1, F4)


def test_images_and_both_latents_have_the_classes_of_the_batch_behind_them():
    draws = told()
    codes = np.eye(3, dtype=F4)[LABELS[Batches(COUNT, BATCH, 0).indices(2)]]
    real, z_d, z_g = draws.real(0), draws.latent_d(0), draws.latent_g()
    assert {array.dtype for array in (real, z_d, z_g)} == {F4}
    assert real.shape == (BATCH, 28, 28, 4)
    np.testing.assert_array_equal(real[..., 1:], np.broadcast_to(codes[:, None, None], (BATCH, 28, 28, 3)))
    np.testing.assert_array_equal(real[..., :1], draws.recipe.encode(plain(photos(draws.recipe, 1), 2), F4))
    for z in (z_d, z_g):
        np.testing.assert_array_equal(z[:, 3:], codes)
    assert not np.array_equal(z_d[:, :3], z_g[:, :3])


def test_changed_images_keep_their_class():
    assert np.array_equal(told(flip=True, jitter=0.5).real(0)[..., 1:], told().real(0)[..., 1:])


def test_a_feed_without_classes_is_refused():
    recipe = CDCGAN28(batch_size=BATCH, width=1, units=4)
    draws = SeededDraws(recipe, feed(photos(recipe, 1), Batches(COUNT, BATCH, 0), CPU), 0, 0, 1, F4)
    with pytest.raises(ValueError, match="cdcgan-28 has to know the class of each image: give the feed its labels"):
        draws.real(0)


def test_codes_of_classes():
    recipe = CDCGAN28(classes=3)
    np.testing.assert_array_equal(recipe.codes(5).argmax(axis=1), [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(recipe.codes(2, 1), [[0, 1, 0]] * 2)
    np.testing.assert_array_equal(recipe.codes(2, np.array([2, 0])), [[0, 0, 1], [1, 0, 0]])
    assert MLPMnist().codes(4).shape == (4, 0)
    with pytest.raises(ValueError, match="3 classes are counted from 0, got 3 to 3"):
        recipe.codes(1, 3)


def test_each_step_of_d_has_the_classes_of_its_own_batch():
    recipe = CDCGAN28(batch_size=BATCH, latent=3, classes=3, width=1, units=4)
    batches = Batches(COUNT, BATCH, 0)
    draws = SeededDraws(recipe, feed(photos(recipe, 1), batches, CPU, labels=LABELS), 0, 1, 2, F4)
    for k in (0, 1):
        expected = LABELS[batches.indices(2 + k)]
        np.testing.assert_array_equal(draws.real(k)[:, 0, 0, 1:].argmax(axis=1), expected)
        np.testing.assert_array_equal(draws.latent_d(k)[:, 3:].argmax(axis=1), expected)
    assert not np.array_equal(LABELS[batches.indices(2)], LABELS[batches.indices(3)])
