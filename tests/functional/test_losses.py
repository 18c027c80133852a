"""Supervised losses: naive loops at moderate logits, stability at huge ones, known values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional.losses import bce_with_logits, half_squared_error, mean_squared_error, softmax_cross_entropy
from reference import losses as loops
from tests.strategies import arrays_any, arrays_ni, assert_agrees, error, few_examples, labelled_logits, normal, seeds

smoothings = st.sampled_from([0.0, 0.1, 0.5])
both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@few_examples
@given(logits=arrays_any(), one_target=st.booleans(), smoothing=smoothings, seed=seeds)
def test_binary_cross_entropy_agrees_with_the_naive_loops(logits, one_target, smoothing, seed):
    targets = 0.3 if one_target else np.random.default_rng(seed).uniform(size=logits.shape)
    for ours, theirs in zip(
        bce_with_logits(logits, targets, smoothing), loops.bce_with_logits(logits, targets, smoothing), strict=True
    ):
        assert_agrees(ours, theirs)


@few_examples
@given(sample=labelled_logits(), smoothing=smoothings)
def test_softmax_cross_entropy_agrees_with_the_naive_loops(sample, smoothing):
    for ours, theirs in zip(
        softmax_cross_entropy(*sample, smoothing), loops.softmax_cross_entropy(*sample, smoothing), strict=True
    ):
        assert_agrees(ours, theirs)


@pytest.mark.parametrize("name", ["mean_squared_error", "half_squared_error"])
@few_examples
@given(y=arrays_ni(), one_target=st.booleans(), seed=seeds)
def test_squared_errors_agree_with_the_explicit_loops(name, y, one_target, seed):
    function = {"mean_squared_error": mean_squared_error, "half_squared_error": half_squared_error}[name]
    targets = 0.3 if one_target else normal(seed, *y.shape)
    for ours, theirs in zip(function(y, targets), getattr(loops, name)(y, targets), strict=True):
        assert_agrees(ours, theirs)


# Binary cross-entropy ------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
def test_an_undecided_discriminator_pays_log_two(target):
    loss, dlogits = bce_with_logits(np.zeros((4, 1)), target)
    assert_agrees(loss, np.log(2), 1e-15)
    assert (dlogits == (0.5 - target) / 4).all()


@both_precisions
def test_huge_logits_cost_what_they_are_wrong_by(dtype):
    """Right by 1e4 costs nothing and pulls nowhere; wrong by 1e4 costs 1e4 and pulls with full force."""
    logits, targets = np.array([1e4, -1e4, 1e4, -1e4], dtype), np.array([1, 0, 0, 1], dtype)
    with np.errstate(all="raise", under="ignore"):
        loss, dlogits = bce_with_logits(logits, targets)
    assert loss == 2e4 / 4
    assert (dlogits == [0, 0, 0.25, -0.25]).all()


@both_precisions
def test_a_target_that_is_nearly_met_keeps_its_digits(dtype):
    """At s = 40 both loss and slope are e^-40, although sigmoid(40) is 1 in both precisions."""
    loss, dlogits = bce_with_logits(np.array([40.0], dtype), 1.0)
    assert error(np.array([loss, -dlogits[0]], float) * np.exp(40), np.ones(2)) <= 100 * np.finfo(dtype).eps


@given(logits=arrays_any(), seed=seeds)
def test_exchanging_the_classes_turns_the_gradient_round(logits, seed):
    targets = np.random.default_rng(seed).uniform(size=logits.shape)
    loss, dlogits = bce_with_logits(logits, targets)
    mirrored_loss, mirrored_dlogits = bce_with_logits(-logits, 1 - targets)
    assert_agrees(mirrored_loss, loss, 1e-15)
    assert_agrees(mirrored_dlogits, -dlogits, 1e-15)


def test_smoothing_moves_the_targets_towards_one_half():
    """a = 0.2 turns 0 into 0.1 and 1 into 0.9, and leaves 1/2 alone."""
    logits = normal(0, 3)
    smoothed = bce_with_logits(logits, np.array([0.0, 0.5, 1.0]), smoothing=0.2)
    plain = bce_with_logits(logits, np.array([0.1, 0.5, 0.9]))
    for ours, theirs in zip(smoothed, plain, strict=True):
        assert_agrees(ours, theirs, 1e-15)


# Softmax cross-entropy -----------------------------------------------------------------------------


def test_equal_logits_cost_log_of_the_number_of_classes():
    loss, dlogits = softmax_cross_entropy(np.zeros((2, 4)), np.array([3, 1]))
    assert_agrees(loss, np.log(4), 1e-15)
    assert_agrees(dlogits, (0.25 - np.array([[0, 0, 0, 1], [0, 1, 0, 0]])) / 2, 1e-15)


@both_precisions
def test_huge_logits_of_the_softmax(dtype):
    logits = np.array([[1e4, -1e4, 0], [1e4, 0, -1e4]], dtype)
    with np.errstate(all="raise", under="ignore"):
        loss, dlogits = softmax_cross_entropy(logits, np.array([0, 2]))
    assert loss == 2e4 / 2
    assert (dlogits == [[0, 0, 0], [0.5, 0, -0.5]]).all()


@given(sample=labelled_logits(), smoothing=smoothings)
def test_the_gradient_of_each_sample_sums_to_zero(sample, smoothing):
    """p and q are both probabilities."""
    _, dlogits = softmax_cross_entropy(*sample, smoothing)
    assert_agrees(dlogits.sum(axis=1), np.zeros(len(dlogits)), 1e-14)


@given(sample=labelled_logits(), shift=st.floats(-100, 100))
def test_adding_a_constant_to_all_logits_of_a_sample_changes_nothing(sample, shift):
    logits, labels = sample
    for shifted, plain in zip(
        softmax_cross_entropy(logits + shift, labels), softmax_cross_entropy(logits, labels), strict=True
    ):
        assert_agrees(shifted, plain)


@given(sample=labelled_logits())
def test_only_the_logit_of_the_label_is_pushed_up(sample):
    logits, labels = sample
    _, dlogits = softmax_cross_entropy(logits, labels)
    assert (np.argwhere(dlogits < 0)[:, 1] == labels).all()


def test_two_classes_are_a_binary_cross_entropy_of_the_difference():
    logits, labels = normal(0, 5, 2), np.array([0, 1, 1, 0, 1])
    loss, dlogits = softmax_cross_entropy(logits, labels, smoothing=0.1)
    binary_loss, binary_dlogits = bce_with_logits(logits[:, 1] - logits[:, 0], labels, smoothing=0.1)
    assert_agrees(loss, binary_loss, 1e-15)
    assert_agrees(dlogits[:, 1], binary_dlogits, 1e-15)


def test_smoothing_shares_its_part_among_all_classes():
    """a = 0.2 with 4 classes: 0.85 for the label and 0.05 for each other class."""
    _, dlogits = softmax_cross_entropy(np.zeros((1, 4)), np.array([2]), smoothing=0.2)
    assert_agrees(dlogits, [[0.2, 0.2, -0.6, 0.2]], 1e-15)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_labels_of_any_integer_type_are_accepted(dtype):
    logits, labels = normal(0, 3, 4), np.array([3, 0, 2])
    for ours, theirs in zip(
        softmax_cross_entropy(logits, labels.astype(dtype)), softmax_cross_entropy(logits, labels), strict=True
    ):
        assert np.array_equal(ours, theirs)


# Squared errors ------------------------------------------------------------------------------------


def test_means_are_over_entries_and_halves_over_samples():
    """Errors 1, 2, 3, 4 in two samples: 30 / 4, and 30 / 2 / 2."""
    y, targets = np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 2))
    loss, dy = mean_squared_error(y, targets)
    assert loss == 7.5
    assert (dy == y / 2).all()
    loss, dy = half_squared_error(y, targets)
    assert loss == 7.5
    assert (dy == y / 2).all()
    loss, dy = half_squared_error(y[:, :1], targets[:, :1])
    assert loss == 2.5
    assert (dy == y[:, :1] / 2).all()


@pytest.mark.parametrize("function", [mean_squared_error, half_squared_error])
def test_a_met_target_costs_nothing_and_pulls_nowhere(function):
    y = normal(0, 3, 2)
    loss, dy = function(y, y.copy())
    assert loss == 0
    assert (dy == 0).all()


@pytest.mark.parametrize("function", [bce_with_logits, mean_squared_error, half_squared_error])
def test_targets_of_another_shape_are_refused(function):
    """(3,) and (3, 1) would make (3, 3)."""
    with pytest.raises(ValueError, match=r"targets of shape \(3,\) for outputs of shape \(3, 1\)"):
        function(np.zeros((3, 1)), np.zeros(3))


@pytest.mark.parametrize(
    "labels",
    [np.zeros((4, 1), int), np.eye(4, 3, dtype=int), np.zeros(1, int), np.zeros(4), np.zeros(4, bool)],
    ids=["a column", "one-hot", "too few", "no integers", "truths"],
)
def test_labels_of_another_shape_or_kind_are_refused(labels):
    """They would be broadcast, to another loss."""
    with pytest.raises(ValueError, match=r"labels are integers of shape \(4,\), got"):
        softmax_cross_entropy(np.ones((4, 3)), labels)
