"""Arrays that lie with their rows first: what says so, what copies, and that nothing is copied between convolutions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import ops
from minigan.cuda import batchnorm, conv, dropout, layout, pointwise
from minigan.functional.patches import Geometry
from tests import strict_cupy
from tests.cuda.gpu import LAYOUTS, fast_gpu, on_gpu, small_launches
from tests.kernels.twins import ALL_TWINS, draw, errors
from tests.planted_bugs import Bug, planted
from tests.runs.test_captured import RECIPES, players
from tests.strategies import normal

compiled = pytest.mark.emulated

shapes = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)
lies = st.sampled_from(["C", "Fortran", "every other", "backwards", "batch last", "rows first"])


def in_memory(array):
    """The numbers from the lowest address to the highest, of an array without gaps."""
    data = array.swapaxes(0, 1) if layout.rows_first(array) else array
    assert data.flags.c_contiguous
    return data.ravel()


@given(shape=shapes, lie=lies, other=lies)
def test_numbers_stay_and_lie_as_they_should(shape, lie, other):
    array = LAYOUTS[lie]("x", normal(0, *shape))
    together = layout.side_by_side(array)
    assert np.array_equal(together, array)
    assert np.array_equal(layout.flat(together), in_memory(together))
    if array.size:  # of nothing no memory is shared
        assert np.shares_memory(layout.flat(together), together)
        assert np.shares_memory(together, array) == (array.flags.c_contiguous or layout.rows_first(array))
    new = layout.empty_like(together)
    assert (new.shape, new.dtype) == (array.shape, array.dtype)
    assert layout.rows_first(new) == layout.rows_first(together)
    assert len(in_memory(new)) == array.size
    beside = layout.side_by_side(LAYOUTS[other]("x", normal(1, *shape)))
    moved = layout.laid_like(array, beside)
    assert np.array_equal(moved, array)
    assert layout.rows_first(moved) == layout.rows_first(beside)
    assert np.array_equal(layout.flat(moved), in_memory(moved))


def test_only_exchanged_axes_count_as_rows_first():
    assert layout.rows_first(np.ones((3, 2, 4, 5)).swapaxes(0, 1))
    assert not layout.rows_first(np.ones((3, 2)).T)  # there the last axis does not lie innermost
    assert not layout.rows_first(np.ones((1, 2, 4, 5)).swapaxes(0, 1))  # both orders are one
    assert not layout.rows_first(np.ones((3, 2, 4, 5)).swapaxes(1, 2))


# Nothing is copied --------------------------------------------------------------------------------------


@pytest.fixture
def copied(monkeypatch):
    """The arrays that were copied by their method `copy`, as our own modules do it."""
    made = []
    copy = strict_cupy.ndarray.copy

    def noted(array, *how):
        made.append(array)
        return copy(array, *how)

    monkeypatch.setattr(strict_cupy.ndarray, "copy", noted)
    return made


@compiled
def test_images_lie_with_their_rows_first_from_one_convolution_to_the_next_and_back(copied):
    """A piece of D: convolution, batch normalisation and rectifier, convolution; and the gradients of all of it."""
    geometry = Geometry((2, 2), (1, 1, 1, 1))
    x, w1, w2, gamma, beta = normal(0, 3, 12, 12, 2), normal(1, 4, 4, 2, 4), normal(2, 4, 4, 4, 4), *normal(3, 2, 4)
    dy = normal(4, 3, 3, 3, 4)

    def there_and_back(x, w1, w2, gamma, beta, dy):
        a = ops.conv2d(x, w1, geometry)
        v, cache = ops.batchnorm_leaky(a, gamma, beta, 1e-5, 0.2)
        _, cache_y = ops.tanh(ops.conv2d(v, w2, geometry))
        dy = ops.tanh_backward(dy, cache_y)
        dv = ops.conv2d_input_grad(dy, w2, v.shape[1:3], geometry)
        dw2 = ops.conv2d_weight_grad(v, dy, (4, 4), geometry)
        da, *_ = ops.batchnorm_leaky_backward(dv, gamma, cache, 0.2)
        return ops.conv2d_weight_grad(x, da, (4, 4), geometry), dw2, ops.conv2d_input_grad(da, w1, (12, 12), geometry)

    with fast_gpu() as device:
        given = [device.put(array) for array in (x, w1, w2, gamma, beta)]
        as_the_next_one_makes_it = LAYOUTS["rows first"]("dy", device.put(dy))
        copied.clear()
        found = there_and_back(*given, as_the_next_one_makes_it)
        assert not copied
        found = [array.get() for array in found]
    for ours, plain in zip(found, there_and_back(x, w1, w2, gamma, beta, dy), strict=True):
        assert abs(ours - plain).max() <= 1e-10 * abs(plain).max()


@compiled
def test_a_condition_between_two_convolutions_leaves_images_as_they_lie(copied):
    geometry = Geometry((2, 2), (1, 1, 1, 1))
    x, w1, w2 = normal(0, 3, 12, 12, 2), normal(1, 4, 4, 2, 4), normal(2, 4, 4, 6, 4)
    y, dz = normal(3, 3, 2), normal(4, 3, 3, 3, 4)

    def there_and_back(x, w1, w2, y, dz):
        h = ops.with_condition(ops.conv2d(x, w1, geometry), y)
        z = ops.conv2d(h, w2, geometry)
        dh = ops.conv2d_input_grad(dz, w2, h.shape[1:3], geometry)
        dh = ops.condition_of_backward(y, dh)
        da, dy = ops.with_condition_backward(dh, 2)
        return z, ops.conv2d_weight_grad(x, da, (4, 4), geometry), dy

    with fast_gpu() as device:
        given = [device.put(array) for array in (x, w1, w2, y)]
        as_the_next_one_makes_it = LAYOUTS["rows first"]("dy", device.put(dz))
        copied.clear()
        found = there_and_back(*given, as_the_next_one_makes_it)
        assert not copied
        found = [array.get() for array in found]
    for ours, plain in zip(found, there_and_back(x, w1, w2, y, dz), strict=True):
        assert abs(ours - plain).max() <= 1e-10 * abs(plain).max()


@compiled
def test_a_round_of_a_dcgan_copies_only_the_smallest_images(strict, copied):
    """Those of 4 x 4 pixels, where G's noise becomes an image and D's last one becomes a number: docs/gpu.md."""
    recipe = RECIPES["dcgan-64"]
    rounds = players(recipe, strict)
    with ops.fast_kernels(1), rounds:
        rounds.play()
        copied.clear()
        rounds.play()
    batch = recipe.batch_size * 4 * 4 * 8 * recipe.width
    assert {np.prod(array.shape) for array in copied} == {batch, 2 * batch}  # D's step has two batches at once
    megabytes = sum(array.nbytes for array in copied) / recipe.batch_size / 1e6
    assert round(megabytes * 64 / recipe.width, 2) == 0.29  # at the published width


@compiled
def test_a_round_of_a_dcgan_cuts_bands_as_often_as_docs_gpu_md_says(strict, monkeypatch):
    names, launch_lines = [], conv.launch_lines
    rounds = players(RECIPES["dcgan-64"], strict)
    with ops.fast_kernels(1), rounds:
        rounds.play()
        monkeypatch.setattr(conv, "launch_lines", lambda *of, **how: names.append(of[1]) or launch_lines(*of, **how))
        rounds.play()
    assert names.count("cut") == 12


# A checker that cannot fail is no checker ---------------------------------------------------------------

BUGS = [
    Bug("activations: y in the order of axes", pointwise._forward, "empty_like(x)", "empty_like(x.copy())"),
    Bug("activations: dy as it lies", pointwise._backward, "laid_like(dy, y)", "side_by_side(dy)"),
    Bug("activations: dx in the order of axes", pointwise._backward, "empty_like(y)", "empty_like(dy)"),
    Bug("norm: dy as it lies", batchnorm._backward, "laid_like(dy, norm.x)", "side_by_side(dy)"),
    Bug("norm: dx in the order of axes", batchnorm._backward, "dx = empty_like(dy)",
        "dx = array_module(dy).empty(dy.shape, dy.dtype)"),
    Bug("dropout: masks of whole samples", dropout._masked, "rows_first(x)", "False"),
    Bug("dropout: masks as they lie", dropout._masked, "laid_like(keep, x)", "side_by_side(keep)"),
    Bug("dropout: a mask for each row", dropout._masked, "x.shape[2:-1]", "x.shape[1:-1]"),
]  # fmt: skip
NOTICES = ("leaky_relu", "leaky_relu_backward", "tanh_backward", "batchnorm", "batchnorm_backward", "dropout",
           "dropout_backward")  # fmt: skip


def is_caught():
    """Whether a twin is now wrong where arrays lie with their rows first; one that stops with an error does not count."""
    for name in NOTICES:
        for seed in range(12):
            for lie in ("rows first", "dy rows first", "rows first, not dy"):
                arrays, extra = draw(name, seed)
                try:
                    with small_launches(), fast_gpu() as device:
                        results = on_gpu(device, name, arrays, extra, lie)
                except (ValueError, TypeError):
                    continue
                if not max(errors(name, results, arrays, extra)) <= ALL_TWINS[name].tolerance:
                    return True
    return False


@compiled
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.story)
def test_a_planted_bug_is_caught(bug):
    with planted(bug):
        assert is_caught()


@compiled
def test_without_a_bug_nothing_is_wrong():
    assert not is_caught()
