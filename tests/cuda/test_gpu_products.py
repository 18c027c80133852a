"""Dense layers and convolutions of a GPU's arrays: our own products give what the plain versions give on the host."""

import re
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan import ops
from minigan.cuda import conv, dense, launch
from minigan.cuda.layout import rows_first
from minigan.errors import UserError
from minigan.functional import conv as functional
from minigan.functional.patches import Geometry
from tests import strict_cublas, strict_cupy
from tests.cuda.gpu import LAYOUTS, fast_gpu, on_gpu, small_launches
from tests.cuda.test_cuda_bugs import Bug as SourceBug
from tests.cuda.test_cuda_bugs import planted as planted_in_source
from tests.kernels.test_fast_training import BOUND, BOUND_OF_BIASES, RECIPES, weights_after
from tests.kernels.twins import differences, draw, errors, truth_of
from tests.planted_bugs import Bug, planted
from tests.strategies import assert_agrees, convolutions, many_examples, normal, seeds, windows
from tests.strict_kernels import BadLaunch

pytestmark = pytest.mark.emulated

NAMES = [
    "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv2d_bias_grad",
    "dense", "dense_input_grad", "dense_weight_grad", "dense_bias_grad",
]  # fmt: skip
TOLERANCE = 4  # units of the precision, times what rounding scales with: see twins.errors
Axis, Bands = conv.Axis, conv.Bands
every_product = pytest.mark.parametrize("name", NAMES)


@contextmanager
def on_the_gpu():
    """The stand-in, with fast kernels, and CuPy's own products out of reach."""
    with fast_gpu() as device, patch.object(strict_cupy.ndarray, "__matmul__", None):
        yield device


def gpu_results(name, arrays, extra, layout="C"):
    with small_launches(), on_the_gpu() as device:
        return on_gpu(device, name, arrays, extra, layout)


# Against the plain versions. Only the order of sums differs.


@every_product
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=8)
@given(seed=seeds)
def test_our_products_agree_with_the_plain_ones(name, dtype, layout, seed):
    arrays, extra = draw(name, seed, dtype)
    with strict_cupy.forbid_dtype("float64" if dtype == np.float32 else "float32"):
        results = gpu_results(name, arrays, extra, layout)
    for result in results:
        assert result.dtype == dtype
    assert max(errors(name, results, arrays, extra)) <= TOLERANCE


def all_three(x, w, dy, geometry):
    return [
        ops.conv2d(x, w, geometry),
        ops.conv2d_input_grad(dy, w, x.shape[1:3], geometry),
        ops.conv2d_weight_grad(x, dy, w.shape[:2], geometry),
    ]


@many_examples
@given(case=convolutions(), layout=st.sampled_from(["C", "rows first", "dy rows first", "rows first, not dy"]))
def test_convolutions_of_any_geometry_agree_on_the_gpu(case, layout):
    x, w, dy, geometry = case
    with small_launches(), on_the_gpu() as device:
        given = {"x": x, "w": w, "dy": dy}
        x_there, w_there, dy_there = (LAYOUTS[layout](name, device.put(array)) for name, array in given.items())
        found = all_three(x_there, w_there, dy_there, geometry)
        assert all(array.flags.c_contiguous or rows_first(array) for array in found)
        found = [array.get() for array in found]
    for ours, plain in zip(found, all_three(x, w, dy, geometry), strict=True):
        assert_agrees(ours, plain)


@given(window=windows(max_dilation=1), seed=seeds, layout=st.sampled_from(["C", "rows first", "dy rows first"]))
def test_windows_of_few_channels_agree_on_the_gpu(window, seed, layout):
    n, channels = window.shape[0], window.shape[3]
    outputs = channels * window.kernel[0] * window.kernel[1]
    shapes = {"x": window.shape, "w": (*window.kernel, channels, outputs), "dy": (n, *window.places, outputs)}
    given = {name: normal([seed, k], *shape) for k, (name, shape) in enumerate(shapes.items())}
    assert len(Bands.of(window.shape, window.kernel, window.geometry, outputs).taken) == 1
    with small_launches(), on_the_gpu() as device:
        there = {name: LAYOUTS[layout](name, device.put(array)) for name, array in given.items()}
        found = [array.get() for array in all_three(**there, geometry=window.geometry)]
    for ours, plain in zip(found, all_three(**given, geometry=window.geometry), strict=True):
        assert_agrees(ours, plain)


@pytest.mark.parametrize("sizes", [(0, 3, 2), (2, 0, 3), (2, 3, 0), (1, 1, 1)], ids=str)
def test_dense_of_empty_axes_on_the_gpu(sizes):
    n, i, o = sizes
    with on_the_gpu() as device:
        x, w, dy, b = (device.xp.ones(shape) for shape in ((n, i), (i, o), (n, o), (o,)))
        y, cache = ops.dense(x, w, b)
        assert (y.get() == i + 1).all()
        assert (ops.dense_input_grad(dy, w).get() == o).all()
        assert (ops.dense_weight_grad(dy, cache).get() == n).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_no_images_on_the_gpu(groups):
    geometry = Geometry((2, 2), (1, 1, 1, 1), groups=groups)
    with on_the_gpu() as device:
        x, w, dy = (device.xp.ones(shape) for shape in ((0, 8, 8, 2), (4, 4, 2 // groups, 6), (0, 4, 4, 6)))
        y, dx, dw = all_three(x, w, dy, geometry)
        assert (y.shape, dx.shape, dw.shape) == (dy.shape, x.shape, w.shape)
        assert not dw.get().any()
        assert not ops.conv2d_bias_grad(dy).get().any()


@pytest.mark.parametrize(
    ("name", "shapes", "others"),
    [
        ("conv2d", [(1, 2, 2, 3), (3, 3, 3, 2)], (Geometry(),)),
        ("conv2d", [(1, 2, 2, 3), (5, 5, 3, 2)], (Geometry(),)),
        ("conv2d_input_grad", [(1, 4, 3, 2), (3, 3, 3, 2)], ((5, 5), Geometry())),
        ("conv2d_weight_grad", [(1, 5, 5, 3), (1, 4, 3, 2)], ((3, 3), Geometry())),
        ("conv2d_weight_grad", [(1, 2, 2, 3), (1, 0, 0, 2)], ((3, 3), Geometry())),
    ],
)
def test_what_the_plain_version_refuses_is_refused_in_the_same_words_on_the_gpu(name, shapes, others):
    words = []
    with on_the_gpu() as device:
        for xp in (np, device.xp):
            with pytest.raises(ValueError, match=r"\d") as caught:
                getattr(functional, name)(*map(xp.ones, shapes), *others)
            words.append(str(caught.value))
        with pytest.raises(ValueError, match=re.escape(words[0])):
            getattr(ops, name)(*map(device.xp.ones, shapes), *others)
    assert words[0] == words[1]


X, W, DY = (2, 5, 5, 4), (3, 3, 4, 2), (2, 3, 3, 2)


@pytest.mark.parametrize(
    ("name", "shapes", "others"),
    [
        ("conv2d", [X, (3, 3, 3, 2)], (Geometry(),)),
        ("conv2d", [X, W], (Geometry(groups=2),)),
        ("conv2d_input_grad", [(2, 3, 3, 3), W], ((5, 5), Geometry())),
        ("conv2d_input_grad", [(2, 3, 3, 3), (3, 3, 4, 3)], ((5, 5), Geometry(groups=2))),
        ("conv2d_weight_grad", [X, (3, 3, 3, 2)], ((3, 3), Geometry())),
        ("conv2d_weight_grad", [X, (2, 3, 3, 3)], ((3, 3), Geometry(groups=3))),
        ("conv2d_weight_grad", [X, (2, 3, 3, 3)], ((3, 3), Geometry(groups=2))),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(name, shapes, others):
    with pytest.raises(ValueError, match=r"\d"):
        getattr(ops, name)(*map(np.ones, shapes), *others)
    with on_the_gpu() as device, pytest.raises(ValueError, match=r"\d"):
        getattr(ops, name)(*map(device.xp.ones, shapes), *others)


def test_more_pixels_than_a_kernel_can_count_are_refused(monkeypatch):
    with on_the_gpu() as device:
        x, w = device.xp.ones((2, 3, 3, 1)), device.xp.ones((2, 2, 1, 1))
        ops.conv2d(x, w, Geometry())
        monkeypatch.setattr(conv, "MOST", 17)
        with pytest.raises(ValueError, match="2 images of 3 x 3 pixels are too many"):
            ops.conv2d(x, w, Geometry())


# What it costs ------------------------------------------------------------------------------------------


def test_dense_layers_multiply_three_times_and_copy_nothing():
    with on_the_gpu() as device, strict_cublas.installed() as library:
        xp = device.xp
        x, w, dy = xp.ones((4, 3)), xp.ones((3, 2)), xp.ones((4, 2))
        with patch.object(xp, "ascontiguousarray", None):
            _, cache = ops.dense(x, w)
            ops.dense_input_grad(dy, w)
            ops.dense_weight_grad(dy, cache, xp.zeros((3, 2)))
    assert [name for name in library.calls if "Gemm" in name] == ["cublasGemmEx"] * 3


@dataclass(frozen=True)
class Cost:
    """A convolution, and how many products each of its primitives takes."""

    story: str
    size: tuple[int, int]
    kernel: tuple[int, int]
    geometry: Geometry
    products: int
    no_copy_of: str = ""  # x, where its bands are x itself
    channels: tuple[int, int] = (4, 8)


COSTS = [
    Cost("dcgan: half the size", (8, 8), (4, 4), Geometry((2, 2), (1, 1, 1, 1)), 2),
    Cost("dcgan: the last one, of one place", (4, 4), (4, 4), Geometry(), 1, "x"),
    Cost("odd kernel, half the size", (8, 8), (5, 5), Geometry((2, 2), (2, 2, 2, 2)), 3),
    Cost("the same size", (6, 6), (3, 3), Geometry((1, 1), (1, 1, 1, 1)), 3, channels=(8, 8)),
    Cost("the same size, of few channels", (6, 6), (3, 3), Geometry((1, 1), (1, 1, 1, 1)), 1, channels=(1, 12)),
    Cost("dcgan: the first one", (8, 8), (4, 4), Geometry((2, 2), (1, 1, 1, 1)), 1, channels=(1, 20)),
    Cost("pixel by pixel", (6, 6), (1, 1), Geometry(), 1, "x"),
    Cost("patch by patch", (6, 6), (2, 3), Geometry((2, 3)), 1),
    Cost("every other pixel", (6, 6), (1, 1), Geometry((2, 2)), 1),
    Cost("dilated", (9, 9), (3, 3), Geometry((1, 1), dilation=(2, 2)), 3),
    Cost("four groups", (8, 8), (4, 4), Geometry((2, 2), (1, 1, 1, 1), groups=4), 2),
]


@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: cost.story)
def test_so_many_products_without_a_wasted_multiplication(cost):
    n, (i, o) = 3, cost.channels
    p, q = cost.geometry.out_size(cost.size, cost.kernel)
    x, w, dy = (n, *cost.size, i), (*cost.kernel, i // cost.geometry.groups, o), (n, p, q, o)
    with on_the_gpu() as device, strict_cublas.installed() as library:
        all_three(*map(device.xp.ones, (x, w, dy)), cost.geometry)
    assert sum("Gemm" in name for name in library.calls) == 3 * cost.products
    assert library.multiplications == 3 * n * p * q * w[0] * w[1] * w[2] * o


@pytest.mark.parametrize("cost", [cost for cost in COSTS if cost.no_copy_of], ids=lambda cost: cost.story)
def test_where_every_pixel_is_in_one_window_nothing_is_copied(cost):
    with on_the_gpu() as device:
        x = device.xp.ones((3, *cost.size, 4))
        bands = Bands.of(x.shape, cost.kernel, cost.geometry, outputs=8)
        u = bands.cut(x)
        assert x.data.ptr == u.data.ptr == bands.add_up(u).data.ptr
        assert bands.add_up(u).shape == x.shape


def test_a_convolution_is_few_launches(monkeypatch):
    """One cuts the bands or adds them up; CuPy's own are a copy that orders the places, and zeros."""
    launched, kernel = [], launch._kernel
    monkeypatch.setattr(launch, "_kernel", lambda *of: launched.append(of[2]) or kernel(*of))
    with on_the_gpu() as device:
        all_three(*map(device.xp.ones, ((3, 8, 8, 4), (4, 4, 4, 8), (3, 4, 4, 8))), Geometry((2, 2), (1, 1, 1, 1)))
    assert launched == ["cut", "add_up", "cut"]


def test_bands_copy_a_number_at_most_twice_where_windows_would_four_times():
    """Half the size by 4 x 4, padding aside."""
    bands = Bands.of((1, 64, 64, 3), (4, 4), Geometry((2, 2), (1, 1, 1, 1)), outputs=4)
    assert bands.shape(3) == (1, 33 * 32, 2 * 4 * 3)  # 33 blocks of two rows with windows of four columns
    assert np.prod(bands.shape(3)) <= 33 / 32 * 2 * 64 * 64 * 3


def test_windows_of_few_channels_are_less_than_another_pass_over_many():
    bands = Bands.of((1, 64, 64, 3), (4, 4), Geometry((2, 2), (1, 1, 1, 1)), outputs=64)
    assert bands.shape(3) == (1, 32 * 32, 4 * 4 * 3)
    assert len(bands.taken) == 1


# Whole rounds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_rounds_on_the_gpu_end_at_the_weights_of_the_host(recipe):
    plain = weights_after(recipe, rounds=3)
    with on_the_gpu() as device:
        found = weights_after(recipe, device, rounds=3)
    largest = max(abs(view).max() for view in plain.values())
    for name, view in plain.items():
        bound = BOUND_OF_BIASES if name.endswith((".b", ".mean")) else BOUND
        assert abs(found[name] - view).max() <= bound * largest, name


# A checker that cannot fail is no checker ---------------------------------------------------------------

BUGS = [
    Bug("dense: the input gradient by the weights as they are", dense.dense_input_grad, "w.T", "w.reshape(w.T.shape)"),
    Bug("dense: the bias taken off", dense.dense, "y += b", "y -= b"),
    Bug("dense: what was there is overwritten", dense.dense_weight_grad, "add=True", "add=False"),
    Bug("conv: the second product overwrites", conv.conv2d_and_seen, "number > 0", "False"),
    Bug("conv: the first product adds to what was there", conv.conv2d_and_seen, "number > 0", "True"),
    Bug("conv: what the first product leaves out is not cleared", conv.conv2d_input_grad, "du[:, written:] = 0", "pass"),
    Bug("conv: the second input gradient overwrites", conv.conv2d_input_grad, "number > 0 or", "False or"),
    Bug("conv: the total overwritten", conv.conv2d_weight_grad, "add=True", "add=False"),
    Bug("conv: added to what was in the memory", conv.conv2d_weight_grad, "add=False", "add=True"),
    Bug("conv: groups of neighbouring rows", conv._by_group, "rows.reshape(len(rows), groups, rows.shape[1] // groups).swapaxes(0, 1)",
        "rows.reshape(groups, len(rows), rows.shape[1] // groups)"),
    Bug("windows: of dilated kernels too", Bands.of.__func__, "rows.dilation == 1 and", ""),
    Bug("windows: seen from the next block", Bands.of.__func__, "Run(slice(0, rows.kernel), 0,", "Run(slice(0, rows.kernel), 1,"),
    Bug("rows: dilation forgotten", conv._runs, "tap * rows.dilation", "tap"),
    Bug("rows: dilated taps taken together", conv._runs, "if rows.dilation == 1 else 1", ""),
    Bug("rows: every tap in the first block", conv._runs, "Run(slice(tap, tap + number), block,", "Run(slice(tap, tap + number), 0,"),
    Bug("axes: padding of the top on the left", conv._axis, "geometry.padding[2 * number]", "geometry.padding[0]"),
    Bug("axes: padding of the bottom on the top", conv._axis, "geometry.padding[2 * number]", "geometry.padding[2 * number + 1]"),
    Bug("axes: strides exchanged", conv._axis, "geometry.stride[number]", "geometry.stride[1 - number]"),
    Bug("bands: padded images are bands", Axis.one_each.fget, "self.before == 0", "True"),
    Bug("bands: patches of several rows are in order", Bands._as_they_lie.fget, "self.rows.stride == 1 or self.columns.places == 1", "True"),
    Bug("bands: groups are in order", Bands._as_they_lie.fget, "self.groups == 1", "True"),
    Bug("bands: every product of the first block", Bands.runs, "run.block * block, run.block * block", "0, 0"),
    Bug("bands: the next block of the same image", Bands.runs, "self.images * self.columns.places", "self.columns.places"),
    Bug("bands: every product of the first rows", Bands.runs, "run.phases.start * tap : run.phases.stop * tap",
        ": (run.phases.stop - run.phases.start) * tap"),
    Bug("bands: weights of the first rows", Bands.runs, "run.taps.start * tap : run.taps.stop * tap",
        ": (run.taps.stop - run.taps.start) * tap"),
    Bug("bands: gradients in the order of images", Bands.from_images, "if self._shifted else dy", "if False else dy"),
    Bug("bands: outputs in the order of bands", Bands.to_images, "self._shifted", "False"),
    Bug("bands: input gradients in the order of images", Bands.empty_images, "_exchanged(shape) if self._shifted else shape", "shape"),
    Bug("bands: of images whose rows come first", Bands._sizes, "np.bool_(by_rows)", "np.bool_(False)"),
    Bug("bands: images as if their rows came first", Bands._sizes, "np.bool_(by_rows)", "np.bool_(True)"),
    Bug("bands: images in the order of their axes", Bands.cut, "flat(x)", "contiguous(x).reshape(-1)"),
    Bug("bands: blocks in the order of images", Bands._sizes, "self._shifted", "False"),
    Bug("bands: the steps of windows exchanged", Bands._sizes, "rows.stride, columns.stride,", "columns.stride, rows.stride,"),
    Bug("bands: dilated by rows", Bands._sizes, "columns.dilation", "rows.dilation"),
]  # fmt: skip


SOURCE_BUGS = [
    SourceBug("bands", "cut", *change)
    for change in [
        ("0 <= row && row < height &&", ""),
        ("&& column < width", ""),
        ("0 <= column &&", ""),
        ("+ i - top;", "+ i;"),
        ("* dilation - left", "- left"),
        ("/ channels * dilation", "* dilation"),
        ("shifted ? block / images : block % blocks", "block / images"),
        ("* groups + group) * channels + channel", "* groups) * channels + channel"),
        ("* phases + i) * run + j", "* phases + phases - 1 - i) * run + j"),
        ("inside ? there : 0;", "there;"),
        ("(rows_first ? (long long)row * images + n : (long long)n * height + row)", "((long long)n * height + row)"),
        ("j += blockDim.x) {", "j += blockDim.x + 1) {"),
        ("line += gridDim.x * blockDim.y", "line += 2 * gridDim.x * blockDim.y"),
    ]
] + [
    SourceBug("bands", "add_up", *change)
    for change in [
        ("pixel % width + left", "pixel % width"),
        ("rest % height) + top", "rest % height)"),
        ("(rows_first ? rest / images : rest % height)", "rest % height"),
        ("rows_first ? rest % images : rest / height;", "rest / height;"),
        ("if (h >= blocks) continue;", ""),
        ("h >= 0 && i < phases; --h", "h == row / stride && i < phases; --h"),
        ("i < phases; --h, i += stride", "i < phases; --h, ++i"),
        ("h >= 0 && i < phases;", "h >= 0 && i < taps;"),
        ("q < places &&", ""),
        ("&& q * step == from", ""),
        ("dilation == 1 ? step : 1", "step"),
        ("dilation == 1 ? column % step : 0", "column % step"),
        ("b < taps &&", "b < taps - 1 &&"),
        ("shifted ? h * images + n : n * blocks + h", "h * images + n"),
        ("sum += seen", "sum = seen"),
        ("seen ? there : 0;", "there;"),
        ("* groups + group) * channels + c] = sum", "* groups) * channels + c] = sum"),
        ("c += blockDim.x) {", "c += blockDim.x + 1) {"),
    ]
]


# What the table of twins never draws: size, kernel, geometry; of 4 channels each, and the last one of 1 and 20.
RARE = [
    ((4, 4), (2, 2), Geometry((2, 2))),
    ((4, 2), (2, 2), Geometry((2, 2), (1, 0, 0, 0))),
    ((3, 3), (1, 1), Geometry(groups=2)),
    ((6, 5), (4, 3), Geometry((2, 1), (1, 1, 2, 0), groups=2)),
    ((9, 9), (3, 2), Geometry((2, 1), (2, 3, 1, 0), (3, 2))),
    ((9, 9), (2, 3), Geometry((1, 3), (0, 1, 3, 2), (3, 2), groups=4)),
    ((7, 7), (3, 2), Geometry((1, 1), (2, 2, 0, 0), (2, 1)), 1, 20),
]


def is_caught():
    """Whether a result is now wrong, or of another shape; an operation that stops with an error does not count."""
    for name in NAMES:
        if any(found_wrong(lambda n=name, s=seed: from_the_table(n, s)) for seed in range(20)):
            return True
    return any(found_wrong(lambda r=rare: from_rare(*r)) for rare in RARE)


def found_wrong(measure):
    try:
        return not measure() <= TOLERANCE
    except (ValueError, TypeError, IndexError, UserError):
        return False
    except BadLaunch:  # which names what a kernel did outside its arrays
        return True


def from_the_table(name, seed):
    results, right = gpu_results(name, *draw(name, seed), "rows first" if seed % 2 else "C"), truth_of(name, seed)
    if any(ours.shape != plain.shape for ours, (plain, _) in zip(results, right, strict=True)):
        return np.inf
    with np.errstate(all="ignore"):
        return np.max(differences(results, right))  # nan if there is one


def from_rare(size, kernel, geometry, i=4, o=4):
    places = geometry.out_size(size, kernel)
    x, w, dy = normal(0, 2, *size, i), normal(1, *kernel, i // geometry.groups, o), normal(2, 2, *places, o)
    with small_launches(), on_the_gpu() as device, np.errstate(all="ignore"):
        found = [result.get() for result in all_three(*map(device.put, (x, w, dy)), geometry)]
    expected = all_three(x, w, dy, geometry)
    wrong = [abs(ours - plain).max() / abs(plain).max() for ours, plain in zip(found, expected, strict=True)]
    return np.max(wrong) / np.finfo(np.float64).eps / 50  # as many products in a sum


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.story)
def test_a_bug_planted_in_a_product_is_caught(bug):
    with planted(bug):
        assert is_caught()


@pytest.mark.parametrize("bug", SOURCE_BUGS, ids=lambda bug: f"{bug.notices}: {bug.right} -> {bug.wrong}")
def test_a_bug_planted_in_the_source_is_caught(bug):
    with planted_in_source(bug):
        assert is_caught()


def test_without_a_bug_no_product_is_wrong():
    assert not is_caught()
