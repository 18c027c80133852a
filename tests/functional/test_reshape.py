"""Reshape: counted entry by entry, and undone by its gradient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional.reshape import reshape, reshape_backward
from reference import reshape as loops
from tests.strategies import few_examples, normal, seeds

SAMPLE_SHAPES = [(12,), (12, 1), (3, 4), (4, 3), (2, 3, 2), (1, 2, 2, 3)]
sample_shapes = st.sampled_from(SAMPLE_SHAPES)


@few_examples
@given(n=st.integers(1, 3), before=sample_shapes, after=sample_shapes, seed=seeds)
def test_equals_the_explicit_loops(n, before, after, seed):
    x, dy = normal([seed, 0], n, *before), normal([seed, 1], n, *after)
    y, cache = reshape(x, after)
    assert np.array_equal(y, loops.reshape(x, after))
    assert np.array_equal(reshape_backward(dy, cache), loops.reshape_backward(dy, x))


@pytest.mark.parametrize("after", SAMPLE_SHAPES)
def test_backward_undoes_forward(after):
    x = normal(0, 5, 3, 4)
    y, cache = reshape(x, after)
    assert np.array_equal(reshape_backward(y, cache), x)


def test_samples_stay_apart():
    y, _ = reshape(np.array([[1.0, 1.0], [2.0, 2.0]]), (1, 2))
    assert (y == [[[1, 1]], [[2, 2]]]).all()


def test_an_empty_batch_keeps_its_sample_shape():
    assert reshape(np.zeros((0, 6)), (2, 3))[0].shape == (0, 2, 3)


@pytest.mark.parametrize("shape", [(3,), (7,), (6, 2)])
def test_a_shape_of_another_size_is_refused(shape):
    """(3,) would fit all 12 entries into 4 samples: the batch must not absorb what a sample lacks."""
    with pytest.raises(ValueError, match="cannot reshape"):
        reshape(np.zeros((2, 6)), shape)
