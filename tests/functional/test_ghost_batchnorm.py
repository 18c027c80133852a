"""Batch normalisation of several batches in one array: what the explicit loops make of one after the other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import nn
from minigan.functional import ghost_batchnorm as module
from minigan.functional.batchnorm import batchnorm, update_running_statistics
from minigan.functional.ghost_batchnorm import (
    ghost_batchnorm,
    ghost_batchnorm_backward,
    split,
    update_ghost_statistics,
)
from minigan.parallel.team import ALONE
from reference import batchnorm as loops
from tests.planted_bugs import Bug, planted
from tests.strategies import assert_agrees, few_examples, normal, seeds

EPS = 1e-5


def arrays(seed, *shape):
    gamma = np.random.default_rng([seed, 1]).uniform(0.5, 2, shape[-1])
    return normal([seed, 0], *shape), gamma, normal([seed, 2], shape[-1]), normal([seed, 3], *shape)


def at_once(x, gamma, beta, dy, parts, slope=1.0):
    """y, dx, dgamma, dbeta and moved running statistics."""
    y, cache = ghost_batchnorm(x, gamma, beta, EPS, slope, parts)
    mean, var = np.zeros(len(gamma)), np.ones(len(gamma))
    update_ghost_statistics(mean, var, cache, 0.3)
    return [y, *ghost_batchnorm_backward(dy, gamma, cache, slope), mean, var]


def one_by_one(x, gamma, beta, dy, parts, slope=1.0):
    """The same, by explicit loops over each part; the rectifier is 1 or `slope` times its input."""
    outputs, gradients, mean, var = [], [], np.zeros(len(gamma)), np.ones(len(gamma))
    for own, d_own in zip(np.split(x, parts), np.split(dy, parts), strict=True):
        a = loops.batchnorm(own, gamma, beta, EPS)
        factor = np.where(a > 0, 1.0, slope)
        outputs.append(factor * a)
        gradients.append(loops.batchnorm_backward(factor * d_own, own, gamma, EPS))
        update_running_statistics(mean, var, batchnorm(own, gamma, beta, EPS)[1], 0.3)
    dx, dgamma, dbeta = zip(*gradients, strict=True)
    return [np.concatenate(outputs), np.concatenate(dx), sum(dgamma), sum(dbeta), mean, var]


@few_examples
@given(
    parts=st.integers(1, 3), samples=st.integers(1, 3), places=st.sampled_from([(2,), (2, 1)]),
    channels=st.integers(1, 3), slope=st.sampled_from([0.0, 0.2, 1.0]), seed=seeds,
)  # fmt: skip
def test_each_part_is_normalised_as_if_alone(parts, samples, places, channels, slope, seed):
    given_arrays = arrays(seed, parts * samples, *places, channels)
    found, expected = (way(*given_arrays, parts, slope) for way in (at_once, one_by_one))
    for ours, theirs in zip(found, expected, strict=True):
        assert_agrees(ours, theirs)


def test_vectors_and_images_are_cut_along_the_samples():
    x = np.arange(24).reshape(6, 2, 2)
    assert [part.tolist() for part in split(x, 3)] == [x[:2].tolist(), x[2:4].tolist(), x[4:].tolist()]


@pytest.mark.parametrize(("samples", "parts"), [(5, 2), (2, 3), (0, 1)])
def test_parts_that_are_not_equal_are_refused(samples, parts):
    with pytest.raises(ValueError, match=f"{samples} samples do not make {parts} equal parts"):
        split(np.zeros((samples, 3)), parts)


def test_a_network_of_parts_can_be_given_more_parts():
    """Each of the batches then has those that it had alone."""
    net = nn.Sequential(nn.GhostBatchNorm(parts=2, slope=0.3))
    theta = nn.init_params(net, (3,), np.random.default_rng(0), dtype=np.float64)
    x = normal(0, 8, 3)
    both, _ = nn.in_parts(net, 2).forward(theta, x, train=True)
    alone = [net.forward(theta, half, train=True)[0] for half in (x[:4], x[4:])]
    assert_agrees(both, np.concatenate(alone))


def test_processes_cannot_share_parts():
    with pytest.raises(ValueError, match="a batch that processes share cannot be one of several"):
        nn.in_parts(nn.SyncBatchNorm(gather=ALONE.gather), 2)
    with pytest.raises(ValueError, match="processes cannot share the batches of a GhostBatchNorm"):
        nn.convert_sync_batchnorm(nn.Sequential(nn.GhostBatchNorm(parts=2)), ALONE.gather)


def test_a_part_of_one_row_is_refused():
    x, gamma, beta, _ = arrays(0, 3, 2)
    with pytest.raises(ValueError, match="at least 2 samples a channel"):
        ghost_batchnorm(x, gamma, beta, EPS, 1.0, 3)


@pytest.mark.parametrize(
    "bug",
    [
        Bug("the first part for all", module.split, "x[start : start + size]", "x[:size]"),
        Bug("dgamma of one part", module.ghost_batchnorm_backward, "sum(dgamma)", "dgamma[0]"),
        Bug("dbeta averaged", module.ghost_batchnorm_backward, "sum(dbeta)", "sum(dbeta) / len(dbeta)"),
        Bug("the slope forgotten", module.ghost_batchnorm_backward, "one, slope)", "one, 1.0)"),
        Bug("statistics of the last part alone", module.update_ghost_statistics, "cache.parts:", "cache.parts[-1:]:"),
        Bug("caches exchanged", module.ghost_batchnorm, "(caches)", "(caches[::-1])"),
    ],
    ids=lambda bug: bug.story,
)
def test_a_planted_bug_is_caught(bug):
    given_arrays = (*arrays(0, 4, 3, 2), 2, 0.2)
    expected = one_by_one(*given_arrays)
    with planted(bug):
        found = at_once(*given_arrays)
    assert max(abs(ours - theirs).max() for ours, theirs in zip(found, expected, strict=True)) > 1e-3
