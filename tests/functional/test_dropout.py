"""Dropout: explicit loops, the statistics of the mask, and one mask for both directions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional.dropout import draw_keep, dropout, dropout_backward
from reference import dropout as loops
from tests.strategies import assert_agrees, channel_last_arrays, few_examples, normal, seeds

RATES = [0.0, 0.25, 0.5, 0.9, 1.0]


@few_examples
@given(x=channel_last_arrays(), by_channel=st.booleans(), scale=st.floats(0.5, 4), seed=seeds)
def test_agrees_with_the_explicit_loops(x, by_channel, scale, seed):
    mask_shape = (len(x), *[1] * (x.ndim - 2), x.shape[-1]) if by_channel else x.shape
    keep = np.random.default_rng([seed, 0]).random(mask_shape) < 0.5
    dy = normal([seed, 1], *x.shape)
    y, cache = dropout(x, keep, scale)
    assert_agrees(y, loops.dropout(x, keep, scale))
    assert_agrees(dropout_backward(dy, cache), loops.dropout_backward(dy, keep, scale))


@pytest.mark.parametrize("rate", RATES)
def test_the_mask_drops_the_given_part(rate):
    """100,000 draws: their mean lies within five standard deviations of 1 - p; nothing is random at 0 and 1."""
    keep = draw_keep(np.random.default_rng(0), (1000, 100), rate)
    assert keep.dtype == bool
    assert keep.shape == (1000, 100)
    assert abs(keep.mean() - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / keep.size)


def test_the_mask_depends_on_the_generator_alone():
    first, again, other = (draw_keep(np.random.default_rng(seed), (8, 8), 0.5) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


class Loaded:
    """A generator that draws 0 and 1/2, and nothing else."""

    def random(self, shape, dtype):
        return np.array([0.0, 0.5], dtype).reshape(shape)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, [True, True]), (0.5, [False, True]), (1.0, [False, False])])
def test_a_draw_equal_to_the_rate_is_kept(rate, expected):
    """Draws lie in [0, 1): so nothing is ever dropped at p = 0, and nothing kept at p = 1."""
    assert (draw_keep(Loaded(), (2,), rate) == expected).all()


@pytest.mark.parametrize("rate", RATES[:-1])
def test_inverted_dropout_keeps_the_expectation(rate):
    """The mean of 20,000 masks estimates E[y] = x, within five standard deviations."""
    x = np.array([-2.0, 0.5, 3.0])
    keep = draw_keep(np.random.default_rng(0), (20_000, 3), rate)
    y, _ = dropout(np.tile(x, (20_000, 1)), keep, scale=1 / (1 - rate))
    deviation = abs(x) * np.sqrt(rate / (1 - rate) / 20_000)
    assert (abs(y.mean(axis=0) - x) <= 5 * deviation + 1e-12).all()


@pytest.mark.parametrize("mask_shape", [(4, 3, 3, 5), (4, 1, 1, 5)])
def test_the_gradient_passes_exactly_where_the_input_passed(mask_shape):
    keep = draw_keep(np.random.default_rng(0), mask_shape, 0.5)
    y, cache = dropout(np.ones((4, 3, 3, 5)), keep, scale=2.0)
    assert 0 < (y == 0).mean() < 1
    assert (dropout_backward(np.ones_like(y), cache) == y).all()


def test_a_channel_mask_drops_whole_channels_of_single_samples():
    keep = draw_keep(np.random.default_rng(0), (4, 1, 1, 5), 0.5)
    y, _ = dropout(np.ones((4, 3, 3, 5)), keep, scale=1.0)
    assert (y.min(axis=(1, 2)) == y.max(axis=(1, 2))).all()
    assert len(np.unique(y[:, 0, 0, :], axis=0)) > 1


def test_everything_kept_is_the_identity():
    x = normal(0, 3, 4)
    assert (dropout(x, np.ones((3, 4), bool), scale=1.0)[0] == x).all()
