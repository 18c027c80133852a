"""A condition behind the channels: against the explicit loops, and the adjoint of what it undoes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional.conditioning import (
    condition_of,
    condition_of_backward,
    with_condition,
    with_condition_backward,
)
from reference import conditioning as loops
from tests.strategies import assert_agrees, normal

# N and the sides of an image, if there are any; its channels; the numbers of a condition.
shapes = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)
channels, sizes = st.integers(0, 3), st.integers(1, 3)


@given(shape=shapes, channels=channels, size=sizes)
def test_agrees_with_the_explicit_loops(shape, channels, size):
    x, y = normal(0, *shape, channels), normal(1, shape[0], size)
    h, dh = with_condition(x, y), normal(2, *shape, channels + size)
    assert np.array_equal(h, loops.with_condition(x, y))
    for found, expected in zip(with_condition_backward(dh, size), loops.with_condition_backward(dh, size), strict=True):
        assert_agrees(found, expected)


@given(shape=shapes, channels=channels, size=sizes)
def test_what_was_put_beside_is_read_again(shape, channels, size):
    x, y = normal(0, *shape, channels), normal(1, shape[0], size)
    h = with_condition(x, y)
    assert np.array_equal(condition_of(h, size), y)
    assert np.array_equal(h[..., :channels], x)


@given(shape=shapes, channels=channels, size=sizes)
def test_backward_is_the_adjoint(shape, channels, size):
    """<h, dh> = <x, dx> + <y, dy>, and <condition_of(h), dy> = <h, condition_of_backward(dy)>."""
    x, y, dh = normal(0, *shape, channels), normal(1, shape[0], size), normal(2, *shape, channels + size)
    dx, dy = with_condition_backward(dh, size)
    h = with_condition(x, y)
    assert_agrees((h * dh).sum(), (x * dx).sum() + (y * dy).sum())
    h = normal(3, *h.shape)
    back = condition_of_backward(y, np.zeros_like(h))
    assert_agrees((condition_of(h, size) * y).sum(), (h * back).sum())


@given(shape=shapes, size=sizes)
def test_what_else_asks_of_h_is_added_to_and_left_alone(shape, size):
    dh, dy = normal(0, *shape, size + 1), normal(1, shape[0], size)
    before = dh.copy()
    assert_agrees(condition_of_backward(dy, dh), before + condition_of_backward(dy, np.zeros_like(dh)))
    assert np.array_equal(dh, before)
    dx, _ = with_condition_backward(dh, size)
    assert not np.shares_memory(dx, dh)
