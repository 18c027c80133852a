"""What the tests share: hypothesis strategies named by axes, and one measure of agreement.

Values are at most 5 in size and have at most 24 bits, so that no formula is near its limits; zeros and
repeated values, which a normal distribution never gives, are likely. Whatever need not be shrunk
(weights, upstream gradients) is drawn by `normal` from a seed.
"""

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

few_examples = settings(max_examples=40)  # for comparisons with explicit loops, which are slow

seeds = st.integers(0, 2**32 - 1)


def normal(seed: int | list[int], *shape: int) -> np.ndarray:
    """Standard normal values; a list of integers is a seed too, for several arrays from one seed."""
    return np.random.default_rng(seed).standard_normal(shape)


def values(limit: float = 5.0) -> st.SearchStrategy[float]:
    """Finite numbers of moderate size."""
    return st.floats(-limit, limit, width=32, allow_subnormal=False)


def arrays_any(limit: float = 5.0) -> st.SearchStrategy[np.ndarray]:
    """Any shape of one to four axes."""
    return arrays(np.float64, array_shapes(max_dims=4, max_side=3), elements=values(limit))


@st.composite
def arrays_ni(draw: Any, min_n: int = 1, max_side: int = 5) -> np.ndarray:
    """N samples of I features."""
    shape = (draw(st.integers(min_n, max_side)), draw(st.integers(1, max_side)))
    return draw(arrays(np.float64, shape, elements=values()))


@st.composite
def channel_last_arrays(draw: Any, min_rows: int = 1, max_side: int = 3) -> np.ndarray:
    """(N, C), (N, W, C) or (N, H, W, C) with at least min_rows samples a channel."""
    leading = array_shapes(max_dims=3, max_side=max_side).filter(lambda shape: np.prod(shape) >= min_rows)
    shape = (*draw(leading), draw(st.integers(1, max_side)))
    return draw(arrays(np.float64, shape, elements=values()))


@st.composite
def arrays_nup(draw: Any) -> tuple[np.ndarray, int]:
    """N samples of U groups of P neighbouring features, as an array (N, U*P), and P."""
    n, units, pieces = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return draw(arrays(np.float64, (n, units * pieces), elements=values())), pieces


@st.composite
def labelled_logits(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) and the labels (N,) of their samples."""
    n, classes = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    logits = draw(arrays(np.float64, (n, classes), elements=values()))
    return logits, draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))


def error(actual: Any, expected: Any, floor: float = 0.0) -> float:
    """The largest difference, relative to the largest expected value (or to `floor`, if that is larger).

    Shapes must be equal. A nan anywhere gives nan, which fails every comparison `error(...) <= ...`.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape} instead of {expected.shape}"
    if actual.size == 0 or np.array_equal(actual, expected):
        return 0.0
    return float(abs(actual - expected).max() / max(abs(expected).max(), floor, np.finfo(np.float64).tiny))


def assert_agrees(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Agreement of random cases. Sums may cancel to almost nothing, so errors are relative to at least 1."""
    assert error(actual, expected, floor=1.0) <= tolerance
