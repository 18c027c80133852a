"""Windows: where they are, how many there are, and that cutting out and adding back are adjoint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan.functional.patches import Geometry, add_patches, patches
from tests.strategies import assert_agrees, few_examples, many_examples, normal, seeds, windows


@many_examples
@given(window=windows(), seed=seeds)
def test_adding_back_is_the_adjoint_of_cutting_out(window, seed):
    """<patches(x), v> = <x, add_patches(v)>, whatever the values."""
    x = normal([seed, 0], *window.shape)
    cut = patches(x, window.kernel, window.geometry)
    v = normal([seed, 1], *cut.shape)
    assert_agrees((cut * v).sum(), (x * add_patches(v, window.size, window.geometry)).sum())


@few_examples
@given(window=windows(), border=st.sampled_from([0.0, -np.inf, 7.0]), seed=seeds)
def test_every_entry_is_the_pixel_that_the_formula_says(window, border, seed):
    kernel, geometry, (n, height, width, channels) = window
    x = normal(seed, *window.shape)
    cut = patches(x, kernel, geometry, border)
    assert cut.shape == (n, *window.places, *kernel, channels)
    (s, t), (d, e), (top, _, left, _) = geometry.stride, geometry.dilation, geometry.padding
    for p, q, a, b in np.ndindex(*window.places, *kernel):
        row, column = p * s + a * d - top, q * t + b * e - left
        inside = 0 <= row < height and 0 <= column < width
        assert (cut[:, p, q, a, b] == (x[:, row, column] if inside else border)).all()


@many_examples
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    dilation=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(*[st.integers(0, 4)] * 4),
)
def test_the_output_size_is_the_number_of_windows_that_fit(size, kernel, stride, dilation, padding):
    """Counted by trying every place in the padded image; where none fits, the formula gives 0 or less."""
    counted = [
        sum(start % s == 0 and start + d * (k - 1) < n + sum(sides) for start in range(n + sum(sides)))
        for n, k, s, d, sides in zip(size, kernel, stride, dilation, (padding[:2], padding[2:]), strict=True)
    ]
    told = Geometry(stride, padding, dilation).out_size(size, kernel)
    assert [max(0, places) for places in told] == counted


def test_a_known_window():
    """2 x 2 windows, two apart; the row of zeros on top leaves no second window for the last row."""
    x = np.arange(8.0).reshape(1, 2, 4, 1)
    cut = patches(x, (2, 2), Geometry((2, 2), (1, 0, 0, 0)))
    assert cut[0, ..., 0].tolist() == [[[[0, 0], [0, 1]], [[0, 0], [2, 3]]]]


def test_pixels_collect_from_every_window_that_saw_them():
    counts = add_patches(np.ones((1, 2, 2, 3, 3, 1)), (4, 4), Geometry())
    assert counts[0, ..., 0].tolist() == [[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]]


def test_pixels_that_no_window_saw_get_nothing():
    counts = add_patches(np.ones((1, 2, 2, 1, 1, 1)), (5, 4), Geometry((3, 3)))
    assert counts[0, ..., 0].tolist() == [[1, 0, 0, 1], [0] * 4, [0] * 4, [1, 0, 0, 1], [0] * 4]


def test_windows_side_by_side_are_put_back_together():
    x, side_by_side = normal(0, 2, 6, 4, 3), Geometry((2, 2))
    assert np.array_equal(add_patches(patches(x, (2, 2), side_by_side), (6, 4), side_by_side), x)


def test_the_windows_are_a_copy():
    x = np.zeros((1, 3, 3, 1))
    patches(x, (1, 1), Geometry())[:] = 1
    assert not x.any()


@pytest.mark.parametrize(
    ("kernel", "geometry"),
    [
        ((4, 1), Geometry()),
        ((1, 6), Geometry()),
        ((2, 2), Geometry(dilation=(3, 1))),
        ((7, 1), Geometry(padding=(1, 2, 9, 9))),
    ],
)
def test_a_window_larger_than_the_padded_image_is_refused(kernel, geometry):
    message = rf"a window of \({kernel[0]}, {kernel[1]}\) .* does not fit into an image of \(3, 5\)"
    with pytest.raises(ValueError, match=message):
        patches(np.zeros((2, 3, 5, 1)), kernel, geometry)


@pytest.mark.parametrize(
    "wrong",
    [{"stride": (0, 1)}, {"stride": (1, -1)}, {"dilation": (1, 0)}, {"groups": 0}, {"padding": (0, 0, -1, 0)}],
    ids=str,
)
def test_a_geometry_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="at least 1, padding at least 0"):
        Geometry(**wrong)
