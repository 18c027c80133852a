"""Initial weights: bounds, moments, and that they are drawn on the host."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.nn import Dense, Params, init_params
from minigan.nn.initialisers import (
    Constant,
    FanInUniform,
    GlorotUniform,
    HeNormal,
    Normal,
    Orthogonal,
    Uniform,
    Values,
    fans,
)
from tests.strategies import seeds

SHAPE = (300, 200)  # 60,000 draws
SIGMAS = 5  # how far from its expectation a mean may be, in its standard deviations

CONVOLUTION = (3, 5, 40, 50)  # kh, kw, I, O: fan_in 600, fan_out 750

UNIFORM = [
    (Uniform(0.05), SHAPE, 0.05),
    (GlorotUniform(), SHAPE, math.sqrt(6 / 500)),
    (GlorotUniform(gain=2.0), SHAPE, 2 * math.sqrt(6 / 500)),
    (GlorotUniform(), CONVOLUTION, math.sqrt(6 / 1350)),
    (FanInUniform(), SHAPE, 1 / math.sqrt(300)),
    (FanInUniform(), CONVOLUTION, 1 / math.sqrt(600)),
]
NORMAL = [
    (Normal(0.02), SHAPE, 0.0, 0.02),
    (Normal(0.02, mean=1.0), SHAPE, 1.0, 0.02),
    (HeNormal(), SHAPE, 0.0, math.sqrt(2 / 300)),
    (HeNormal(), CONVOLUTION, 0.0, math.sqrt(2 / 600)),
]
RANDOM = [*(initialiser for initialiser, *_ in UNIFORM), *(initialiser for initialiser, *_ in NORMAL), Orthogonal()]


@pytest.mark.parametrize(("initialiser", "shape", "bound"), UNIFORM, ids=repr)
def test_uniform_draws_fill_their_interval(initialiser, shape, bound):
    w = initialiser(np.random.default_rng(0), shape)
    assert w.shape == shape
    assert abs(w).max() <= bound
    assert abs(w).max() >= bound * (1 - 20 / w.size)  # missed with probability exp(-20)
    assert abs(w.mean()) <= SIGMAS * bound / math.sqrt(3 * w.size)
    # The square of U(-a, a) has mean a^2/3 and variance 4 a^4/45.
    assert abs((w**2).mean() - bound**2 / 3) <= SIGMAS * bound**2 * math.sqrt(4 / 45 / w.size)


@pytest.mark.parametrize(("initialiser", "shape", "mean", "std"), NORMAL, ids=repr)
def test_normal_draws_have_their_moments(initialiser, shape, mean, std):
    w = initialiser(np.random.default_rng(0), shape)
    assert w.shape == shape
    assert abs(w.mean() - mean) <= SIGMAS * std / math.sqrt(w.size)
    assert abs(((w - mean) ** 2).mean() - std**2) <= SIGMAS * std**2 * math.sqrt(2 / w.size)
    assert abs(w - mean).max() > 3 * std  # no uniform distribution of this variance gets so far


@given(i=st.integers(1, 50), o=st.integers(1, 50), kh=st.integers(1, 5), kw=st.integers(1, 5))
def test_fans_count_the_inputs_and_outputs_of_a_weight(i, o, kh, kw):
    assert fans((i, o)) == (i, o)
    assert fans((kh, kw, i, o)) == (i * kh * kw, o * kh * kw)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (3, 3, 2, 7), (2, 1, 1, 9), (1, 1)], ids=str)
def test_the_shorter_side_of_an_orthogonal_matrix_is_orthonormal(shape):
    w = Orthogonal(0.8)(np.random.default_rng(0), shape)
    assert w.shape == shape
    w = w.reshape(-1, shape[-1])
    product = w.T @ w if len(w) >= shape[-1] else w @ w.T
    np.testing.assert_allclose(product, 0.64 * np.eye(min(w.shape)), atol=1e-14)


def test_all_orthogonal_matrices_are_equally_likely():
    """Half of those of two rows turn around and half do not, and an entry has the mean 0, for any sign of R."""
    drawn = [Orthogonal()(np.random.default_rng(seed), (2, 2)) for seed in range(2000)]
    turned = np.mean([np.linalg.det(w) > 0 for w in drawn])
    assert abs(turned - 0.5) <= SIGMAS * 0.5 / math.sqrt(2000)
    assert (abs(np.mean(drawn, axis=0)) <= SIGMAS * math.sqrt(0.5 / 2000)).all()


def test_glorot_keeps_the_variance_of_what_passes_forward():
    """Variance 1 in, 1 out, for as many outputs as inputs."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((200, 200)) @ GlorotUniform()(rng, (200, 200))
    assert 0.9 < y.var() < 1.1


def test_he_keeps_the_mean_square_through_a_rectifier():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 400))
    for _ in range(3):
        x = np.maximum(x @ HeNormal()(rng, (400, 400)), 0)
        assert 0.8 < (x**2).mean() < 1.2


@given(value=st.floats(-10, 10), shape=st.lists(st.integers(0, 4), max_size=3).map(tuple))
def test_a_constant_is_the_same_everywhere_and_draws_nothing(value, shape):
    rng = np.random.default_rng(0)
    array = Constant(value)(rng, shape)
    assert array.shape == shape
    assert (array == value).all()
    assert rng.random() == np.random.default_rng(0).random()


def test_given_values_are_taken_in_order():
    values = np.arange(6.0)
    assert np.array_equal(Values(values)(np.random.default_rng(0), (2, 3)), [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(ValueError, match="reshape"):
        Values(values)(np.random.default_rng(0), (4,))


def test_given_values_are_not_taken_for_others_of_as_many_numbers():
    with pytest.raises(ValueError, match=r"asked for in the shape \(2, 3\), they have \(3, 2\)"):
        Values(np.ones((3, 2)))(np.random.default_rng(0), (2, 3))


@pytest.mark.parametrize("initialiser", RANDOM, ids=repr)
@given(seed=seeds)
def test_draws_depend_on_the_generator_alone(initialiser, seed):
    first, again, other = (initialiser(np.random.default_rng(s), (4, 3)) for s in (seed, seed, [seed, 1]))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("initialiser", [*RANDOM, Constant(0.1)], ids=repr)
def test_both_precisions_get_the_same_draws(initialiser):
    layer = Dense(5, w_init=initialiser, b_init=Normal(1.0))
    single, double = (init_params(layer, (4,), np.random.default_rng(0), dtype=dtype) for dtype in ("f4", "f8"))
    assert np.array_equal(single.flat, double.flat.astype(np.float32))


@pytest.mark.parametrize("initialiser", [*RANDOM, Constant(0.1)], ids=repr)
def test_drawn_on_the_host_and_then_moved(initialiser, device):
    layer = Dense(5, w_init=initialiser)
    theta = init_params(layer, (4,), np.random.default_rng(0), dtype=np.float64, device=device)
    drawn = initialiser(np.random.default_rng(0), (4, 5))
    assert isinstance(drawn, np.ndarray)
    assert isinstance(theta, Params)
    assert isinstance(theta.flat, device.xp.ndarray)
    assert np.array_equal(theta["w"] if device.xp is np else theta["w"].get(), drawn)
