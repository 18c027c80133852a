"""Numbers, axes and paths of the report: readable, round, and with every peak kept."""

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minigan.reports.axes import Axis, axis_around, linear_axis, log_axis, step_axis
from minigan.reports.charts import Series, chart, class_bars, largest_share, layer_tones, mirrored_bars
from minigan.reports.curves import BUCKETS, RING, decimate, path
from minigan.reports.layout import LEFT, PLOT_HEIGHT, PLOT_WIDTH, TOP
from minigan.reports.numbers import printable, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1.0, "1"), (12345, "12,345"), (-3, "−3"), (0.01234, "0.0123"), (0.5, "0.500"), (1234.5, "1,234"),
        (-0.25, "−0.250"), (0.000012345, "1.23 × 10⁻⁵"), (2.5e7 + 0.5, "2.50 × 10⁷"), (np.nan, "not a number"),
        (np.inf, "∞"), (-np.inf, "−∞"), (1e300, "1.00 × 10³⁰⁰"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [("plain\n", "plain\n"), ("\x00", "\\x00"), ("a\udcffb", "a\\udcffb"), ("\u202e", "\\u202e"), ("é×", "é×")],
)
def test_what_cannot_be_seen_is_escaped(text, seen):
    assert printable(text) == seen


def check_axis(axis, low, high):
    size = axis.high - axis.low if not axis.log else low
    assert axis.low <= low + 1e-6 * size
    assert axis.high >= high - 1e-6 * (axis.high - axis.low)
    places = [tick.at for tick in axis.ticks]
    assert 1 <= len(places) <= 14
    assert places == sorted(places)
    assert all(-1e-6 <= at <= 1 + 1e-6 for at in places)


finite = st.floats(-1e99, 1e99)


@given(finite, finite)
@example(0.0, 0.0)
@example(5e-324, 1e-323)
@example(1.0, 1.0 + 1e-15)
def test_a_linear_axis_holds_its_range_with_a_few_ticks(a, b):
    low, high = sorted((a, b))
    check_axis(linear_axis(low, high), low, high)


@given(st.floats(1e-99, 1e99), st.floats(1e-99, 1e99))
@example(1.0, 1.0)
@example(0.1, 0.1)
def test_a_logarithmic_axis_holds_its_range_with_a_few_ticks(a, b):
    low, high = sorted((a, b))
    check_axis(log_axis(low, high), low, high)


def labels(axis):
    return [tick.label for tick in axis.ticks]


def test_ticks_are_round():
    assert labels(linear_axis(0.07, 0.93)) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert labels(step_axis(10_000)) == ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]
    assert labels(linear_axis(-1, 1)) == ["−1.0", "−0.5", "0.0", "0.5", "1.0"]
    assert labels(log_axis(0.3, 4)) == ["0.2", "0.5", "1", "2", "5"]
    assert labels(log_axis(2e-4, 4)) == ["10⁻³", "10⁻²", "10⁻¹", "10⁰"]


def test_the_axis_ignores_what_cannot_be_drawn():
    values = np.array([np.nan, np.inf, -np.inf, 1e200, -3.0, 0.0, 2.0])
    linear, logarithmic = axis_around([values], log=False), axis_around([values], log=True)
    assert (linear.low, linear.high) == (-3, 2)
    assert (logarithmic.low, logarithmic.high) == (2, 5)
    assert axis_around([values[:4]], log=False) is None
    assert axis_around([values[4:6]], log=True) is None
    assert axis_around([], log=False) is None


@given(st.integers(1, 400), st.integers(1, 9), st.randoms(use_true_random=False))
def test_decimation_keeps_both_ends_and_every_extreme(count, buckets, random):
    steps = np.sort([float(random.randrange(500)) for _ in range(count)])
    values = np.array([random.uniform(-1, 1) for _ in range(count)])
    kept = decimate(steps, values, buckets)
    assert len(kept) <= 4 * buckets
    assert (np.diff(kept) > 0).all()
    assert {0, count - 1} <= set(kept.tolist())
    width = (steps[-1] - steps[0]) or 1.0
    bucket = np.minimum((steps - steps[0]) / width * buckets, buckets - 1).astype(int)
    for index in np.unique(bucket):
        mine, left = values[bucket == index], values[kept][bucket[kept] == index]
        assert (mine.min(), mine.max()) == (left.min(), left.max())


def points(d):
    return np.array([[float(c) for c in pair.split(",")] for pair in re.split("[ML]", d) if pair])


def test_a_hundred_thousand_rows_become_a_short_path_with_the_peak_in_it():
    steps, values = np.arange(100_000.0), np.sin(np.arange(100_000) / 3)
    values[54_321] = 49.0
    d = path(steps, values, step_axis(100_000), linear_axis(0, 50))
    assert len(d) < 12 * 4 * BUCKETS
    at = points(d)
    peak = at[at[:, 1].argmin()]
    np.testing.assert_allclose(peak, [LEFT + PLOT_WIDTH * 0.54321, TOP + PLOT_HEIGHT / 50], atol=0.06)


@given(st.lists(st.floats(), max_size=50), st.booleans())
def test_a_path_has_numbers_only_and_stays_in_its_frame(values, log):
    values = np.array(values, float)
    axis = axis_around([values], log) or Axis(1.0, 2.0, log)
    d = path(np.arange(float(len(values))), values, step_axis(len(values)), axis)
    assert re.fullmatch(r"(M-?[\d.]+,-?[\d.]+)?((L-?[\d.]+,-?[\d.]+)+)?", d.removesuffix(RING))
    at = points(d.removesuffix(RING))
    if len(at):
        assert (at >= [LEFT, TOP]).all()
        assert (at <= [LEFT + PLOT_WIDTH, TOP + PLOT_HEIGHT]).all()


def test_one_value_is_a_dot_and_none_is_no_path():
    axis = linear_axis(0, 1)
    assert path(np.array([5.0]), np.array([0.5]), step_axis(10), axis).endswith(RING)
    assert path(np.array([5.0]), np.array([np.nan]), step_axis(10), axis) == ""


def test_rows_out_of_order_are_put_in_order():
    steps, values = np.array([3.0, 1.0, 2.0]), np.array([0.3, 0.1, 0.2])
    at = points(path(steps, values, step_axis(3), linear_axis(0, 1)))
    assert (np.diff(at[:, 0]) > 0).all()


def test_a_chart_tells_its_numbers_in_words():
    steps = np.arange(1.0, 101)
    made = chart("Losses", "mean", [Series("D", "real", steps, steps / 100)], 100, rule=(0.5, "half"))
    assert made.description == "Losses, mean, over steps 0 to 100. D: last 1, least 0.0100, greatest 1."
    (line,) = made.curves
    assert line.raw
    assert line.mean != line.raw
    assert 0 < made.rule < 1
    assert chart("Losses", "mean", [Series("D", "real", steps, steps * np.nan)], 100) is None
    assert chart("Losses", "mean", [], 100) is None


def test_a_rule_outside_of_the_axis_is_left_out():
    line = Series("D", "real", np.arange(3.0), np.array([5.0, 6.0, 7.0]))
    assert chart("Losses", "", [line], 3, rule=(0.5, "half")).rule is None


def test_layers_have_colours_in_their_order():
    assert layer_tones(1) == ["depth-0"]
    assert layer_tones(3) == ["depth-0", "depth-4", "depth-9"]
    assert len(set(layer_tones(10))) == 10


def bars(d):
    """(x, base, length, width) of each bar."""
    return [tuple(map(float, bar)) for bar in re.findall(r"M([\d.]+),([\d.]+)v(-?[\d.]+)h([\d.]+)v-?[\d.]+z", d)]


def test_the_histogram_shows_shares_up_and_down():
    real, fake = [0] * 18 + [10, 30], [4] + [0] * 19
    top = largest_share([real, fake])
    assert top == 1.0
    (_, up), (_, down) = mirrored_bars(real, fake, top).paths
    middle = TOP + PLOT_HEIGHT / 2
    assert [(base, length) for _, base, length, _ in bars(up)] == [
        (middle, pytest.approx(-0.25 * PLOT_HEIGHT / 2, abs=0.06)),
        (middle, pytest.approx(-0.75 * PLOT_HEIGHT / 2, abs=0.06)),
    ]
    assert [(x, length) for x, _, length, _ in bars(down)] == [(LEFT + 0.5, PLOT_HEIGHT / 2)]


def test_empty_histograms_are_empty():
    made = mirrored_bars([0] * 20, [0] * 20, largest_share([]))
    assert [d for _, d in made.paths] == ["", ""]
    assert "of nothing" in made.description


def test_class_shares_are_told_in_words():
    made = class_bars([3, 1], largest_share([[3, 1]]))
    assert made.description == "Classes of the samples; 0: 75%, 1: 25%"
    assert made.rule == pytest.approx(0.5 / 0.8)
