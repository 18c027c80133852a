"""Masks drawn as whole numbers: the same as the plain ones, and a generator that goes on as if nothing had happened."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import ops
from minigan.functional import dropout as plain
from minigan.kernels import dropout
from tests.planted_bugs import Bug, planted
from tests.strategies import few_examples, many_examples, seeds

# What a training draws from one generator: orders of samples, which take half words, and masks of any size.
DRAWS = {
    "order": lambda rng, size: rng.permutation(size),
    "float64": lambda rng, size: rng.random(size),
    "float32": lambda rng, size: rng.random(size, dtype=np.float32),
}
sizes = st.integers(0, 40)
draws = st.lists(st.one_of(sizes, st.tuples(st.sampled_from(sorted(DRAWS)), sizes)), min_size=1, max_size=8)
steps = [0.0, 2**-24, 0.25, 0.5, 0.75, 1 - 2**-24]
rates = st.one_of(st.sampled_from([*steps, 1 - 2**-40]), st.floats(0, 0.999))


def drawn(mask, seed, wanted, rate):
    """Everything that is drawn in this order, masks by `mask`, and what comes after it."""
    rng = np.random.default_rng(seed)
    found = [mask(rng, (each,), rate) if isinstance(each, int) else DRAWS[each[0]](rng, each[1]) for each in wanted]
    return [*found, rng.random(3, dtype=np.float32), rng.random(3)]


@many_examples
@given(seed=seeds, wanted=draws, rate=rates)
def test_masks_and_all_that_is_drawn_between_them_are_those_of_the_plain_version(seed, wanted, rate):
    expected, found = (drawn(room.draw_keep, seed, wanted, rate) for room in (plain, dropout))
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


class Given:
    """Numbers of a generator, one after another, in place of random ones."""

    def __init__(self, numbers):
        self.words = np.array(numbers, np.uint32).view(np.uint64)

    def __call__(self, count):
        return self.words[:count]


@pytest.mark.parametrize("rate", [*steps[1:], 0.3, 1 / 3, 0.7])
def test_a_number_at_the_rate_is_kept_and_the_one_below_it_is_not(rate):
    """Random numbers hardly ever come so close."""
    first = int(np.ceil(np.float64(np.float32(rate)) * 2**24))  # of 2^24, that is at least the rate
    numbers = [(first - 1) << 8 | 255, first << 8]
    as_floats = np.array([number >> 8 for number in numbers], np.float32) / np.float32(2**24)

    class Bits(np.random.PCG64):
        random_raw = Given(numbers)

    keep = dropout.draw_keep(np.random.Generator(Bits(0)), (2,), rate)
    assert keep.tolist() == [False, True] == (as_floats >= rate).tolist()


@few_examples
@given(seed=seeds, size=st.integers(0, 9))
def test_another_kind_of_generator_draws_as_ever(seed, size):
    one, other = (np.random.Generator(np.random.Philox(seed)) for _ in range(2))
    np.testing.assert_array_equal(dropout.draw_keep(one, (size, 3), 0.5), plain.draw_keep(other, (size, 3), 0.5))


def test_the_door_leads_here_with_fast_kernels():
    rng = np.random.default_rng(0)
    with ops.fast_kernels(1), pytest.MonkeyPatch.context() as patch:
        patch.setitem(ops._host_twins, "draw_keep", lambda *_: "fast")
        assert ops.draw_keep(rng, (2,), 0.5) == "fast"
    assert ops.draw_keep(rng, (2,), 0.5).dtype == np.bool_


BUGS = [
    Bug("the upper half first", dropout.draw_keep, ".view(np.uint32)",
        ".view(np.uint32).reshape(-1, 2)[:, ::-1].ravel()"),
    Bug("what was left over is skipped", dropout.draw_keep, 'left = before["has_uint32"]', "left = 0"),
    Bug("what was left over is used again", dropout.draw_keep, "if left or odd", "if odd"),
    Bug("nothing is left over", dropout.draw_keep, "(count - left) % 2", "0"),
    Bug("the rate is above", dropout.draw_keep, "halves[: count - left], limit", "halves[: count - left], limit << 1"),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=[bug.story for bug in BUGS])
def test_wrong_masks_are_noticed(bug):
    with planted(bug):
        wrong = [
            any(
                not np.array_equal(one, other)
                for one, other in zip(
                    *(drawn(room.draw_keep, 7, wanted, 0.5) for room in (plain, dropout)), strict=True
                )
            )
            for wanted in ([20, 20], [5, 20], [5, 5, 20], [("float32", 5), 7, 20])
        ]
    assert any(wrong)
