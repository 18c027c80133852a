"""Batch normalisation of parts: together they are what one process makes of the whole batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional import sync_batchnorm as module
from minigan.functional.batchnorm import batchnorm, batchnorm_backward, update_running_statistics
from minigan.functional.sync_batchnorm import merge_moments, sync_batchnorm, sync_batchnorm_backward
from minigan.parallel.team import ALONE
from tests.parallel.thread_team import together
from tests.planted_bugs import Bug, planted
from tests.strategies import assert_agrees, few_examples, normal, seeds

EPS = 1e-5


def whole(x, gamma, beta, dy):
    """y, dx, dgamma, dbeta and moved running statistics, of all samples in one process."""
    y, cache = batchnorm(x, gamma, beta, EPS)
    mean, var = np.zeros(len(gamma)), np.ones(len(gamma))
    update_running_statistics(mean, var, cache, 0.1)
    return [y, *batchnorm_backward(dy, gamma, cache), mean, var]


def in_parts(x, gamma, beta, dy, processes):
    """The same, put together from what the processes find."""

    def one(team):
        y, cache = sync_batchnorm(team.part(x), gamma, beta, EPS, team.gather)
        mean, var = np.zeros(len(gamma)), np.ones(len(gamma))
        update_running_statistics(mean, var, cache, 0.1)
        return [y, *sync_batchnorm_backward(team.part(dy), gamma, cache, team.gather), mean, var]

    y, dx, dgamma, dbeta, mean, var = zip(*together(processes, one), strict=True)
    assert all(np.array_equal(mean[0], other) for other in mean)
    return [np.concatenate(y), np.concatenate(dx), sum(dgamma), sum(dbeta), mean[0], var[0]]


def arrays(seed, *shape):
    gamma = np.random.default_rng([seed, 1]).uniform(0.5, 2, shape[-1])
    return normal([seed, 0], *shape), gamma, normal([seed, 2], shape[-1]), normal([seed, 3], *shape)


@few_examples
@given(
    processes=st.integers(1, 4), rows=st.integers(1, 3), places=st.sampled_from([(), (2, 1)]),
    channels=st.integers(1, 3), seed=seeds,
)  # fmt: skip
def test_parts_agree_with_the_whole(processes, rows, places, channels, seed):
    given_arrays = arrays(seed, max(2, processes * rows), *places, channels)
    processes = processes if len(given_arrays[0]) % processes == 0 else 1
    for found, expected in zip(in_parts(*given_arrays, processes), whole(*given_arrays), strict=True):
        assert_agrees(found, expected)


def test_merging_keeps_digits_that_sums_of_squares_lose():
    """E[x^2] - mean^2 of numbers near a million with a spread of one has no digit left in float32."""
    x = (1e6 + np.random.default_rng(0).standard_normal((64, 1))).astype(np.float32)

    def one(team):
        part = team.part(x)
        mean = part.mean(axis=0)
        return merge_moments((len(part), mean, ((part - mean) ** 2).sum(axis=0)), team.gather)

    (count, mean, spread), _ = together(2, one)
    exact = x.astype(np.float64)
    assert (count, spread.dtype) == (64, np.float32)
    assert mean == pytest.approx(exact.mean(), rel=1e-7)
    assert spread / count == pytest.approx(exact.var(), rel=0.1)
    assert abs((x * x).mean() - x.mean() ** 2 - exact.var()) > 0.5 * exact.var()


@pytest.mark.parametrize(
    "bug",
    [
        Bug("the distances of the means forgotten", module.merge_moments, "(apart * apart)", "(0 * apart)"),
        Bug("distances of means, once each", module.merge_moments, "+ count * (apart", "+ 1 * (apart"),
        Bug("the count of the part", module.merge_moments, "count * len(gathered), mean", "count, mean"),
        Bug("the mean of the part", module.sync_batchnorm, "(rows - mean) * inv", "(rows - local) * inv"),
        Bug("divided by the rows of the part", module.sync_batchnorm_backward, "/ cache.samples", "/ len(drows)"),
        Bug("sums exchanged", module.sync_batchnorm_backward, "sums[1] + cache.x_hat * sums[0]",
            "sums[0] + cache.x_hat * sums[1]"),
        Bug("sums of the part", module.sync_batchnorm_backward, "sums[1] + cache.x_hat * sums[0]",
            "dbeta + cache.x_hat * dgamma"),
        Bug("dgamma of all, to be summed again", module.sync_batchnorm_backward, "dgamma, dbeta\n",
            "sums[0], dbeta\n"),
    ],
    ids=lambda bug: bug.story,
)  # fmt: skip
def test_a_planted_bug_is_caught(bug):
    given_arrays = arrays(0, 4, 2, 3)
    expected = whole(*given_arrays)
    with planted(bug):
        found = in_parts(*given_arrays, 2)
    differences = [abs(ours - theirs).max() for ours, theirs in zip(found, expected, strict=True)]
    assert max(differences) > 1e-3


def test_alone_it_is_batchnorm():
    x, gamma, beta, dy = arrays(0, 6, 3)
    y, cache = sync_batchnorm(x, gamma, beta, EPS, ALONE.gather)
    found = [y, *sync_batchnorm_backward(dy, gamma, cache, ALONE.gather)]
    for ours, theirs in zip(found, whole(x, gamma, beta, dy), strict=False):
        assert_agrees(ours, theirs)
