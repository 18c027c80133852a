"""The inner loops, in NumPy and compiled: adjoint identities, exact sums, and that both agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan.kernels import blocks
from minigan.kernels.blocks import Grid, pieces
from minigan.kernels.loops import COMPILED
from minigan.kernels.toom_cook import POINTS, toom_cook
from tests.kernels.twins import CHANNELS, loops_there_are
from tests.strategies import normal, seeds

all_loops = pytest.mark.parametrize("loops", loops_there_are().values(), ids=loops_there_are())
few, places, rooms = st.integers(1, 4), st.integers(0, 4), st.integers(4, 7)
some_examples = settings(max_examples=15)


@st.composite
def grids(draw):
    """A matrix L, a grid, an image into which its tiles fit, and values for the tiles."""
    form = toom_cook(*draw(st.sampled_from(list(POINTS))))
    matrix = draw(st.sampled_from([form.bt, form.at.T]))
    n, k = matrix.shape
    stride = draw(st.integers(1, 2))
    grid = Grid(draw(st.integers(1, 3)), draw(st.integers(1, 3)), stride * draw(st.integers(1, k)), stride)
    size = [grid.step * (count - 1) + stride * k + draw(st.integers(0, 1)) for count in (grid.rows, grid.columns)]
    images, channels, seed = draw(st.integers(1, 2)), draw(st.sampled_from([*CHANNELS, 17])), draw(seeds)
    tiles = (n * n, images * grid.rows * grid.columns, stride**2 * channels)
    return matrix, grid, normal([seed, 0], images, *size, channels), normal([seed, 1], *tiles)


def tile_by_tile(image, matrix, grid):
    """L D L^T of every tile, from the definition."""
    (n, k), s, out = matrix.shape, grid.stride, []
    for picture in image:
        for row, column in np.ndindex(grid.rows, grid.columns):
            top, left = row * grid.step, column * grid.step
            tile = picture[top : top + s * k, left : left + s * k].reshape(k, s, k, s, -1)
            made = np.einsum("ui,vj,iajbc->uvabc", matrix, matrix, tile)
            out.append(made.reshape(n * n, -1))
    return np.stack(out, axis=1)


@all_loops
@some_examples
@given(case=grids())
def test_gather_is_what_its_formula_says(loops, case):
    matrix, grid, image, tiles = case
    found = loops.gather(image, matrix, grid, np.empty_like(tiles))
    np.testing.assert_allclose(found, tile_by_tile(image, matrix, grid), rtol=1e-11, atol=1e-11)


@all_loops
@some_examples
@given(case=grids(), before=st.integers(0, 2), after=st.integers(0, 2))
def test_gather_writes_its_part_of_an_array_and_nothing_else(loops, case, before, after):
    matrix, grid, image, tiles = case
    whole = np.full((len(tiles), before + tiles.shape[1] + after, tiles.shape[2]), 7.0)
    alone = loops.gather(image, matrix, grid, np.empty_like(tiles))
    assert loops.gather(image, matrix, grid, whole, before) is whole
    np.testing.assert_array_equal(whole[:, before : before + tiles.shape[1]], alone)
    assert (np.delete(whole, range(before, before + tiles.shape[1]), axis=1) == 7).all()


@all_loops
@some_examples
@given(case=grids())
def test_scatter_is_the_adjoint_of_gather_and_adds(loops, case):
    matrix, grid, image, tiles = case
    gathered, scattered = loops.gather(image, matrix, grid, np.empty_like(tiles)), np.ones_like(image)
    loops.scatter(tiles, matrix, grid, scattered)
    left, right = (gathered * tiles).sum(), ((scattered - 1) * image).sum()
    assert abs(left - right) <= 1e-12 * max(1.0, (abs(gathered) * abs(tiles)).sum())


@all_loops
@some_examples
@given(
    n=st.integers(1, 2), places=st.tuples(*[st.integers(1, 4)] * 2), kernel=st.tuples(*[st.integers(1, 3)] * 2),
    stride=st.tuples(*[st.integers(1, 3)] * 2), channels=st.sampled_from([1, 2, 3, 8, 9]), seed=seeds,
)  # fmt: skip
def test_windows_are_cut_and_added_back(loops, n, places, kernel, stride, channels, seed):
    size = [s * (p - 1) + k for s, p, k in zip(stride, places, kernel, strict=True)]
    image, windows = normal([seed, 0], n, *size, channels), normal([seed, 1], n, *places, *kernel, channels)
    cut, added = np.empty_like(windows), np.ones_like(image)
    loops.cut_windows(image, stride, cut)
    loops.add_windows(windows, stride, added)
    for p, q in np.ndindex(*places):
        top, left = p * stride[0], q * stride[1]
        assert np.array_equal(cut[:, p, q], image[:, top : top + kernel[0], left : left + kernel[1]])
    np.testing.assert_allclose((cut * windows).sum(), ((added - 1) * image).sum(), rtol=1e-11, atol=1e-11)


@all_loops
@pytest.mark.parametrize("rows", [1, 2, 127, 128, 129, 300])
def test_sums_over_rows_in_double_precision(loops, rows, monkeypatch):
    monkeypatch.setattr(blocks, "PIECE", 64)
    x, dy, mean = normal(0, rows, 3) + 5, normal(1, rows, 3), normal(2, 3)
    found_mean, spread = loops.moments(x)
    np.testing.assert_allclose(found_mean, x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(spread, ((x - x.mean(axis=0)) ** 2).sum(axis=0), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(loops.column_sums(x), x.sum(axis=0), rtol=1e-13)
    norm = blocks.Norm(mean, np.array([2.0, -1.0, 0.0]), np.array([-9.0, 6.0, 1.0]))
    for slope in (1.0, 0.2):
        da = np.where((x - mean) * norm.gain + norm.beta > 0, dy, slope * dy)
        total, product = loops.product_sums(dy, x, norm, slope)
        np.testing.assert_allclose(total, da.sum(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(product, (da * (x - mean)).sum(axis=0), rtol=1e-12, atol=1e-12)


@all_loops
def test_sums_in_single_precision_do_not_lose_digits_with_their_length(loops):
    """Sums are taken to float64 piece by piece: the plain version loses digits with every row."""
    x = np.full((100_000, 4), 0.1, np.float32)
    exact = len(x) * float(x[0, 0])
    assert abs(loops.column_sums(x) - exact).max() <= 1e-5 * exact
    assert abs(x.sum(axis=0) - exact).min() > 1e-4 * exact


@all_loops
def test_one_pass_formulas(loops, monkeypatch):
    monkeypatch.setattr(blocks, "PIECE", 8)
    x, dy = normal(0, 7, 3), normal(1, 7, 3)
    mean, gain, beta, tilt, shift = normal(2, 5, 3)
    norm, a, out = blocks.Norm(mean, gain, beta), (x - mean) * gain + beta, np.empty_like(x)
    for slope in (1.0, 0.2, 1.5):
        loops.scale_shift(x, norm, slope, out)
        np.testing.assert_allclose(out, np.where(a > 0, a, slope * a), rtol=1e-13, atol=1e-13)
        loops.combine(dy, x, norm, slope, tilt, shift, out)
        da = np.where(a > 0, dy, slope * dy)
        np.testing.assert_allclose(out, da * gain - (x - mean) * tilt - shift, rtol=1e-13, atol=1e-13)
    flat = np.empty(21)
    loops.leaky(x.reshape(-1), 0.3, flat)
    assert np.array_equal(flat, np.where(x > 0, x, 0.3 * x).reshape(-1))
    loops.leaky_backward(dy.reshape(-1), x.reshape(-1), 0.3, flat)
    assert np.array_equal(flat, np.where(x > 0, dy, 0.3 * dy).reshape(-1))


def test_merged_moments_are_those_of_all():
    parts = [normal(0, 5, 2), normal(1, 1, 2) + 9, normal(2, 30, 2)]
    count, mean, spread = 0, np.zeros(2), np.zeros(2)
    for part in parts:
        measured = (len(part), part.mean(axis=0), ((part - part.mean(axis=0)) ** 2).sum(axis=0))
        mean, spread = blocks.merge_moments((count, mean, spread), measured)
        count += len(part)
    everything = np.concatenate(parts)
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(spread, ((everything - mean) ** 2).sum(axis=0), rtol=1e-13)


@given(start=st.integers(0, 20), length=st.integers(0, 20), size=st.integers(1, 25))
def test_pieces_cover_a_range_once(start, length, size):
    found = list(pieces(start, start + length, size))
    assert [i for some in found for i in range(some.start, some.stop)] == list(range(start, start + length))
    assert all(some.stop - some.start <= size for some in found)


@given(size=st.tuples(few, few), place=st.tuples(places, places), room=st.tuples(rooms, rooms))
def test_images_are_surrounded_by_zeros_and_cut_off(size, place, room):
    image = normal(0, 2, *size, 3)
    found = blocks.surround(image, *place, np.full((2, *room, 3), np.nan))
    whole = np.pad(image, ((0, 0), *((before, 7) for before in place), (0, 0)))
    np.testing.assert_array_equal(found, whole[:, : room[0], : room[1]])


@pytest.mark.skipif(not COMPILED, reason="numba is not installed: there are no compiled loops")
def test_the_compiled_loops_have_every_function_of_those_in_numpy():
    from minigan.kernels import compiled

    used = ["gather", "scatter", "cut_windows", "add_windows", "depthwise", "moments", "column_sums", "scale_shift"]
    used += ["product_sums", "combine", "leaky", "leaky_backward", "masked", "maxout", "maxout_backward"]
    public = {name for name in vars(blocks) if callable(vars(blocks)[name]) and not name.startswith("_")}
    apart = {"Grid", "Norm", "pieces", "surround", "merge_moments", "Iterator", "NamedTuple", "scratch"}
    apart.add("sliding_window_view")
    assert set(used) == public - apart
    assert all(callable(getattr(compiled, name)) for name in used)
