"""What the tests share: hypothesis strategies named by axes, and one measure of agreement.

Values are at most 5 in size and have at most 24 bits, so that no formula is near its limits; zeros and
repeated values, which a normal distribution never gives, are likely. Whatever need not be shrunk
(weights, upstream gradients) is drawn by `normal` from a seed.
"""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minigan.functional.patches import Geometry

few_examples = settings(max_examples=40)  # for comparisons with explicit loops, which are slow
many_examples = settings(max_examples=300)  # for geometries, which have many parameters

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


class Window(NamedTuple):
    """A window, how it moves, and an image (N, H, W, C) into which it fits at least once."""

    kernel: tuple[int, int]
    geometry: Geometry
    shape: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.shape[1:3]

    @property
    def places(self) -> tuple[int, int]:
        """(P, Q)."""
        return self.geometry.out_size(self.size, self.kernel)


@st.composite
def windows(draw: Any, max_dilation: int = 3, groups: int = 1, pooling: bool = False) -> Window:
    """Any stride, dilation and padding, different on each axis and side; `groups` divides the channels.

    With `pooling`, the padding is less than the window, so that every window sees the image.
    """
    kernel, strides, dilation, before, after, size = [], [], [], [], [], []
    for _ in range(2):
        k, d = draw(st.integers(1, 4)), draw(st.integers(1, max_dilation))
        reach = d * (k - 1) + 1
        sides = st.integers(0, min(k - 1, 3) if pooling else 3)
        kernel.append(k)
        strides.append(draw(st.integers(1, 3)))
        dilation.append(d)
        before.append(draw(sides))
        after.append(draw(sides))
        smallest = k if pooling else max(1, reach - before[-1] - after[-1])
        size.append(draw(st.integers(smallest, smallest + 4)))
    geometry = Geometry(tuple(strides), (before[0], after[0], before[1], after[1]), tuple(dilation), groups)
    channels = groups * draw(st.integers(1, 2))
    return Window(tuple(kernel), geometry, (draw(st.integers(1, 2)), *size, channels))


class Convolution(NamedTuple):
    """A convolution's x (N, H, W, I), w (kh, kw, I/G, O), dy (N, P, Q, O) and how its window moves."""

    x: np.ndarray
    w: np.ndarray
    dy: np.ndarray
    geometry: Geometry

    @property
    def settings(self) -> tuple[Any, ...]:
        """The geometry's fields in order: what the explicit loops take."""
        return self.geometry.stride, self.geometry.padding, self.geometry.dilation, self.geometry.groups


@st.composite
def convolutions(draw: Any) -> Convolution:
    """Any geometry, one to three groups, normal values."""
    groups = draw(st.integers(1, 3))
    window = draw(windows(groups=groups))
    outputs, seed = groups * draw(st.integers(1, 2)), draw(seeds)
    n, _, _, inputs = window.shape
    w = normal([seed, 1], *window.kernel, inputs // groups, outputs)
    dy = normal([seed, 2], n, *window.places, outputs)
    return Convolution(normal([seed, 0], *window.shape), w, dy, window.geometry)


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
