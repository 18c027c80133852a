"""The classifier score: closed forms, the explicit loops, the ten parts, and the histogram."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax as scipy_log_softmax
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy

from minigan.evaluation.classifier_score import class_histogram, classifier_score, entropy, log_softmax
from reference import scores


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape) * 3


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 99))
def test_agrees_with_the_explicit_loops(n, classes, seed):
    logits = draw(seed, n, classes)
    expected = scores.classifier_score(softmax(logits, axis=1))
    assert classifier_score(logits, splits=1).mean == pytest.approx(expected, rel=1e-10)


def test_certain_and_evenly_spread_samples_score_the_number_of_classes(device):
    logits = np.tile(100 * np.eye(10, dtype=np.float32), (10, 1))
    mean, std = classifier_score(device.put(logits))
    assert mean == pytest.approx(10, rel=1e-9)
    assert std == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("logits", [np.zeros((50, 10)), np.tile([5.0, 0, 0], (50, 1))])
def test_samples_that_all_look_alike_score_one(logits):
    assert classifier_score(logits).mean == pytest.approx(1, rel=1e-12)


def test_two_classes_of_unequal_share_score_the_exponential_of_their_entropy():
    logits = np.array([[200.0, 0, 0]] * 3 + [[0, 200.0, 0]])
    share = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert classifier_score(logits, splits=1).mean == pytest.approx(share, rel=1e-12)


def test_logits_too_large_for_exp_and_classes_without_any_share_are_no_trouble():
    score = classifier_score(np.array([[1e4, 0, -1e4], [0, 1e4, -1e4]]), splits=1)
    assert score.mean == pytest.approx(2, rel=1e-12)


def test_the_parts_are_consecutive_and_as_even_as_can_be():
    logits = draw(0, 23, 4)
    p = softmax(logits, axis=1)
    parts = [scores.classifier_score(part) for part in (p[:7], p[7:15], p[15:])]
    score = classifier_score(logits, splits=3)
    assert score.mean == pytest.approx(np.mean(parts), rel=1e-10)
    assert score.std == pytest.approx(np.std(parts), rel=1e-8)


def test_log_softmax_is_that_of_scipy_in_float64(device):
    logits = draw(0, 5, 4).astype(np.float32)
    found = log_softmax(device.put(logits))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.tolist(), scipy_log_softmax(logits.astype(np.float64), axis=1), rtol=1e-12)


def test_the_histogram_counts_the_likeliest_class(device):
    logits = np.eye(4)[[0, 2, 2, 0, 2]]
    assert class_histogram(device.put(logits)).tolist() == [2, 0, 3, 0]


@pytest.mark.parametrize("counts", [[2, 0, 3, 0], [1, 1, 1], [7], [1, 2, 3, 4]])
def test_the_entropy_is_that_of_scipy(counts):
    assert entropy(np.array(counts)) == pytest.approx(scipy_entropy(counts), abs=1e-12)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="9 samples cannot be split into 10 parts"):
        classifier_score(draw(0, 9, 3))
    with pytest.raises(ValueError, match="not finite"):
        classifier_score(np.full((20, 3), np.nan))
