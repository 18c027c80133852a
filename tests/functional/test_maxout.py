"""Maxout: explicit loops, ties, and where the gradient goes."""

import numpy as np
import pytest
from hypothesis import given

from minigan.functional.maxout import maxout, maxout_backward
from reference import maxout as loops
from tests.strategies import arrays_nup, few_examples, normal, seeds


@few_examples
@given(groups=arrays_nup(), seed=seeds)
def test_equals_the_explicit_loops(groups, seed):
    """No arithmetic, hence no rounding: equal, not close."""
    x, pieces = groups
    y, cache = maxout(x, pieces)
    dy = normal(seed, *y.shape)
    assert np.array_equal(y, loops.maxout(x, pieces))
    assert np.array_equal(maxout_backward(dy, cache), loops.maxout_backward(dy, x, pieces))


@given(groups=arrays_nup(), seed=seeds)
def test_one_piece_of_each_group_gets_the_whole_gradient(groups, seed):
    x, pieces = groups
    y, cache = maxout(x, pieces)
    dy = normal(seed, *y.shape)
    dx = maxout_backward(dy, cache).reshape(*y.shape, pieces)
    assert ((dx != 0).sum(axis=-1) == 1).all()
    assert (dx.sum(axis=-1) == dy).all()


def test_neighbouring_features_form_a_group():
    y, cache = maxout(np.array([[1.0, 5.0, 2.0, 4.0, 3.0, 6.0]]), pieces=3)
    assert (y == [[5, 6]]).all()
    assert (maxout_backward(np.array([[10.0, 20.0]]), cache) == [[0, 10, 0, 0, 0, 20]]).all()


def test_among_equal_pieces_the_first_wins():
    _, cache = maxout(np.array([[0.0, 7.0, 7.0]]), pieces=3)
    assert (maxout_backward(np.ones((1, 1)), cache) == [[0, 1, 0]]).all()


def test_one_piece_is_the_identity():
    x = normal(0, 3, 4)
    assert (maxout(x, pieces=1)[0] == x).all()


def test_with_the_pieces_x_and_minus_x_it_is_the_absolute_value():
    x = normal(0, 3, 4)
    assert (maxout(np.stack([x, -x], axis=-1).reshape(3, 8), pieces=2)[0] == abs(x)).all()


def test_features_that_form_no_whole_groups_are_refused():
    with pytest.raises(ValueError, match="maxout over 3 pieces needs a multiple of 3 features, got 7"):
        maxout(np.zeros((2, 7)), pieces=3)
