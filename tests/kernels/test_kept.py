"""What is made of weights is made again when they change, however they change, and takes no more than its memory."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import ops
from minigan.functional import conv as plain
from minigan.functional.patches import Geometry
from minigan.kernels import kept
from minigan.kernels.kept import made_of
from tests.kernels.twins import fast
from tests.planted_bugs import Bug, planted
from tests.strategies import few_examples, normal, seeds


class Making:
    """Doubles weights, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, w):
        self.calls += 1
        return 2 * w


@pytest.fixture
def making():
    kept.forget()
    yield Making()
    kept.forget()


def test_the_same_weights_are_transformed_once(making):
    w = normal(0, 3, 4)
    first, again = (made_of(w, making, "double") for _ in range(2))
    assert (first == 2 * w).all()
    assert again is first
    assert making.calls == 1


@few_examples
@given(seed=seeds, where=st.integers(0, 59), value=st.sampled_from([0.5, -1e-300, np.nan, np.inf]))
def test_one_number_that_changes_is_enough(seed, where, value):
    kept.forget()
    making, w = Making(), normal(seed, 3, 4, 5)
    made_of(w, making, "double")
    for _ in range(2):  # there and back
        w.flat[where] = value if w.flat[where] != value else 1.0
        np.testing.assert_array_equal(made_of(w, making, "double"), 2 * w)


def test_weights_that_are_no_numbers_are_never_taken_for_old_ones(making):
    w = np.full((2, 2), np.nan)
    for _ in range(3):
        made_of(w, making, "double")
    assert making.calls == 3


def test_nothing_half_done_is_kept(making):
    """Interrupted when the new weights are transformed and not yet copied; then those of before are back."""
    w = normal(0, 3, 4)
    before = w.copy()
    made_of(w, making, "double")
    (entry,) = kept._kept.values()
    entry.weights.flags.writeable = False
    w[0, 0] += 1
    with pytest.raises(ValueError, match="read-only"):
        made_of(w, making, "double")
    w[...] = before
    np.testing.assert_array_equal(made_of(w, making, "double"), 2 * before)


def test_what_was_made_in_another_way_or_of_other_weights_is_something_else(making):
    memory = normal(0, 4, 4)
    views = [memory, memory.T, memory[:2], memory.view(np.int64), memory.reshape(2, 8)]  # all begin at one address
    for how in ("one", "other"):
        for w in views:
            np.testing.assert_array_equal(made_of(w, making, how), 2 * w)
    assert making.calls == 2 * len(views)


def test_memory_is_limited_and_given_back(making, monkeypatch):
    weights = [normal(seed, 8) for seed in range(3)]
    monkeypatch.setattr(kept, "KEEP", 2 * (8 + 8) * 8)
    for _ in range(5):
        for w in weights:
            assert (made_of(w, making, "double") == 2 * w).all()
    assert making.calls == 2 + 5  # there is no room for the third, and it is not asked for more often than the others
    kept.forget()
    assert not kept._kept


def test_what_is_asked_for_more_often_is_kept_instead(making, monkeypatch):
    """As the weights of D, which judges real images and fakes, instead of those of G; large ones for several small."""
    small, large = [normal(seed, 8) for seed in range(4)], normal(4, 24)
    monkeypatch.setattr(kept, "KEEP", 4 * (8 + 8) * 8)
    for w in [*small, *small[1:], large, large, large, large]:
        made_of(w, making, "double")
    assert (
        making.calls == 4 + 4
    )  # there is room for the large one when three of the small ones have been asked for less
    made_of(large, making, "double")
    assert making.calls == 4 + 4 + 1
    made_of(large, making, "double")
    assert making.calls == 4 + 4 + 1
    assert {each.weights.size for each in kept._kept.values()} == {8, 24}
    assert sum(each.size for each in kept._kept.values()) <= kept.KEEP


def test_nothing_is_left_when_fast_kernels_are_not_in_use_any_more():
    x, w, geometry = normal(0, 2, 8, 8, 16), normal(1, 3, 3, 16, 16), Geometry(padding=(1, 1, 1, 1))
    with fast(2):
        ops.conv2d(x, w, geometry)
        assert len(kept._kept) == 1
    assert not kept._kept


@pytest.mark.parametrize("threads", [1, 2])
def test_both_directions_follow_weights_that_change_in_place(threads):
    x, w, geometry = normal(0, 2, 8, 8, 16), normal(1, 4, 4, 16, 16), Geometry((2, 2), (1, 1, 1, 1))
    dy = normal(2, 2, 4, 4, 16)
    with fast(threads):
        for seed in range(3):
            np.testing.assert_allclose(ops.conv2d(x, w, geometry), plain.conv2d(x, w, geometry), atol=1e-11)
            dx = ops.conv2d_input_grad(dy, w, (8, 8), geometry)
            np.testing.assert_allclose(dx, plain.conv2d_input_grad(dy, w, (8, 8), geometry), atol=1e-11)
            w -= 0.1 * normal(seed, *w.shape)
        assert len(kept._kept) == 1  # for both


BUGS = [
    Bug("weights are not compared", kept.made_of, "elif not _same(kept.weights, w):", "elif False:"),
    Bug("the copy is not renewed", kept.made_of, "kept.weights[...] = w", "pass"),
    Bug("no copy is made", kept.made_of, "Kept(w.copy(), kept.made)", "Kept(w, kept.made)"),
    Bug("one part is enough", kept._same, "return all(", "return any("),
    Bug("where weights lie is all that counts", kept.made_of, ", w.shape, w.strides, w.dtype)", ")"),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=[bug.story for bug in BUGS])
def test_wrong_memories_are_noticed(bug):
    """Weights that change in the first number, in the last, and back again; and a part of them."""
    kept.forget()
    wrong = 0
    with planted(bug), ops.fast_kernels(2):
        w = np.ones((1 << 10, 1 << 8))
        for where, value in ((0, 5.0), (-1, 5.0), (0, 1.0), (-1, 1.0)):
            made_of(w, np.copy, "copy")
            w.flat[where] = value
            wrong += not np.array_equal(made_of(w, np.copy, "copy"), w)
        part = w[: 1 << 9]
        try:
            wrong += not np.array_equal(made_of(part, np.copy, "copy"), part)
        except ValueError:
            wrong += 1
    assert wrong


def test_threads_side_by_side_make_changed_weights_once(making):
    """One that makes them waits until another has come, which without a lock finds nothing to forget."""
    w, entered = normal(0, 3, 4), threading.Barrier(2)
    made_of(w, making, "double")
    w += 1

    def slowly(w):
        with contextlib.suppress(threading.BrokenBarrierError):
            entered.wait(0.2)
        return making(w)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: made_of(w, slowly, "double"), range(2)))
    assert all((result == 2 * w).all() for result in results)
    assert making.calls == 2
