"""Batch normalisation: explicit loops, and what normalising must and must not let through."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional.batchnorm import (
    batchnorm,
    batchnorm_backward,
    batchnorm_inference,
    batchnorm_inference_backward,
    update_running_statistics,
)
from reference import batchnorm as loops
from tests.strategies import assert_agrees, channel_last_arrays, few_examples, normal, seeds

EPS = 1e-5
SHAPES = [(6, 3), (3, 2, 2, 4)]


def scale_and_shift(x, seed=0):
    channels = x.shape[-1]
    return np.random.default_rng([seed, 1]).uniform(0.5, 2, channels), normal([seed, 2], channels)


def running(x, seed=0):
    channels = x.shape[-1]
    return normal([seed, 3], channels), np.random.default_rng([seed, 4]).uniform(0.1, 3, channels)


@few_examples
@given(x=channel_last_arrays(min_rows=2), seed=seeds)
def test_forward_agrees_with_the_explicit_loops(x, seed):
    gamma, beta = scale_and_shift(x, seed)
    assert_agrees(batchnorm(x, gamma, beta, EPS)[0], loops.batchnorm(x, gamma, beta, EPS))


@few_examples
@given(x=channel_last_arrays(min_rows=2), seed=seeds)
def test_gradients_agree_with_the_whole_jacobian(x, seed):
    gamma, beta = scale_and_shift(x, seed)
    dy = normal([seed, 5], *x.shape)
    actual = batchnorm_backward(dy, gamma, batchnorm(x, gamma, beta, EPS)[1])
    for ours, theirs in zip(actual, loops.batchnorm_backward(dy, x, gamma, EPS), strict=True):
        assert_agrees(ours, theirs)


@few_examples
@given(x=channel_last_arrays(), seed=seeds)
def test_inference_agrees_with_the_explicit_loops(x, seed):
    gamma, beta = scale_and_shift(x, seed)
    mean, var = running(x, seed)
    dy = normal([seed, 5], *x.shape)
    y, cache = batchnorm_inference(x, gamma, beta, mean, var, EPS)
    assert_agrees(y, loops.batchnorm_inference(x, gamma, beta, mean, var, EPS))
    actual = batchnorm_inference_backward(dy, gamma, cache)
    for ours, theirs in zip(actual, loops.batchnorm_inference_backward(dy, x, gamma, mean, var, EPS), strict=True):
        assert_agrees(ours, theirs)


@few_examples
@given(x=channel_last_arrays(min_rows=2), momentum=st.floats(0, 1), seed=seeds)
def test_running_statistics_agree_with_the_explicit_loops(x, momentum, seed):
    mean, var = running(x, seed)
    new_mean, new_var = loops.running_statistics(mean, var, x, momentum)
    update_running_statistics(mean, var, batchnorm(x, *scale_and_shift(x), EPS)[1], momentum)
    assert_agrees(mean, new_mean)
    assert_agrees(var, new_var)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_channel_of_the_output_has_mean_beta_and_variance_gamma_squared(shape):
    x = 3 + 2 * normal(0, *shape)
    gamma, beta = scale_and_shift(x)
    y, _ = batchnorm(x, gamma, beta, eps=0.0)
    axes = tuple(range(y.ndim - 1))
    assert_agrees(y.mean(axes), beta)
    assert_agrees(y.var(axes), gamma**2)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gradient_equal_for_all_samples_vanishes(shape):
    x = normal(0, *shape)
    gamma, beta = scale_and_shift(x)
    dy = np.broadcast_to(normal(1, shape[-1]), shape)
    dx, _, dbeta = batchnorm_backward(dy, gamma, batchnorm(x, gamma, beta, EPS)[1])
    assert_agrees(dx, np.zeros(shape))
    assert abs(dbeta).min() > 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_the_input_gradient_sums_to_zero_in_each_channel(shape):
    """Shifting a channel changes no output, so the gradient has nothing along that direction."""
    x, dy = normal(0, *shape), normal(1, *shape)
    gamma, beta = scale_and_shift(x)
    dx, _, _ = batchnorm_backward(dy, gamma, batchnorm(x, gamma, beta, EPS)[1])
    assert_agrees(dx.sum(axis=tuple(range(x.ndim - 1))), np.zeros(shape[-1]))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_input_gradient_is_orthogonal_to_the_input_without_eps(shape):
    """Scaling a channel changes no output either, if eps = 0."""
    x, dy = normal(0, *shape), normal(1, *shape)
    gamma, beta = scale_and_shift(x)
    dx, _, _ = batchnorm_backward(dy, gamma, batchnorm(x, gamma, beta, 0.0)[1])
    assert_agrees((dx * x).sum(axis=tuple(range(x.ndim - 1))), np.zeros(shape[-1]))


@pytest.mark.parametrize("shape", SHAPES)
def test_shifting_and_scaling_the_input_does_not_change_the_output(shape):
    x = normal(0, *shape)
    gamma, beta = scale_and_shift(x)
    y, _ = batchnorm(x, gamma, beta, eps=EPS)
    assert_agrees(batchnorm(x + 7, gamma, beta, eps=EPS)[0], y)
    assert_agrees(batchnorm(3 * x, gamma, beta, eps=9 * EPS)[0], y)  # eps has the unit of a variance


def test_a_constant_channel_gives_beta():
    y, _ = batchnorm(np.full((4, 1), 2.5), np.array([3.0]), np.array([-1.0]), EPS)
    assert (y == -1).all()


def test_images_are_normalised_as_if_every_pixel_were_a_sample():
    x = normal(0, 2, 3, 4, 5)
    gamma, beta = scale_and_shift(x)
    flat, _ = batchnorm(x.reshape(24, 5), gamma, beta, EPS)
    assert (batchnorm(x, gamma, beta, EPS)[0] == flat.reshape(x.shape)).all()


def test_channels_do_not_mix():
    x, dy = normal(0, 5, 3), normal(1, 5, 3)
    gamma, beta = scale_and_shift(x)
    other = x.copy()
    other[:, 2] = normal(2, 5)
    for before, after in zip(run(x, dy, gamma, beta), run(other, dy, gamma, beta), strict=True):
        assert (before[..., :2] == after[..., :2]).all()
        assert (before[..., 2] != after[..., 2]).any()


def run(x, dy, gamma, beta):
    y, cache = batchnorm(x, gamma, beta, EPS)
    dx, dgamma, _ = batchnorm_backward(dy, gamma, cache)
    return y, dx, dgamma


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3), (3,), (0, 3)])
def test_fewer_than_two_samples_are_refused(shape):
    with pytest.raises(ValueError, match=r"needs at least 2 samples a channel, got an input of shape \("):
        batchnorm(np.zeros(shape), np.ones(3), np.zeros(3), EPS)


def test_inference_accepts_one_sample_and_forgets_the_batch():
    x = normal(0, 4, 3)
    parameters = (*scale_and_shift(x), *running(x), EPS)
    together, _ = batchnorm_inference(x, *parameters)
    alone = [batchnorm_inference(row[None], *parameters)[0][0] for row in x]
    assert (together == alone).all()


def test_inference_with_the_statistics_of_the_batch_is_the_training_form():
    x = normal(0, 4, 3)
    gamma, beta = scale_and_shift(x)
    y, cache = batchnorm(x, gamma, beta, EPS)
    assert_agrees(batchnorm_inference(x, gamma, beta, cache.mean, cache.var, EPS)[0], y)


def test_a_constant_gradient_survives_in_inference():
    """The statistics are constants there: dx = gamma / sqrt(var + eps) dy, which no batch can cancel."""
    x = normal(0, 4, 3)
    gamma, beta = scale_and_shift(x)
    mean, var = running(x)
    _, cache = batchnorm_inference(x, gamma, beta, mean, var, EPS)
    dx, _, _ = batchnorm_inference_backward(np.ones((4, 3)), gamma, cache)
    assert_agrees(dx, np.tile(gamma / np.sqrt(var + EPS), (4, 1)))


@pytest.mark.parametrize(("momentum", "mean", "var"), [(0.0, 5.0, 7.0), (1.0, 2.0, 2.0), (0.25, 4.25, 5.75)])
def test_momentum_is_the_weight_of_the_new_batch_and_its_variance_unbiased(momentum, mean, var):
    """The batch 1, 3 has mean 2 and unbiased variance 2; the old statistics are 5 and 7."""
    _, cache = batchnorm(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), EPS)
    running_mean, running_var = np.array([5.0]), np.array([7.0])
    update_running_statistics(running_mean, running_var, cache, momentum)
    assert (running_mean[0], running_var[0]) == (mean, var)


def test_moving_the_running_statistics_leaves_the_cache_as_it_is():
    x = normal(0, 4, 3)
    _, cache = batchnorm(x, *scale_and_shift(x), EPS)
    mean_before = cache.mean.copy()
    mean, var = running(x)
    update_running_statistics(mean, var, cache, 0.1)
    assert (cache.mean == mean_before).all()
