"""The dense layer: explicit loops, and the adjoint identity that defines its two gradients."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional.dense import dense, dense_bias_grad, dense_input_grad, dense_weight_grad
from reference import dense as loops
from tests.strategies import arrays_ni, assert_agrees, few_examples, normal, seeds


@few_examples
@given(x=arrays_ni(), outputs=st.integers(1, 5), with_bias=st.booleans(), seed=seeds)
def test_forward_agrees_with_the_explicit_loops(x, outputs, with_bias, seed):
    w = normal([seed, 0], x.shape[1], outputs)
    b = normal([seed, 1], outputs) if with_bias else None
    assert_agrees(dense(x, w, b)[0], loops.dense(x, w, b))


@few_examples
@given(x=arrays_ni(), outputs=st.integers(1, 5), seed=seeds)
def test_gradients_agree_with_the_explicit_loops(x, outputs, seed):
    w, dy = normal([seed, 0], x.shape[1], outputs), normal([seed, 1], len(x), outputs)
    _, cache = dense(x, w)
    dx, dw, db = loops.dense_backward(dy, x, w)
    assert_agrees(dense_input_grad(dy, w), dx)
    assert_agrees(dense_weight_grad(dy, cache), dw)
    assert_agrees(dense_bias_grad(dy), db)


@given(x=arrays_ni(), outputs=st.integers(1, 5), seed=seeds)
def test_both_gradients_are_adjoints_of_the_product(x, outputs, seed):
    """<x w, dy> = <x, dx> = <w, dw>: exact, whatever the values."""
    w, dy = normal([seed, 0], x.shape[1], outputs), normal([seed, 1], len(x), outputs)
    y, cache = dense(x, w)
    assert_agrees((x * dense_input_grad(dy, w)).sum(), (y * dy).sum())
    assert_agrees((w * dense_weight_grad(dy, cache)).sum(), (y * dy).sum())


def test_the_bias_is_added_to_every_sample():
    y, _ = dense(np.zeros((3, 2)), np.ones((2, 2)), np.array([1.0, -2.0]))
    assert (y == [[1, -2], [1, -2], [1, -2]]).all()


def test_identity_weights_change_nothing():
    x = normal(0, 4, 3)
    assert (dense(x, np.eye(3))[0] == x).all()
    assert (dense_input_grad(x, np.eye(3)) == x).all()


def test_the_gradients_of_two_batches_add_up_to_that_of_both():
    x, w, dy = normal(0, 6, 3), normal(1, 3, 2), normal(2, 6, 2)
    halves = [dense_weight_grad(dy[part], dense(x[part], w)[1]) for part in (slice(0, 2), slice(2, 6))]
    assert_agrees(halves[0] + halves[1], dense_weight_grad(dy, dense(x, w)[1]))


def test_a_weight_gradient_is_added_to_what_is_there():
    x, w, dy, total = normal(0, 6, 3), normal(1, 3, 2), normal(2, 6, 2), normal(3, 3, 2)
    _, cache = dense(x, w)
    expected = total + dense_weight_grad(dy, cache)
    assert dense_weight_grad(dy, cache, total) is total
    assert_agrees(total, expected)
