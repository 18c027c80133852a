"""Convolution on tiles: when it is chosen, and that its parts are each other's adjoints."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan import ops
from minigan.functional import conv as plain
from minigan.functional.patches import Geometry
from minigan.kernels import conv, winograd
from tests.kernels.twins import fast, small_limits
from tests.strategies import assert_agrees, normal, seeds

SAME = (1, 1, 1, 1)
NONE = (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size", "form", "left"),
    [
        (4, 2, SAME, (16, 16), (4, 2), 25 / 64),  # the shares that the module names
        (5, 2, (2, 2, 2, 2), (32, 32), (4, 3), 36 / 100),
        (3, 1, SAME, (8, 8), (4, 3), 36 / 144),
        (4, 2, SAME, (8, 8), (2, 2), 9 / 16),  # few places: smaller tiles
        (3, 1, SAME, (4, 4), (4, 3), 36 / 144),
        (2, 1, NONE, (9, 9), (4, 2), 25 / 64),
        (6, 2, (2, 2, 2, 2), (16, 16), (4, 3), 36 / 144),
    ],
)
def test_a_plan_and_how_many_products_it_leaves(kernel, stride, padding, size, form, left):
    geometry = Geometry((stride, stride), padding)
    plan = winograd.plan(64, size, (kernel, kernel), geometry, 64, 64)
    assert (plan.form.m, plan.form.r) == form
    rows, columns = plan.tiling
    products = rows * columns * len(plan.form.bt) ** 2 * stride**2
    assert products / (plan.places[0] * plan.places[1] * kernel**2) == pytest.approx(left)


@pytest.mark.parametrize(
    ("kernel", "geometry", "size", "channels"),
    [
        ((3, 4), Geometry((1, 1), SAME), (16, 16), (32, 32)),
        ((3, 3), Geometry((1, 2), SAME), (16, 16), (32, 32)),
        ((9, 9), Geometry((3, 3), SAME), (32, 32), (32, 32)),
        ((3, 3), Geometry((1, 1), SAME, (2, 2)), (16, 16), (32, 32)),
        ((3, 3), Geometry((1, 1), SAME, groups=2), (16, 16), (32, 32)),
        ((1, 1), Geometry(), (16, 16), (32, 32)),
        ((4, 4), Geometry((1, 1), SAME), (16, 16), (32, 32)),
        ((7, 7), Geometry((2, 2), SAME), (32, 32), (32, 32)),
        ((4, 4), Geometry(), (4, 4), (32, 32)),  # one place
        ((4, 4), Geometry((2, 2)), (4, 4), (32, 32)),  # one place: a whole tile for it saves nothing
        ((2, 2), Geometry(), (4, 4), (32, 32)),  # 3 places in tiles of 2: what the last tiles add is more than is saved
    ],
)
def test_where_there_is_no_gain_there_is_no_plan(kernel, geometry, size, channels):
    assert winograd.plan(64, size, kernel, geometry, *channels) is None


@pytest.mark.parametrize("batch", [1, 4])
def test_few_images_do_not_pay_for_more_weights(batch):
    """4 x 4 places from 512 channels to 1,024, as in dcgan-256: 36 products a tile, each with weights of its own."""
    assert winograd.plan(batch, (8, 8), (5, 5), Geometry((2, 2), (2, 2, 2, 2)), 512, 1024) is None


@st.composite
def tilings(draw):
    """A convolution for which there may be a plan, any padding; (x, w, dy, geometry)."""
    stride = draw(st.integers(1, 2))
    k = draw(st.integers(stride + 1, 3 * stride))
    geometry = Geometry((stride, stride), tuple(draw(st.integers(0, 3)) for _ in range(4)))
    least = [max(1, k - geometry.padding[i] - geometry.padding[i + 1]) for i in (0, 2)]
    size = tuple(n + draw(st.integers(0, 10 * stride)) for n in least)
    n, i, o = (draw(st.integers(1, 3)) for _ in range(3))
    seed = draw(seeds)
    dy = normal([seed, 2], n, *geometry.out_size(size, (k, k)), o)
    return normal([seed, 0], n, *size, i), normal([seed, 1], k, k, i, o), dy, geometry


@settings(max_examples=100)
@given(case=tilings())
def test_every_plan_agrees_with_the_plain_primitives(case):
    x, w, dy, geometry = case
    with small_limits():
        for plan in winograd.plans(x.shape[1:3], w.shape[:2], geometry):
            assert_agrees(winograd.conv2d(x, w, plan), plain.conv2d(x, w, geometry))
            dx = winograd.conv2d_input_grad(dy, w, plan)
            assert_agrees(dx, plain.conv2d_input_grad(dy, w, x.shape[1:3], geometry))
            dw = winograd.conv2d_weight_grad(x, dy, plan)
            assert_agrees(dw, plain.conv2d_weight_grad(x, dy, w.shape[:2], geometry))


@settings(max_examples=30)
@given(case=tilings())
def test_the_three_primitives_are_one_bilinear_form(case):
    """Exact but for rounding, and needs no plain version: <conv(x, w), dy> = <x, input_grad> = <w, weight_grad>."""
    x, w, dy, geometry = case
    with fast(2):
        by_y = (ops.conv2d(x, w, geometry) * dy).sum()
        by_x = (ops.conv2d_input_grad(dy, w, x.shape[1:3], geometry) * x).sum()
        by_w = (ops.conv2d_weight_grad(x, dy, w.shape[:2], geometry) * w).sum()
    scale = (plain.conv2d(abs(x), abs(w), geometry) * abs(dy)).sum()
    assert abs(by_y - by_x) <= 1e-13 * scale
    assert abs(by_y - by_w) <= 1e-13 * scale


@settings(max_examples=30)
@given(case=tilings())
def test_the_parts_of_a_plan_are_adjoint(case):
    x, w, dy, geometry = case
    plan = max(winograd.plans(x.shape[1:3], w.shape[:2], geometry), key=lambda plan: plan.form.m)
    v, e, u = plan.input_tiles(x).copy(), plan.output_tiles(dy).copy(), plan.weights(w)
    for array, transformed, back, seed in (
        (x, v, plan.add_inputs, 0), (dy, e, plan.add_outputs, 1), (w, u, None, 2)
    ):  # fmt: skip
        other = normal(seed, *transformed.shape)
        if back is None:
            adjoint = plan.weight_gradient(other)
        else:
            adjoint = np.zeros_like(array)
            back(other, adjoint)
        left, right = (transformed * other).sum(), (array * adjoint).sum()
        assert abs(left - right) <= 1e-12 * (abs(transformed) * abs(other)).sum()


@pytest.mark.parametrize(
    ("geometry", "size", "pays"),
    [(Geometry(padding=SAME), (8, 8), True), (Geometry(), (4, 4), False), (Geometry(), (32, 32), True)],
)
def test_image_and_output_change_places_only_where_that_makes_no_products_more(geometry, size, pays) -> None:
    """Of 3 x 3 windows with more channels in than out: with a border, without it on small images and on large ones."""
    places = geometry.out_size(size, (3, 3))
    assert (conv._exchanged(geometry, (3, 3, 64, 8), size, places) is not None) == pays
    assert conv._exchanged(geometry, (3, 3, 8, 64), size, places) is None
