"""Batches are a pure function of (seed, step), and an epoch is a partition of the images."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.data.batches import Batches, _epoch_order
from minigan.errors import DataError, UsageError

seeds = st.integers(0, 2**32 - 1)


@st.composite
def batches(draw, last=("drop", "keep")):
    count = draw(st.integers(1, 60))
    size = draw(st.integers(1, count))
    return Batches(count, size, draw(seeds), draw(st.sampled_from(last)))


def whole_epoch(plan: Batches, epoch: int) -> np.ndarray:
    first = epoch * plan.per_epoch
    return np.concatenate([plan.indices(step) for step in range(first, first + plan.per_epoch)])


@given(batches(last=("keep",)), st.integers(0, 5))
def test_a_kept_epoch_is_a_partition_of_the_images(plan, epoch):
    assert sorted(whole_epoch(plan, epoch)) == list(range(plan.count))
    assert plan.dropped == 0


@given(batches(last=("drop",)), st.integers(0, 5))
def test_a_dropped_epoch_repeats_no_image_and_leaves_out_less_than_a_batch(plan, epoch):
    used = whole_epoch(plan, epoch)
    assert len(set(used.tolist())) == len(used) == plan.count - plan.dropped
    assert set(used.tolist()) <= set(range(plan.count))
    assert 0 <= plan.dropped < plan.batch_size


@given(batches(), st.integers(0, 400))
def test_every_batch_has_the_promised_size_and_type(plan, step):
    indices = plan.indices(step)
    assert indices.dtype == np.int64
    assert indices.ndim == 1
    is_last = step % plan.per_epoch == plan.per_epoch - 1
    rest = plan.count % plan.batch_size
    assert len(indices) == (rest if plan.last == "keep" and is_last and rest else plan.batch_size)


@given(batches(), st.lists(st.integers(0, 400), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_indices_do_not_depend_on_what_was_asked_before(plan, steps, random):
    in_order = {step: plan.indices(step).tolist() for step in sorted(steps)}
    random.shuffle(steps)
    _epoch_order.cache_clear()
    twin = dataclasses.replace(plan)
    assert {step: twin.indices(step).tolist() for step in steps} == in_order


@given(batches(), st.integers(0, 400))
def test_epoch_of_agrees_with_counting(plan, step):
    epoch = plan.epoch_of(step)
    assert epoch * plan.per_epoch <= step < (epoch + 1) * plan.per_epoch


def test_each_epoch_has_an_order_of_its_own():
    plan = Batches(1000, 100, seed=0)
    assert whole_epoch(plan, 0).tolist() != whole_epoch(plan, 1).tolist()
    assert whole_epoch(plan, 0).tolist() != whole_epoch(Batches(1000, 100, seed=1), 0).tolist()


def test_the_images_left_out_are_others_in_each_epoch():
    plan = Batches(100, 64, seed=0)
    left_out = [frozenset(range(100)) - set(whole_epoch(plan, epoch).tolist()) for epoch in range(10)]
    assert len(set(left_out)) == 10
    assert not frozenset.intersection(*left_out)


def test_the_order_does_not_depend_on_the_batch_size():
    assert whole_epoch(Batches(60, 10, 3), 2).tolist() == whole_epoch(Batches(60, 20, 3), 2).tolist()


def test_every_image_comes_first_about_equally_often():
    firsts = [Batches(4, 1, seed).indices(0)[0] for seed in range(4000)]
    counts = np.bincount(firsts, minlength=4)
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)  # 5 standard deviations


def test_changing_a_returned_batch_changes_no_later_one():
    plan = Batches(10, 5, seed=0)
    before = plan.indices(0).tolist()
    plan.indices(0)[:] = 0
    assert plan.indices(0).tolist() == before


def test_an_epoch_is_shuffled_once():
    _epoch_order.cache_clear()
    plan = Batches(600, 10, seed=0)
    for step in range(120):
        plan.indices(step)
    assert _epoch_order.cache_info().misses == 2


def test_counts_and_rules():
    assert (Batches(100, 64, 0).per_epoch, Batches(100, 64, 0).dropped) == (1, 36)
    assert (Batches(100, 64, 0, "keep").per_epoch, Batches(100, 64, 0, "keep").dropped) == (2, 0)
    assert (Batches(100, 50, 0, "keep").per_epoch, Batches(100, 50, 0).per_epoch) == (2, 2)


def test_a_batch_larger_than_the_data_names_the_largest_allowed():
    for last in ("drop", "keep"):
        with pytest.raises(DataError, match="the largest batch allowed is 100"):
            Batches(100, 101, 0, last)


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_size_below_one_is_refused(size):
    with pytest.raises(UsageError, match="the smallest is 1"):
        Batches(100, size, 0)


def test_other_bad_arguments_are_refused():
    with pytest.raises(UsageError, match="seed -1 is out of range"):
        Batches(100, 10, -1)
    with pytest.raises(UsageError, match="choose drop or keep"):
        Batches(100, 10, 0, "pad")
    with pytest.raises(DataError, match="no images"):
        Batches(0, 1, 0)
    with pytest.raises(ValueError, match="steps count from 0"):
        Batches(100, 10, 0).indices(-1)


def test_independent_batches_are_always_full_and_come_from_all_images():
    batches = Batches(10, 4, 3, "keep", independent=True)
    drawn = [batches.indices(step) for step in range(200)]
    assert all(len(set(chosen)) == 4 for chosen in drawn)
    assert all(np.array_equal(chosen, batches.indices(step)) for step, chosen in enumerate(drawn))
    counts = np.bincount(np.concatenate(drawn), minlength=10)  # 80 expected, with a deviation of 7
    assert counts.min() > 50
    assert counts.max() < 110
    assert any(set(a) & set(b) for a, b in zip(drawn[::2], drawn[1::2], strict=True))
    assert len({tuple(chosen) for chosen in drawn}) > 190
