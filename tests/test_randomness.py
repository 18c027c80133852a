"""Random numbers are a function of (seed, purpose, counters)."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.errors import UsageError
from minigan.randomness import WORD, Purpose, check_seed, parted, state_words, stream

words = seeds = st.integers(0, WORD - 1)
purposes = st.sampled_from(Purpose)


def first_numbers(*arguments: int) -> list[int]:
    return stream(*arguments).bit_generator.random_raw(4).tolist()


@given(words, purposes, words)
def test_the_same_arguments_give_the_same_numbers(seed, purpose, step):
    assert first_numbers(seed, purpose, step) == first_numbers(seed, purpose, step)


@given(st.lists(st.tuples(words, purposes, words), min_size=2, max_size=2, unique=True))
def test_other_arguments_give_other_numbers(pair):
    assert first_numbers(*pair[0]) != first_numbers(*pair[1])


def test_near_seeds_purposes_and_steps_are_all_different():
    keys = list(itertools.product(range(4), Purpose, range(8)))
    assert len({tuple(first_numbers(*key)) for key in keys}) == len(keys)


def test_drawing_more_in_one_step_leaves_the_next_alone():
    before = first_numbers(1, Purpose.LATENT_D, 6)
    stream(1, Purpose.LATENT_D, 5).standard_normal(10_000)
    assert first_numbers(1, Purpose.LATENT_D, 6) == before


def test_the_purposes_keep_their_numbers():
    assert {purpose.name: int(purpose) for purpose in Purpose} == {
        "INIT_GENERATOR": 1,
        "INIT_DISCRIMINATOR": 2,
        "SHUFFLE": 3,
        "LATENT_D": 4,
        "LATENT_G": 5,
        "DROPOUT": 6,
        "FIXED_LATENT": 7,
        "SAMPLE": 8,
        "AUGMENT": 9,
        "TOY_DATA": 10,
        "STACKED_DIGITS": 11,
        "BETWEEN": 12,
    }


def test_the_bits_are_those_of_pcg64_seeded_with_the_list():
    # NumPy promises these bits for good (not so the numbers that a distribution makes of them).
    expected = [8942076106232492908, 14365739809544430365, 14618112868233542170]
    assert first_numbers(7, Purpose.SHUFFLE, 11)[:3] == expected


def test_numpy_integers_are_as_good_as_python_ones():
    assert first_numbers(np.uint32(7), Purpose.SHUFFLE, np.int64(11)) == first_numbers(7, Purpose.SHUFFLE, 11)


@pytest.mark.parametrize("seed", [-1, WORD, 2**64])
def test_a_seed_out_of_range_is_refused_with_the_range(seed):
    with pytest.raises(UsageError, match=f"seed {seed} is out of range: allowed are 0 to 4294967295"):
        stream(seed, Purpose.SAMPLE)
    with pytest.raises(UsageError):
        check_seed(seed)


def test_a_long_seed_would_collide_with_another_purpose():
    # Why seeds end at 2**32 - 1: beyond, NumPy cannot tell these two apart.
    long = np.random.default_rng([5 + 3 * WORD, 1]).bit_generator.random_raw()
    assert long == np.random.default_rng([5, 3, 1]).bit_generator.random_raw()


def test_state_words_are_all_that_its_numbers_depend_on():
    rng = stream(3, Purpose.DROPOUT, 5)
    rng.random(6, dtype=np.float32)
    state_low, state_high, step_low, step_high = map(int, state_words(rng))
    again = np.random.PCG64()
    again.state = again.state | {
        "state": {"state": state_low + (state_high << 64), "inc": step_low + (step_high << 64)}
    }
    assert np.array_equal(np.random.Generator(again).random(9), rng.random(9))


def test_state_words_of_another_kind_or_with_half_a_word_left_are_refused():
    rng = stream(3, Purpose.DROPOUT, 5)
    rng.random(1, dtype=np.float32)
    for other in rng, np.random.Generator(np.random.PCG64DXSM(0)):
        with pytest.raises(ValueError, match="expected a PCG64 between two words"):
            state_words(other)


@pytest.mark.parametrize("counter", [-1, WORD])
def test_a_counter_out_of_range_is_a_mistake_in_the_code(counter):
    with pytest.raises(ValueError, match="counters must be in 0"):
        stream(0, Purpose.SAMPLE, 0, counter)


@given(parts=st.integers(1, 3), sizes=st.lists(st.integers(0, 5), max_size=4), more=st.integers(0, 3), seed=seeds)
def test_parts_of_an_array_get_the_numbers_that_they_would_get_one_after_the_other(parts, sizes, more, seed):
    at_once, apart = np.random.default_rng(seed), np.random.default_rng(seed)
    count = 2 * sum(sizes) + more
    together = parted(at_once, parts, count)
    found = [together.random((parts * size, 2), np.float32).reshape(parts, size, 2) for size in sizes]
    for part in range(parts):
        expected = apart.random(count, np.float32)
        ours = np.concatenate([array[part].ravel() for array in found]) if sizes else expected[:0]
        assert np.array_equal(ours, expected[: len(ours)])
    assert at_once.random() == apart.random()


def test_parts_of_an_array_that_are_not_equal_are_refused():
    with pytest.raises(ValueError, match=r"shape \(5, 2\) has no 2 equal parts"):
        parted(np.random.default_rng(0), 2, 10).random((5, 2))
