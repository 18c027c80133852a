"""The recipes: their networks, their published constants, and rounds that are the same on every device."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minigan.backend import CPU, to_host
from minigan.data.batches import Batches
from minigan.errors import UsageError
from minigan.games import play_round
from minigan.games.toolbox import squared_error
from minigan.nn import BatchNorm, Conditioned, Dense, Dropout, LeakyReLU, Maxout, ReLU, Sigmoid, Tanh
from minigan.nn.initialisers import HeNormal, Uniform, Values
from minigan.optim import Adam, Momentum
from minigan.recipes import (
    CDCGAN28,
    DCGAN28,
    DCGAN64,
    DCGAN256,
    DEFAULT_RECIPE,
    MLP2014,
    RECIPES,
    WGANGP28,
    DCGANUpsample,
    MLPMnist,
    ToolboxMLP,
)
from minigan.recipes.cost import cost
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import feed
from minigan.runs.state import State
from tests.strict_cupy import forbid_dtype, forbid_synchronisation

every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
any_size = pytest.mark.parametrize("recipe", [MLPMnist, MLP2014])
MNIST_SHAPE = (28, 28, 1)

# Quick to play, but with all layers and on images of the true size; the dense ones in full width.
SMALL = [
    MLPMnist(batch_size=8),
    MLP2014(batch_size=8),
    ToolboxMLP(batch_size=8, minibatch=4),
    DCGAN28(batch_size=4, latent=5, width=4, width_d=3, units=16),
    DCGAN64(batch_size=3, latent=5, width=2),
    DCGANUpsample(batch_size=3, latent=5, width=4, width_d=2),
    DCGANUpsample(batch_size=3, latent=5, width=4, width_d=2, enlarge="transposed"),
    DCGAN256(batch_size=2, latent=5, width=1),
    WGANGP28(batch_size=3, latent=5, width=2),
    CDCGAN28(batch_size=3, latent=5, classes=4, width=2, units=6),
]
every_small_recipe = pytest.mark.parametrize("recipe", SMALL, ids=lambda recipe: recipe.name)


def unstretched(recipe):
    """The recipe, with pixels between the values of black and white as they are."""
    return recipe(scale_rows=False) if recipe is ToolboxMLP else recipe()


def random_images(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


DIGITS = random_images(50, *MNIST_SHAPE)


def start(recipe, images, device=CPU, dtype=np.float32, seed=0):
    """The state before the first round, and the batches."""
    batches = Batches(len(images), recipe.batch_size, seed, independent=recipe.independent_batches)
    return State.start(recipe, images, batches.per_epoch, seed, np.dtype(dtype), device), batches


def play(recipe, images, rounds, device=CPU, dtype=np.float32, seed=0):
    """The state after some rounds, and the metrics of each."""
    state, batches = start(recipe, images, device, dtype, seed)
    real = feed(images, batches, device, labels=np.arange(len(images)) % 3)
    game, history = recipe.game(), []
    for _ in range(rounds):
        draws = SeededDraws(recipe, real, seed, state.step, game.d_steps, np.dtype(dtype))
        history.append(play_round(game, state.g, state.d, draws))
        state.finish_round(recipe.average)
    return state, history


# All recipes --------------------------------------------------------------------------------------------


def test_recipes_are_found_by_name():
    assert set(RECIPES.values()) == {type(recipe) for recipe in SMALL}
    assert DEFAULT_RECIPE in RECIPES
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.source
        assert recipe.steps > 0


@any_size
@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 1), (3, 2, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_of_any_size_and_colour_can_be_learnt(recipe, shape, dtype):
    images = random_images(9, *shape)
    recipe = recipe(batch_size=4)
    state, history = play(recipe, images, rounds=2, dtype=dtype)
    assert all(np.isfinite(float(value)) for metrics in history for value in metrics.values())
    assert all(np.isfinite(tensor).all() for tensor in state.tensors().values())
    assert {player.theta.flat.dtype for player in (state.g, state.d)} == {np.dtype(dtype)}
    z = recipe.draw_latents(np.random.default_rng(0), 3).astype(dtype)
    samples, _ = state.g.net.forward(state.drawing, z, train=False)
    pictures = recipe.decode(samples, shape)
    assert pictures.shape == (3, *shape)
    assert pictures.dtype == np.uint8


@every_small_recipe
def test_the_same_seed_gives_the_same_weights_on_numpy_and_on_the_stand_in(recipe, strict):
    """Twenty rounds (three of large images); nothing waits for the GPU, nothing is computed in double precision."""
    height, width = recipe.image_size or MNIST_SHAPE[:2]
    rounds = 20 if height <= 28 else 3
    images = random_images(60 if height <= 28 else 8, height, width, 1)
    on_host, _ = play(recipe, images, rounds)
    with forbid_synchronisation(), forbid_dtype("float64"):
        there, history = play(recipe, images, rounds, device=strict)
    assert all(isinstance(value, strict.xp.ndarray) for metrics in history for value in metrics.values())
    host, device = on_host.tensors(), there.tensors()
    before = start(recipe, images)[0].tensors()
    assert host.keys() == device.keys()
    for name, tensor in host.items():
        assert tensor.dtype == device[name].dtype == np.float32
        assert np.array_equal(tensor, device[name]), name
        assert not np.array_equal(tensor, before[name]), name


@every_small_recipe
def test_another_seed_gives_other_weights(recipe):
    images = random_images(9, *(recipe.image_size or (3, 3)), 1)
    ends = [play(recipe, images, rounds=1, seed=seed)[0].tensors() for seed in (0, 1)]
    assert all(not np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


@every_recipe
def test_latents_are_drawn_on_the_host_and_depend_on_the_generator_alone(recipe):
    recipe = recipe()
    first, again, other = (recipe.draw_latents(np.random.default_rng(seed), 3) for seed in (1, 1, 2))
    assert first.shape == (3, recipe.latent)
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# Bytes and numbers --------------------------------------------------------------------------------------


@every_recipe
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_byte_survives_encoding_and_decoding(recipe, dtype, device):
    recipe, images = unstretched(recipe), np.arange(256, dtype=np.uint8).reshape(4, 4, 8, 2)
    x = recipe.encode(device.put(images), np.dtype(dtype))
    assert x.shape == (4, *recipe.sample_shape((4, 8, 2)))
    assert x.size == images.size
    assert x.dtype == dtype
    back = recipe.decode(x, (4, 8, 2))
    assert back.dtype == np.uint8
    assert np.array_equal(to_host(back), images)


@every_recipe
@given(images=arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=4)))
def test_images_keep_their_places(recipe, images):
    recipe = unstretched(recipe)
    assert np.array_equal(recipe.decode(recipe.encode(images, np.dtype("f4")), images.shape[1:]), images)
    assert recipe.sample_shape(images.shape[1:]) == recipe.encode(images, np.dtype("f4")).shape[1:]


@pytest.mark.parametrize(("recipe", "black"), list(zip(SMALL, [-1, 0, 0, 0, -1, -1, -1, -1, 0, 0], strict=True)))
def test_black_and_white_have_the_values_that_the_generator_can_reach(recipe, black):
    """tanh reaches -1 to 1, the logistic function 0 to 1."""
    x = recipe.encode(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1), np.dtype("f8"))
    np.testing.assert_allclose(x.ravel(), [black, 1.0], rtol=1e-15, atol=1e-15)
    last = recipe.generator(np.zeros((1, *(recipe.image_size or (1, 1)), 1), np.uint8)).layers[-1]
    last = last.layers[-1] if isinstance(last, Conditioned) else last
    assert type(last) is (Tanh if black == -1 else Sigmoid)


@every_recipe
def test_values_beyond_black_and_white_are_cut_and_others_rounded(recipe):
    recipe = recipe()
    grey = recipe.low + (recipe.high - recipe.low) * np.array([[-1.0, 2.0, 100.4 / 255, 100.6 / 255]])
    shape = (4, 1, 1)
    assert recipe.decode(grey.reshape(1, *recipe.sample_shape(shape)), shape).ravel().tolist() == [0, 255, 100, 101]


@every_recipe
def test_encoding_leaves_the_images_alone(recipe):
    images = DIGITS.copy()
    recipe().encode(images, np.dtype("f4"))
    assert np.array_equal(images, DIGITS)


# Constants that are refused -----------------------------------------------------------------------------

NEVER_NEGATIVE = [
    "weights_g",
    "weights_d",
    "lr_floor",
    "momentum",
    "momentum_end",
    "holdout",
    "drop_input",
    "drop_hidden",
]
REFUSED = [
    (MLPMnist, "batch_size", 0, "--batch-size 0"),
    (MLPMnist, "latent", 0, "--latent 0"),
    (MLPMnist, "hidden_g", (256, 0), "--hidden-g 0"),
    (MLPMnist, "slope", -0.1, "--slope -0.1 is out of range: allowed are 0 to 1"),
    (MLPMnist, "drop", 1.0, "--drop 1.0 is out of range: allowed are 0 to 0.99"),
    (MLPMnist, "lr_g", 0.0, "--lr-g 0.0"),
    (MLPMnist, "lr_d", -1.0, "--lr-d -1.0"),
    (MLPMnist, "lr_d", math.nan, "--lr-d nan"),
    (MLPMnist, "beta1", 1.0, "--beta1 1.0"),
    (MLPMnist, "smoothing", 0.6, "--smoothing 0.6"),
    (MLPMnist, "average", 1.0, "--average 1.0"),
    (MLPMnist, "jitter", -0.1, "--jitter -0.1 is out of range: allowed are 0 to 1"),
    (DCGAN256, "jitter", 1.1, "--jitter 1.1 is out of range: allowed are 0 to 1"),
    (DCGAN256, "jitter", math.nan, "--jitter nan is out of range: allowed are 0 to 1"),
    (ToolboxMLP, "drop_pixels", 1.0, "--drop-pixels 1.0 is out of range: allowed are 0 to 0.99"),
    (ToolboxMLP, "minibatch", 300, "--batch-size 1000 does not make whole steps of --minibatch 300: .* is 900"),
    (ToolboxMLP, "minibatch", 3000, "--minibatch 3000: the nearest that does is 3000"),
    (MLP2014, "pieces", 0, "--pieces 0"),
    (MLP2014, "momentum_epochs", 0, "--momentum-epochs 0"),
    (MLP2014, "lr_factor", 0.9, "--lr-factor 0.9 is out of range: allowed are 1 to 2"),
    (MLP2014, "momentum", 1.0, "--momentum 1.0"),
    (MLP2014, "d_loss_scale", 0.0, "--d-loss-scale 0.0"),
    (MLP2014, "lr", math.inf, "--lr inf"),
    *(
        (MLP2014, name, -1, f"--{name.replace('_', '-')} -1 is out of range: allowed are 0 to ")
        for name in NEVER_NEGATIVE
    ),
]


@pytest.mark.parametrize(("recipe", "name", "value", "message"), REFUSED, ids=[f"{r.name} {n}" for r, n, *_ in REFUSED])
def test_a_constant_out_of_range_is_refused_by_the_name_of_its_option(recipe, name, value, message):
    with pytest.raises(UsageError, match=message):
        recipe(**{name: value})


@every_recipe
def test_every_number_of_a_recipe_has_limits(recipe):
    for field in dataclasses.fields(recipe):
        if isinstance(field.default, bool | str):
            continue
        wrong = (-1,) if isinstance(field.default, tuple) else -1e300 if field.type is float else -1
        with pytest.raises(UsageError, match="--" + field.name.replace("_", "-")):
            recipe(**{field.name: wrong})


@every_recipe
def test_the_ends_of_the_limits_are_allowed(recipe):
    assert recipe.limits
    for name, ends in recipe.limits.items():
        for end in ends:
            assert getattr(recipe(**{name: end}), name) == end


# mlp-2014 -----------------------------------------------------------------------------------------------


def test_mlp_2014_has_the_networks_of_the_published_code():
    recipe = MLP2014()
    state, _ = start(recipe, random_images(100, *MNIST_SHAPE))
    assert state.g.theta.trainable_size == 100 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 784 + 784 == 2_503_984
    assert state.d.theta.trainable_size == 784 * 1200 + 1200 + 240 * 1200 + 1200 + 240 + 1 == 1_231_441
    assert [type(layer) for layer in state.g.net.layers] == [Dense, ReLU, Dense, ReLU, Dense, Sigmoid]
    assert [layer.units for layer in state.g.net.layers if isinstance(layer, Dense)] == [1200, 1200, 784]
    assert state.d.net.layers == (
        Dropout(0.2), Dense(1200, w_init=Uniform(0.005)), Maxout(5),
        Dropout(0.5), Dense(1200, w_init=Uniform(0.005)), Maxout(5),
        Dropout(0.5), Dense(1, w_init=Uniform(0.005)),
    )  # fmt: skip


def test_mlp_2014_starts_from_uniform_weights_and_zero_biases():
    state, _ = start(MLP2014(batch_size=10), DIGITS)
    for theta, bound in [(state.g.theta, 0.05), (state.d.theta, 0.005)]:
        for name, view in theta.items():
            if name.endswith(".w"):
                assert abs(view).max() <= np.float32(bound)
                # of n draws the largest reaches this with probability 1 - exp(-10)
                assert abs(view).max() >= bound * (1 - 10 / view.size)
                # five standard deviations of the mean square of n draws
                assert abs((view**2).mean() * 3 / bound**2 - 1) <= 5 * math.sqrt(4 / 5 / view.size)
            elif theta is state.d.theta or name != "dense3.b":
                assert not view.any()


def test_mlp_2014_draws_the_mean_image_before_it_has_learnt_anything():
    """Its output bias is logit(mean): with all weights zero, G(z) is the mean image, cut to [1e-7, 1 - 1e-7]."""
    images = random_images(20, 4, 3, 1)
    images[:, 0, 0], images[:, 0, 1] = 0, 255
    state, _ = start(MLP2014(batch_size=5, weights_g=0.0), images, dtype=np.float64)
    drawn, _ = state.g.net.forward(state.g.theta, np.ones((2, 100)), train=False)
    mean = (images.reshape(20, -1) / 255).mean(axis=0)
    assert (mean[0], mean[1]) == (0, 1)
    np.testing.assert_allclose(drawn[0], mean.clip(1e-7, 1 - 1e-7), rtol=1e-9)
    assert np.array_equal(drawn[0], drawn[1])
    assert isinstance(state.g.net.layers[4].b_init, Values)


def test_mlp_2014_draws_latents_of_variance_one():
    z = MLP2014().draw_latents(np.random.default_rng(0), 2000)  # 200,000 numbers
    bound = math.sqrt(3)
    assert abs(z).max() <= np.float32(bound)
    assert z.min() < -0.9999 * bound
    assert z.max() > 0.9999 * bound
    assert abs(z.mean()) <= 5 / math.sqrt(z.size)
    assert abs((z.astype(float) ** 2).mean() - 1) <= 5 * math.sqrt(0.8 / z.size)


def test_mlp_2014_learns_with_the_published_rates():
    rules = MLP2014().optimisers(batches_per_epoch=500)
    for rule in rules:
        assert isinstance(rule, Momentum)
        assert (rule.weight_decay, rule.max_norm) == (0, None)
        assert rule.lr(1) == 0.1
        assert rule.lr(2) == pytest.approx(0.1 / 1.000004, rel=1e-14)
        assert rule.lr(10_001) == pytest.approx(0.1 / 1.000004**10_000, rel=1e-12)
        assert rule.lr(10**7) == 1e-6


def test_mlp_2014_raises_the_momentum_once_an_epoch():
    """0.5 in epoch 1, a straight line, 0.7 in epoch 250 and after."""
    momentum = MLP2014().optimisers(batches_per_epoch=500)[0].momentum
    for epoch in (1, 2, 125, 249, 250, 251, 1000):
        expected = 0.5 + 0.2 * min(1, (epoch - 1) / 249)
        for t in ((epoch - 1) * 500 + 1, epoch * 500):  # its first and last update
            assert momentum(t) == pytest.approx(expected, rel=1e-12), epoch


def test_mlp_2014_plays_both_moves_at_once_with_half_the_discriminator_loss():
    game = MLP2014().game()
    assert (game.order, game.d_steps) == ("simultaneous", 1)
    logits = np.array([[0.3], [-1.2]])
    softplus = np.log1p(np.exp(np.stack([-logits, logits])))
    loss, _, dfake = game.loss.discriminator(logits, logits)
    assert loss == pytest.approx(0.5 * (softplus[0].mean() + softplus[1].mean()), rel=1e-12)
    np.testing.assert_allclose(dfake, 0.5 / 2 / (1 + np.exp(-logits)), rtol=1e-12)
    assert game.loss.generator(logits)[0] == pytest.approx(softplus[0].mean(), rel=1e-12)


@pytest.mark.parametrize(("images", "trained_on"), [(60_000, 50_000), (5_000, 4_167), (6, 5), (5, 5), (70_000, 60_000)])
def test_mlp_2014_keeps_the_last_images_for_validation_but_at_most_a_sixth(images, trained_on):
    data = np.arange(images)
    assert np.array_equal(MLP2014().training_part(data), data[:trained_on])


def test_mlp_2014_can_train_on_everything():
    assert len(MLP2014(holdout=0).training_part(np.arange(600))) == 600


# toolbox-mlp --------------------------------------------------------------------------------------------


def test_toolbox_mlp_has_the_networks_of_the_script():
    recipe = ToolboxMLP()
    assert cost(recipe, MNIST_SHAPE).parameters == (100 * 784 + 784, 784 * 100 + 100 + 100 + 1) == (79_184, 78_601)
    assert cost(recipe, MNIST_SHAPE).image_macs == (78_400, 78_500)
    g, d = recipe.generator(DIGITS), recipe.discriminator(DIGITS)
    assert [type(layer) for layer in g.layers] == [Dense, Sigmoid]
    assert [type(layer) for layer in d.layers] == [Dense, Sigmoid, Dropout, Dense]
    assert d.layers[2] == Dropout(0.5, "classic")


def test_toolbox_mlp_draws_biases_like_weights():
    """The bias column of W is part of the random start: +-0.3295 between 100 and 784 units, +-0.975 to the last."""
    state, _ = start(ToolboxMLP(batch_size=50, minibatch=10), DIGITS)
    for player, layer, bound in [(state.g, 1, 0.32955), (state.d, 1, 0.32955), (state.d, 2, 0.97491)]:
        for name in ("w", "b"):
            view = player.theta[f"dense{layer}.{name}"]
            assert abs(view).max() <= bound
            if view.size >= 100:
                assert abs(view).max() > 0.9 * bound
                assert abs(view.mean()) < 5 * bound / math.sqrt(3 * view.size)


def test_toolbox_mlp_learns_as_the_script_sets_it():
    rules = ToolboxMLP().optimisers(60)
    assert rules == (Momentum(lr=0.01, momentum=0.5, weight_decay=1e-4),) * 2
    assert not rules[0].decay_biases
    game = ToolboxMLP(decay_g=0.3, decay_d=0.2).game()
    assert (game.loss, game.minibatch, game.drop_pixels, game.copy) == (squared_error, 100, 0.5, "learns")
    state, _ = start(ToolboxMLP(batch_size=50, minibatch=10, decay_g=0.3, decay_d=0.2), DIGITS)
    assert (state.g.optimiser.weight_decay, state.d.optimiser.weight_decay) == (0.3, 0.2)
    assert state.d.copy.optimiser.weight_decay == 0.3  # a part of the combined network, whose options G has


def test_toolbox_mlp_has_noise_with_an_exact_zero_and_one_in_each_row():
    z = ToolboxMLP().draw_latents(np.random.default_rng(0), 1000)
    assert (z.min(axis=1) == 0).all()
    assert (z.max(axis=1) == 1).all()
    plain = ToolboxMLP(scale_rows=False).draw_latents(np.random.default_rng(0), 1000)
    assert np.array_equal(plain, np.random.default_rng(0).standard_normal((1000, 100), dtype=np.float32))


def test_toolbox_mlp_gives_each_image_one_latent_and_draws_images_anew_each_round():
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)

    def drawn(recipe, step):
        batches = Batches(40, recipe.batch_size, 0, independent=recipe.independent_batches)
        draws = SeededDraws(recipe, feed(images, batches, CPU), 0, step, 1, np.dtype("f4"))
        return draws.feed.batch(step).ravel(), draws.latent_d(0), draws.latent_g()

    recipe = ToolboxMLP(batch_size=20, minibatch=20, latent=4)
    latents = {}
    for step in range(12):
        shown, z_d, z_g = drawn(recipe, step)
        assert np.array_equal(z_d, z_g)
        assert len(set(shown)) == 20
        for image, z in zip(shown, z_d, strict=True):
            assert np.array_equal(latents.setdefault(int(image), z), z)
    assert len({tuple(z) for z in latents.values()}) == len(latents) == 40
    assert set(drawn(recipe, 0)[0]) & set(drawn(recipe, 1)[0])  # not an epoch of two batches
    _, z_d, z_g = drawn(dataclasses.replace(recipe, fixed_noise=False), 0)
    assert not np.array_equal(z_d, z_g)


# mlp-mnist ----------------------------------------------------------------------------------------------


def test_mlp_mnist_has_normalised_hidden_layers_in_the_generator_and_dropout_in_the_discriminator():
    recipe = MLPMnist(hidden_g=(8, 9), hidden_d=(7,), slope=0.1, drop=0.3)
    assert recipe.generator(DIGITS).layers == (
        Dense(8, bias=False, w_init=HeNormal()), BatchNorm(), LeakyReLU(0.1),
        Dense(9, bias=False, w_init=HeNormal()), BatchNorm(), LeakyReLU(0.1),
        Dense(784), Tanh(),
    )  # fmt: skip
    assert recipe.discriminator(DIGITS).layers == (
        Dense(7, w_init=HeNormal()), LeakyReLU(0.1), Dropout(0.3), Dense(1)
    )  # fmt: skip


def test_mlp_mnist_learns_with_adam_and_smoothed_labels_in_turns():
    recipe = MLPMnist(lr_g=1e-3, lr_d=2e-3, beta1=0.4, smoothing=0.2)
    assert recipe.optimisers(10) == (Adam(lr=1e-3, beta1=0.4), Adam(lr=2e-3, beta1=0.4))
    game = recipe.game()
    assert (game.order, game.d_steps, game.reuse_fakes) == ("discriminator-first", 1, False)
    sure = np.array([[50.0]])
    assert game.loss.discriminator(sure, -sure)[0] == pytest.approx(0.2 * 50, rel=1e-12)  # asked for 0.8, not 1


def test_mlp_mnist_draws_normal_latents():
    z = MLPMnist().draw_latents(np.random.default_rng(0), 10_000)
    assert abs(z.mean()) <= 5 / math.sqrt(z.size)
    assert abs((z.astype(float) ** 2).mean() - 1) <= 5 * math.sqrt(2 / z.size)
    assert abs(z).max() > 3.5


def test_mlp_mnist_draws_samples_with_an_average_of_the_generator():
    recipe = MLPMnist(batch_size=4, average=0.9)
    images = random_images(9, 3, 3, 1)
    states = [play(recipe, images, rounds)[0] for rounds in range(4)]
    expected = states[0].g.theta.flat.astype(float)
    for t, state in enumerate(states[1:], start=1):
        d = min(0.9, (1 + t) / (10 + t))
        expected = d * expected + (1 - d) * state.g.theta.flat
    np.testing.assert_allclose(states[-1].drawing.flat, expected, rtol=1e-4, atol=1e-6)
    last = play(MLPMnist(batch_size=4, average=0.0), images, rounds=1)[0]
    assert last.drawing is last.g.theta


# The randomness of a round ------------------------------------------------------------------------------


@given(step=st.integers(0, 1000), d_steps=st.integers(1, 3))
def test_every_draw_of_a_round_is_its_own_and_a_function_of_the_round(step, d_steps):
    recipe, images = MLPMnist(batch_size=2, latent=4), random_images(7, 2, 2, 1)
    rounds = [
        SeededDraws(recipe, feed(images, Batches(7, 2, 0), CPU), 0, at, d_steps, np.dtype("f4"))
        for at in (step, step, step + 1)
    ]
    drawn = [
        [d.latent_g(), *(d.latent_d(k) for k in range(d_steps)), *(d.dropout(k).random(8) for k in range(d_steps + 1))]
        for d in rounds
    ]
    for first, again in zip(drawn[0], drawn[1], strict=True):
        assert np.array_equal(first, again)
    different = [tuple(draw.ravel()[:8].tolist()) for draw in drawn[0] + drawn[2]]
    assert len(set(different)) == len(different)


def test_batches_go_on_from_step_to_step_and_from_round_to_round():
    """Two steps a round, three batches an epoch: every image once in the batches 0-2 and once in 3-5."""
    recipe, images = MLPMnist(batch_size=2), np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    real = feed(images, Batches(6, 2, 0), CPU)
    draws = [SeededDraws(recipe, real, 0, step, 2, np.dtype("f8")) for step in range(3)]
    seen = [recipe.decode(draws[step].real(k), (1, 1, 1)).ravel() for step, k in itertools.product(range(3), range(2))]
    assert sorted(np.concatenate(seen[:3])) == sorted(np.concatenate(seen[3:])) == list(range(6))
