"""The DCGANs are those of their sources: parameters, multiply-adds, layers, constants, order of moves."""

import dataclasses
import math

import numpy as np
import pytest

from minigan import nn
from minigan.errors import UsageError
from minigan.recipes import CDCGAN28, DCGAN28, DCGAN64, DCGAN256, MLP2014, WGANGP28, DCGANUpsample, Recipe


def images_for(recipe: Recipe, channels: int) -> np.ndarray:
    return np.full((1, *(recipe.image_size or (28, 28)), channels), 128, np.uint8)


def counts(net: nn.Sequential, in_shape: tuple[int, ...]) -> tuple[int, int]:
    """(multiply-adds for one image, parameters)."""
    return net.macs(in_shape), sum(map(math.prod, net.param_shapes(in_shape).values()))


# Counted from the published networks: (multiply-adds, parameters) of G and of D.
PUBLISHED = [
    (MLP2014(), 1, (2_500_800, 2_503_984), (1_229_040, 1_231_441)),
    (DCGAN28(), 1, (27_222_528, 6_947_713), (1_078_800, 1_054_493)),
    (DCGAN64(), 3, (104_628_224, 3_576_704), (103_817_216, 2_765_568)),
    (DCGANUpsample(), 1, (776_077_312, 16_713_857), (6_047_744, 691_009)),
    (DCGAN256(), 3, (1_089_536_000, 19_104_035), (391_659_520, 6_306_561)),
    (WGANGP28(), 1, (23_980_288, 1_554_177), (23_460_096, 1_030_145)),
    (CDCGAN28(), 1, (17_779_688, 6_820_538), (21_486_602, 6_688_202)),
]


@pytest.mark.parametrize(("recipe", "channels", "of_g", "of_d"), PUBLISHED, ids=[r.name for r, *_ in PUBLISHED])
def test_the_networks_are_as_large_as_the_published_ones(recipe, channels, of_g, of_d) -> None:
    images = images_for(recipe, channels)
    assert counts(recipe.generator(images), recipe.latent_shape) == of_g
    assert counts(recipe.discriminator(images), recipe.judged_shape(images.shape[1:])) == of_d


SIZES = [
    DCGAN64(size=(48, 96)),
    DCGAN64(size=(16, 128)),
    DCGANUpsample(size=(36, 100)),
    DCGANUpsample(size=(4, 64), enlarge="transposed"),
    DCGAN256(size=(64, 192)),
]


@pytest.mark.parametrize("recipe", SIZES, ids=lambda recipe: f"{recipe.name} {recipe.size}")
def test_other_sizes_are_made_and_judged(recipe):
    recipe = dataclasses.replace(recipe, latent=5, width=2)
    images = images_for(recipe, 3)
    assert images.shape[1:3] == recipe.size
    rng = np.random.default_rng(0)
    g, d = recipe.generator(images), recipe.discriminator(images)
    theta_g, theta_d = nn.init_params(g, (5,), rng), nn.init_params(d, images.shape[1:], rng)
    made, _ = g.forward(theta_g, recipe.draw_latents(rng, 3), train=True)
    assert made.shape == (3, *images.shape[1:])
    assert d.forward(theta_d, made, train=True, rng=rng)[0].shape == (3, 1)


@pytest.mark.parametrize(
    ("recipe", "size", "unit", "nearest"),
    [
        (DCGAN64, (50, 64), 16, "48 64, 64 64"),
        (DCGAN64, (40, 90), 16, "32 80, 32 96, 48 80, 48 96"),
        (DCGAN64, (1, 64), 16, "16 64"),
        (DCGANUpsample, (62, 62), 4, "60 60, 60 64, 64 60, 64 64"),
        (DCGAN256, (128, 200), 64, "128 192, 128 256"),
    ],
)
def test_a_size_that_cannot_be_made_is_refused_with_the_nearest_that_can(recipe, size, unit, nearest):
    with pytest.raises(UsageError) as caught:
        recipe(size=size)
    assert str(caught.value) == (
        f"--size {size[0]} {size[1]}: {recipe.name} makes heights and widths that are multiples of {unit}; "
        f"the nearest are {nearest}"
    )
    for pair in nearest.split(", "):
        recipe(size=tuple(map(int, pair.split())))


@pytest.mark.parametrize("size", [(0, 64), (64, -16), (10**7, 64)])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(UsageError, match=r"--size -?\d+ is out of range"):
        DCGAN64(size=size)


def test_the_first_kernel_of_g_and_the_last_of_d_are_the_start():
    recipe = DCGAN64(size=(48, 96))
    assert recipe.start == (3, 6)
    assert recipe.generator(images_for(recipe, 3)).layers[1].kernel == (3, 6)
    assert recipe.discriminator(images_for(recipe, 3)).layers[-2].kernel == (3, 6)


@pytest.mark.parametrize(
    "recipe", [DCGAN28(), DCGAN64(), DCGANUpsample(), DCGANUpsample(enlarge="transposed"), DCGAN256()]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_generator_makes_what_the_discriminator_takes(recipe, channels) -> None:
    images = images_for(recipe, channels)
    made = recipe.generator(images).out_shape((recipe.latent,))
    assert made == images.shape[1:]
    assert recipe.discriminator(images).out_shape(made) == (1,)


def kinds(net: nn.Sequential) -> str:
    return " ".join(type(layer).__name__ for layer in net.layers)


def test_dcgan_64_is_the_mirror_of_its_discriminator() -> None:
    recipe = DCGAN64()
    images = images_for(recipe, 3)
    up = [layer.channels for layer in recipe.generator(images).layers if isinstance(layer, nn.ConvTranspose2D)]
    down = [layer.channels for layer in recipe.discriminator(images).layers if isinstance(layer, nn.Conv2D)]
    assert up == [512, 256, 128, 64, 3]
    assert down == [64, 128, 256, 512, 1]
    assert kinds(recipe.discriminator(images)).startswith("Conv2D LeakyReLU Conv2D BatchNorm LeakyReLU")


def test_the_paper_s_wide_net_has_1024_channels() -> None:
    recipe = DCGAN64(width=128)
    assert recipe.generator(images_for(recipe, 3)).layers[1].channels == 1024


def test_dcgan_64_starts_from_narrow_normal_weights() -> None:
    recipe = DCGAN64(width=16)
    theta = nn.init_params(recipe.generator(images_for(recipe, 3)), (100,), np.random.default_rng(0))
    assert theta["convtranspose2d1.w"].std() == pytest.approx(0.02, rel=0.02)
    gains = theta["batchnorm1.gamma"]
    assert gains.mean() == pytest.approx(1, abs=0.01)
    assert gains.std() == pytest.approx(0.02, rel=0.3)


def test_dcgan_64_uses_the_fakes_of_d_s_step_again() -> None:
    game = DCGAN64().game()
    assert (game.order, game.d_steps, game.reuse_fakes) == ("discriminator-first", 1, True)
    assert not DCGAN64(fresh_fakes=True).game().reuse_fakes


def test_dcgan_upsample_has_the_blocks_of_its_source_in_their_order() -> None:
    recipe = DCGANUpsample()
    images = images_for(recipe, 1)
    assert kinds(recipe.discriminator(images)) == (
        "Conv2D LeakyReLU Dropout" + " Conv2D LeakyReLU Dropout BatchNorm" * 4 + " Flatten Dense"
    )
    assert kinds(recipe.generator(images)) == (
        "Dense Reshape BatchNorm" + " Upsample Conv2D BatchNorm LeakyReLU" * 2 + " Conv2D Tanh"
    )
    norms = [layer.eps for layer in recipe.generator(images).layers if isinstance(layer, nn.BatchNorm)]
    assert norms == [1e-5, 0.8, 0.8]
    assert {layer.form for layer in recipe.discriminator(images).layers if isinstance(layer, nn.Dropout)} == {"channel"}


def test_dcgan_upsample_starts_biases_as_pytorch_does() -> None:
    recipe = DCGANUpsample(width=8)
    theta = nn.init_params(recipe.generator(images_for(recipe, 1)), (500,), np.random.default_rng(0))
    bound = 1 / math.sqrt(500)
    assert 0.98 * bound < abs(theta["dense1.b"]).max() <= bound
    assert abs(theta["conv2d1.b"]).max() <= 1 / math.sqrt(9 * 8)


def test_dcgan_upsample_moves_g_first_and_halves_the_loss_of_d() -> None:
    game = DCGANUpsample().game()
    assert (game.order, game.reuse_fakes) == ("generator-first", True)
    loss, *_ = game.loss.discriminator(np.zeros((2, 1)), np.zeros((2, 1)))
    assert loss == pytest.approx(math.log(2))  # (log 2 + log 2) / 2


def test_dcgan_28_moves_d_twice() -> None:
    assert DCGAN28().game().d_steps == 2


@pytest.mark.parametrize(("recipe", "batch"), [(DCGAN28(), 128), (DCGAN256(), 16)])
def test_the_cntk_recipes_remember_squares_per_sample(recipe, batch) -> None:
    rule, _ = recipe.optimisers(1)
    assert recipe.batch_size == batch
    assert rule.beta2 == pytest.approx(math.exp(-batch / 720_000), abs=5e-7)


def test_dcgan_256_has_biases_only_where_there_is_no_normalisation() -> None:
    recipe = DCGAN256()
    layers = recipe.discriminator(images_for(recipe, 3)).layers
    assert [layer.bias for layer in layers if isinstance(layer, nn.Conv2D)] == [True, *[False] * 5, True]
    layers = recipe.generator(images_for(recipe, 3)).layers
    assert [layer.bias for layer in layers if isinstance(layer, nn.ConvTranspose2D)] == [*[False] * 6, True]
    assert not recipe.game().reuse_fakes


@pytest.mark.parametrize(("first_norm", "seen"), [(True, False), (False, True)])
def test_normalisation_after_the_first_convolution_hides_patterns_of_period_two(first_norm, seen) -> None:
    """A pattern that repeats with the stride is the same at every place of the window: a constant, taken off."""
    recipe = DCGAN28(width_d=4, units=16, first_norm=first_norm)
    net = recipe.discriminator(images_for(recipe, 1))
    theta = nn.init_params(net, (28, 28, 1), np.random.default_rng(0), dtype=np.float64)
    x = np.random.default_rng(1).random((6, 28, 28, 1))
    pattern = np.zeros((28, 28, 1))
    pattern[::2, ::2] = 0.5
    change = abs(net.forward(theta, x + pattern, train=True)[0] - net.forward(theta, x, train=True)[0]).max()
    assert (change > 1e-3) == seen
    assert (change < 1e-9) == (not seen)


def test_cdcgan_28_is_the_published_one():
    """A hundred epochs and one with the whole learning rate, which is 0 after a hundred more."""
    rule, other = CDCGAN28().optimisers(390)
    assert rule == other
    assert (rule.beta1, rule.beta2, rule.weight_decay) == (0.5, 0.999, 2.5e-5)
    assert [rule.lr(t) for t in (1, 19_745)] == [2e-4] * 2
    for epoch in range(1, 201):  # the source's, of 391 batches, of which each player takes every other one
        middle = round((epoch - 0.5) * 195.5)
        assert rule.lr(middle) == pytest.approx(2e-4 * (1 - max(0, epoch - 101) / 100), abs=2e-4 * 0.011)
    assert CDCGAN28(falling=0).optimisers(390)[0].lr == 2e-4
    game = CDCGAN28().game()
    assert (game.order, game.d_steps, game.reuse_fakes) == ("generator-first", 1, False)
    g, d = (method(images_for(CDCGAN28(), 1)) for method in (CDCGAN28().generator, CDCGAN28().discriminator))
    layers = [[type(layer).__name__ for layer in stage.layers] for stage in g.layers]
    assert layers == [
        ["Dense", "BatchNorm", "ReLU"],
        ["Dense", "BatchNorm", "ReLU", "Reshape"],
        ["ConvTranspose2D", "BatchNorm", "ReLU"],
        ["ConvTranspose2D", "Sigmoid"],
    ]
    *stages, last = d.layers
    assert [[type(layer).__name__ for layer in stage.layers] for stage in stages] == [
        ["Conv2D", "LeakyReLU"],
        ["Conv2D", "BatchNorm", "LeakyReLU", "Flatten"],
        ["Dense", "BatchNorm", "LeakyReLU"],
    ]
    assert isinstance(last, nn.Dense)
    norms = [layer for stage in (*g.layers, *stages) for layer in stage.layers if isinstance(layer, nn.BatchNorm)]
    assert {(norm.eps, norm.affine, norm.track_running_stats) for norm in norms} == {(1e-8, False, True)}
    z = CDCGAN28().draw_latents(np.random.default_rng(0), 1000)
    assert (z.min(), z.max()) == (pytest.approx(-1, abs=1e-4), pytest.approx(1, abs=1e-4))


def test_samples_of_the_batch_s_own_statistics_depend_on_each_other():
    recipe = CDCGAN28(batch_size=4, latent=3, classes=2, width=2, units=5, running_statistics=False)
    g, rng = recipe.generator(images_for(recipe, 1)), np.random.default_rng(0)
    theta = nn.init_params(g, recipe.latent_shape, rng)
    assert theta.statistic_shapes == {}
    z = recipe.told(recipe.draw_latents(rng, 4))
    whole, _ = g.forward(theta, z, train=False)
    training, _ = g.forward(theta, z, train=True)
    half, _ = g.forward(theta, z[:2], train=False)
    np.testing.assert_array_equal(whole, training)
    assert abs(whole[:2] - half).max() > 1e-3
