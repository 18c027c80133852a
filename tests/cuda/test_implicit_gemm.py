"""Convolutions on tensor cores: products of factors that are rounded to TF32, wherever in the image these lie."""

import math
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan import ops
from minigan.backend import Device
from minigan.cuda import conv, implicit_gemm, launch
from minigan.errors import UserError
from minigan.functional import conv as plain
from minigan.functional.patches import Geometry
from tests import strict_cupy
from tests.cuda.gpu import LAYOUTS, fast_gpu
from tests.cuda.test_cuda_bugs import Bug as SourceBug
from tests.cuda.test_cuda_bugs import planted as planted_in_source
from tests.planted_bugs import Bug, planted
from tests.strategies import normal, seeds, windows
from tests.strict_kernels import BadLaunch

pytestmark = pytest.mark.emulated

TOLERANCE = 1e-5  # of sums in float32, as a share of the largest; a factor that is not rounded is wrong by 5e-4
ORDERS = ["C", "rows first", "dy rows first", "rows first, not dy"]


class Case(NamedTuple):
    """A convolution: sizes of the image and the kernel, channels on either side, images."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    geometry: Geometry
    channels: tuple[int, int] = (16, 16)
    images: int = 2

    def arrays(self, seed: int = 0) -> dict[str, np.ndarray]:
        (i, o), n = self.channels, self.images
        shapes = {
            "x": (n, *self.size, i), "w": (*self.kernel, i, o),
            "dy": (n, *self.geometry.out_size(self.size, self.kernel), o), "total": (*self.kernel, i, o),
        }  # fmt: skip
        made = {name: normal([seed, k], *shape).astype(np.float32) for k, (name, shape) in enumerate(shapes.items())}
        for array in made.values():  # no halves, which GPUs round to either side
            bits = array.view(np.uint32)
            bits[bits & 0x1FFF == 0x1000] += 1
        return made


CASES = [
    Case((8, 8), (4, 4), Geometry((2, 2), (1, 1, 1, 1)), (16, 80), 5),
    Case((7, 6), (3, 5), Geometry((1, 2), (1, 0, 2, 1)), (32, 16), 3),
    Case((9, 5), (5, 3), Geometry((3, 1), (2, 2, 0, 1)), (16, 144)),
    Case((4, 4), (4, 4), Geometry(), (48, 16), 1),
    Case((6, 7), (1, 1), Geometry((1, 1), (0, 0, 0, 0)), (96, 32), 7),
    Case((6, 6), (2, 1), Geometry((3, 2)), (16, 16)),
    Case((5, 11), (3, 4), Geometry((2, 3), (2, 1, 3, 0)), (16, 16), 24),
]


def tf32(array: np.ndarray) -> np.ndarray:
    """Rounded to 10 bits behind the point; as float64."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & ~np.uint32(0x1FFF)).view(np.float32).astype(np.float64)


@contextmanager
def in_tf32():
    """The stand-in with fast kernels, sums cut into many parts, and the bands out of reach."""
    with (
        patch.dict("os.environ", CUPY_TF32="1"), patch.object(implicit_gemm, "STEPS", 7),
        patch.object(conv.Bands, "cut", None), patch.object(conv.Bands, "add_up", None), fast_gpu() as device,
    ):  # fmt: skip
        yield device


@pytest.fixture(autouse=True)
def known_to_work():
    """Asked once, which waits for the GPU; and before a bug is planted."""
    with fast_gpu() as device:
        assert implicit_gemm._works(device.xp)


def all_of(x, w, dy, total, geometry):
    y, seen = ops.conv2d_and_seen(x, w, geometry)
    return [
        y,
        ops.conv2d_input_grad(dy, w, x.shape[1:3], geometry),
        ops.conv2d_weight_grad(seen, dy, w.shape[:2], geometry),
        ops.conv2d_weight_grad(x, dy, w.shape[:2], geometry, total),
    ]


def worst(case: Case, seed: int = 0, order: str = "C") -> float:
    """The largest error of the four results on the stand-in, as a share of the largest number, or of 1."""
    with in_tf32() as device, strict_cupy.forbid_synchronisation(), strict_cupy.forbid_dtype("float64"):
        found = results(device, case, seed, order)
    return difference(found, case, seed)


def results(device: Device, case: Case, seed: int, order: str) -> list[Any]:
    arrays = case.arrays(seed)
    there = {name: LAYOUTS[order](name, device.put(array)) for name, array in arrays.items()}
    there |= {name: device.put(arrays[name]) for name in ("w", "total")}
    return all_of(**there, geometry=case.geometry)


def difference(found: list[Any], case: Case, seed: int = 0) -> float:
    arrays = case.arrays(seed)
    x, w, dy = (tf32(arrays[name]) for name in ("x", "w", "dy"))
    expected = all_of(x, w, dy, arrays["total"].astype(np.float64), case.geometry)
    assert [array.shape for array in found] == [array.shape for array in expected]
    with np.errstate(all="ignore"):
        wrong = [abs(a.get() - b).max() / max(1, abs(b).max()) for a, b in zip(found, expected, strict=True)]
    return float(np.max(wrong))


@st.composite
def cases(draw):
    window = draw(windows(max_dilation=1))
    channels = tuple(16 * draw(st.integers(1, 3)) for _ in range(2))
    n, *size, _ = window.shape
    return Case(tuple(size), window.kernel, window.geometry, channels, n)


@settings(max_examples=60)
@given(case=cases(), seed=seeds, order=st.sampled_from(ORDERS))
def test_convolutions_of_any_geometry_agree_with_the_plain_ones(case, seed, order):
    assert worst(case, seed, order) <= TOLERANCE


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolutions_of_several_blocks_agree_with_the_plain_ones(case, order):
    assert worst(case, order=order) <= TOLERANCE


def test_factors_are_rounded_and_not_cut_off():
    """Towards zero, every product would be too small by as much as a number of 10 bits can be."""
    case = CASES[0]
    arrays = case.arrays()
    with in_tf32() as device:
        y = ops.conv2d(device.put(arrays["x"]), device.put(arrays["w"]), case.geometry).get()
    exact = plain.conv2d(arrays["x"].astype(np.float64), arrays["w"].astype(np.float64), case.geometry)
    assert np.linalg.norm(y - exact) / np.linalg.norm(exact) <= 5e-4
    assert abs((y * exact).sum() / (exact * exact).sum() - 1) <= 1e-4


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_so(value):
    arrays = CASES[0].arrays()
    arrays["x"][0, 3, 3, 2] = value
    with in_tf32() as device:
        y = ops.conv2d(device.put(arrays["x"]), device.put(arrays["w"]), CASES[0].geometry).get()
    assert np.array_equal(np.isfinite(y), np.isfinite(plain.conv2d(arrays["x"], arrays["w"], CASES[0].geometry)))
    assert not np.isfinite(y[0]).all()


def test_padding_is_zero():
    """Whatever lies in memory behind an image or before it, padding is zero."""
    case = Case((3, 3), (3, 3), Geometry((1, 1), (1, 1, 1, 1)), images=3)
    arrays = case.arrays()
    arrays["x"][[0, 2]] = np.nan
    with in_tf32() as device:
        y = ops.conv2d(device.put(arrays["x"]), device.put(arrays["w"]), case.geometry).get()
    assert np.isfinite(y[1]).all()


def taken(x=(2, 8, 8, 16), w=(4, 4, 16, 32), y=(2, 4, 4, 32), dtype=np.float32, offset=0, stride=(2, 2), **geometry):
    with patch.dict("os.environ", CUPY_TF32="1"), fast_gpu() as device:
        weights = device.xp.zeros(math.prod(w) + offset, np.float32)[offset:].reshape(w)
        where = Geometry(stride, (1, 1, 1, 1), **geometry)
        return implicit_gemm.takes(x, w, y, where, device.xp.zeros(1, dtype), weights=weights)


def test_what_they_are_for():
    assert taken()
    assert not taken(dtype=np.float64)
    assert not taken(dilation=(1, 2))
    assert not taken(groups=2)
    assert not taken(x=(2, 8, 8, 3), w=(4, 4, 3, 32))
    assert not taken(w=(4, 4, 16, 1), y=(2, 4, 4, 1))
    assert not taken(x=(0, 8, 8, 16), y=(0, 4, 4, 32))
    assert not taken(w=(4, 4, 16, 0), y=(2, 4, 4, 0))
    assert not taken(offset=1)  # weights that cannot be fetched four at a time
    assert taken(offset=4)
    assert not taken(x=(2**17, 32, 32, 16), y=(2**17, 16, 16, 32))  # more numbers than an int counts
    assert not taken(stride=(256, 256))  # more phases than a grid has blocks along an axis


SHAPES = {"x": (2, 8, 8, 16), "w": (4, 4, 16, 32), "dy": (2, 4, 4, 32)}


@pytest.mark.parametrize(
    "wrong", [{"x": (2, 8, 8, 32)}, {"dy": (2, 4, 4, 16)}, {"dy": (3, 4, 4, 32)}, {"x": (3, 8, 8, 16)}], ids=str
)
def test_shapes_that_do_not_go_together_are_refused_as_without_them(wrong, monkeypatch):
    words = {}
    for switch in "01":
        monkeypatch.setenv("CUPY_TF32", switch)
        with fast_gpu() as device:
            x, w, dy = (device.xp.ones(shape, np.float32) for shape in (SHAPES | wrong).values())
            words[switch] = [*map(said_by, each_of(x, w, dy, CASES[0].geometry))]
    assert words["0"] == words["1"]
    assert any(isinstance(said, str) for said in words["0"])


def each_of(x, w, dy, geometry):
    return (
        lambda: ops.conv2d(x, w, geometry),
        lambda: ops.conv2d_input_grad(dy, w, x.shape[1:3], geometry),
        lambda: ops.conv2d_weight_grad(x, dy, w.shape[:2], geometry),
    )


def said_by(work):
    """The shape of the result, or the words of the error."""
    try:
        return work().shape
    except ValueError as err:
        return str(err)


def test_as_many_rows_as_a_grid_has_blocks_along_its_first_axis():
    """Along the others there are 65535, which 8.4 million places would exceed."""
    launched = []
    with in_tf32() as device, patch.object(implicit_gemm, "launch", lambda *a, **_: launched.append(a)):
        x, w, y = (device.xp.zeros(16, np.float32) for _ in range(3))
        implicit_gemm._launch("forward", (x, w), y, (), rows=4096 * 4096, columns=16, depth=16)
    assert launched[0][2] == (65536, 1, 1)


def test_an_older_gpu_has_no_such_instructions(monkeypatch):
    implicit_gemm._works.cache_clear()
    monkeypatch.setattr(strict_cupy._CudaDevice, "compute_capability", "75")
    assert not taken()
    implicit_gemm._works.cache_clear()


def test_a_gpu_that_multiplies_wrongly_is_noticed_before_it_trains():
    implicit_gemm._works.cache_clear()
    bug = SourceBug("implicit_gemm", "", "term + lane % 4 +", "term + lane / 8 +")
    with planted_in_source(bug), pytest.raises(UserError, match="tensor cores multiply wrongly; leave --tf32 out"):
        taken()
    assert taken()


def test_without_tf32_they_are_left_alone(monkeypatch):
    monkeypatch.setenv("CUPY_TF32", "0")
    arrays = CASES[0].arrays()
    with fast_gpu() as device, patch.object(implicit_gemm, "_launch", None):
        all_of(*map(device.put, arrays.values()), CASES[0].geometry)


def test_images_that_lie_between_two_fetches_are_copied():
    case = CASES[0]
    arrays = case.arrays()
    with in_tf32() as device:
        w = device.put(arrays["w"])
        memory = device.xp.zeros(arrays["x"].size + 1, np.float32)
        odd = memory[1:].reshape(arrays["x"].shape)
        odd[...] = device.put(arrays["x"])
        expected = ops.conv2d(device.put(arrays["x"]), w, case.geometry).get()
        assert np.array_equal(ops.conv2d(odd, w, case.geometry).get(), expected)


def test_each_is_one_launch_and_another_where_there_are_parts(monkeypatch):
    launched, kernel = [], launch._kernel
    monkeypatch.setattr(launch, "_kernel", lambda *of: launched.append(of[2]) or kernel(*of))
    arrays = CASES[0].arrays()
    with in_tf32() as device:
        monkeypatch.setattr(implicit_gemm, "STEPS", 2)
        for blocks in (1, implicit_gemm.BLOCKS):
            monkeypatch.setattr(implicit_gemm, "BLOCKS", blocks)
            all_of(*map(device.put, arrays.values()), CASES[0].geometry)
    once = ["forward", "input_grad", "weight_grad", "weight_grad"]
    assert launched == once + [name for one in once for name in (one, "add_parts")]


@pytest.mark.parametrize(
    ("blocks", "steps", "parts"),
    [(1, 7, 1), (1, 8, 1), (1, 16, 2), (50, 64, 2), (132, 64, 1), (500, 64, 1), (1, 999, 32)],
)
def test_sums_are_cut_where_there_are_few_blocks_with_much_to_do(blocks, steps, parts):
    assert implicit_gemm._parts(blocks, steps) == parts


# A checker that cannot fail is no checker ---------------------------------------------------------------

SOURCE_BUGS = [
    SourceBug("implicit_gemm", "", *change)
    for change in [
        ("(unsigned)n < (unsigned)count &&", ""),
        ("(unsigned)h < (unsigned)height &&", ""),
        ("&& (unsigned)w < (unsigned)width", ""),
        ("has(n, h, w) ? at(n, h, w) :", "has(n, h, w) ? at(0, h, w) :"),
        ("n * to_image + h * to_row + w", "n * to_image + h * width * channels + w"),
        ("NOWHERE = -4;", "NOWHERE = -1;"),
        ("(int)(i / width % height), (int)(i % width)", "(int)(i % height), (int)(i / height % width)"),
        ("a(k / channels / width), b(k / channels % width)", "a(k / channels % width), b(k / channels / width)"),
        ("if (c < channels) return false;", "return false;"),
        ("c -= channels;", "c = 0;"),
        ("if (++b == width) b = 0, ++a;", "++b;"),
        ("b = 0, ++a;", "b = 0;"),
        ("p.h * stride_h - top,", "p.h * stride_h - left,"),
        ("p.w * stride_w - left}", "p.w * stride_h - left}"),
        ("s.corner(s.place(m + APART * i))", "s.corner(s.place(m + 8 * i))"),
        ("if (tap.next(s.taps_w, s.channels)) look();", "tap.next(s.taps_w, s.channels);"),
        ("w += STEP * s.outputs;", "w += STEP;"),
        ("w += term * s.outputs + n;", "w += n;"),
        ("column + APART * i < s.outputs};\n    }\n    __device__ int result(int m) const { return m", "true};\n    }\n    __device__ int result(int m) const { return m"),
        ("{x.data + (tap.c + at[i]), at[i] >= 0}", "{x.data + at[i], at[i] >= 0}"),
        ("{x.data + (tap.c + at[i]), at[i] >= 0}", "{x.data + (tap.c + at[i]), true}"),
        ("s.top * (s.stride_h - 1) + phase_h", "s.top + phase_h"),
        ("first_w + p.w * s.stride_w", "first_w + p.w * s.stride_h"),
        ("p.h < s.height && p.w < s.width ?", "p.h < s.height ?"),
        ("(p.w + s.left) / s.stride_w", "p.w / s.stride_w"),
        ("nearest[i].h - tap.a", "nearest[i].h + tap.a"),
        ("phase_h + tap.a * s.stride_h", "phase_h + tap.a"),
        ("s.taps_w - phase_w + s.stride_w - 1", "s.taps_w + s.stride_w - 1"),
        ("if (tap.next(seen_w, s.outputs)) look();", "if (tap.next(s.taps_w, s.outputs)) look();"),
        ("Tap(k, max(seen_w, 1), s.outputs)", "Tap(k, s.taps_w, s.outputs)"),
        ("(line + APART * i) * s.outputs", "(line + i) * s.outputs"),
        ("step = s.place(STEP);", "step = {0, 0, STEP};"),
        ("here.w -= s.places_w, ++here.h;", "here.w -= s.places_w;"),
        ("here.h -= s.places_h, ++here.n;", "++here.n;"),
        ("here.n += step.n;", ""),
        ("return {row + APART * i, here.n < s.images &&", "return {row + APART * i,"),
        ("x.at(0, taps[i].a, taps[i].b) + taps[i].c", "x.at(0, taps[i].a, taps[i].b)"),
        (": term * BELOW + row;", ": term * STEP + row;"),
        ("ALONG_SUM ? STEP + 4 :", "ALONG_SUM ? STEP + 3 :"),
        ("4 * (thread % 16);", "4 * (thread % 8);"),
        ("thread / 4 % 2 * 4 + thread / 8 % 4", "thread / 4 % 2 * 4 + thread / 8 % 2"),
        ("8 * (DOWN ? q % 2 : q / 2)", "8 * (DOWN ? q / 2 : q % 2)"),
        ("term + lane % 4 + after", "term + lane / 8 + after"),
        ("place(row + lane % 8 + below", "place(row + lane / 4 + below"),
        ("to[q] = tf32(__uint_as_float(to[q]))", "to[q] = to[q]"),
        ("stage(memory, step), 8 * half);", "stage(memory, step), 0);"),
        ("right[j / 2] + j % 2 * 2", "right[j / 2] + j % 2"),
        ("wait_for_groups<AHEAD - 1>", "wait_for_groups<AHEAD>"),
        ("wait_for_groups<AHEAD - 1>();\n            __syncthreads();", "wait_for_groups<AHEAD - 1>();"),
        ("memory + step % STAGES *", "memory + step % AHEAD *"),
        ("fetch_step(stage(memory, step));\n            end_of_group();", "fetch_step(stage(memory, step));"),
        ("m < p.rows() ? p.result(m) : -1;", "m <= p.rows() ? p.result(m) : -1;"),
        ("if (n >= p.columns()) continue;", ""),
        ("sums[i][j][2 * half + 1] +", "sums[i][j][2 * half] +"),
        ("16 * i + g + 8 * half;", "16 * i + g + 4 * half;"),
        ("const Two there = add ? *two : Two{};", "const Two there = {};"),
        ("block.walk(part * each, min(steps, part * each + each), memory)", "block.walk(part * each, steps, memory)"),
        ("(steps + parts - 1) / parts", "steps / parts"),
        ("part = blockIdx.z % parts;", "part = 0;"),
        ("x_of, blockIdx.z / parts)", "x_of, blockIdx.z)"),
        ("float sum = add ? total[i] : 0;", "float sum = 0;"),
        ("compute(p, memory, w + part * size,", "compute(p, memory, w,"),
    ]
]  # fmt: skip

BUGS = [
    Bug("sizes: padding of the bottom on the left", implicit_gemm._sizes, "geometry.padding[2]", "geometry.padding[1]"),
    Bug("sizes: strides exchanged", implicit_gemm._sizes, "*geometry.stride", "*geometry.stride[::-1]"),
    Bug("launch: parts add to what was there", implicit_gemm._launch, "add and at_once", "add or not at_once"),
    Bug("launch: the total overwritten by parts", implicit_gemm._launch, "np.bool_(add),", "np.bool_(False),"),
    Bug("launch: of several phases the first", implicit_gemm._launch, "parts * phases)", "parts)"),
    Bug("launch: too few rows of blocks", implicit_gemm._launch, "-(-rows // ROWS)", "max(1, rows // ROWS)"),
    Bug("input gradient: pixels of some phases left out", implicit_gemm.conv2d_input_grad, "-(-dx.shape[1] // s)", "dx.shape[1] // s"),
    Bug("weight gradient: not added", conv.conv2d_weight_grad, "geometry, add=True", "geometry, add=False"),
]  # fmt: skip


def is_caught(cases=CASES):
    """Whether a result is wrong now; an operation that stops with an error does not count, a bad launch does."""
    try:
        return any(not worst(case, order=order) <= TOLERANCE for case in cases for order in ("C", "rows first"))
    except BadLaunch:
        return True


def is_caught_in_source():
    """By narrow blocks if it can be: without the wide ones, the compiler has half as much to do."""
    narrow = [case for case in CASES if max(case.channels) <= implicit_gemm.NARROW]
    with planted_in_source(SourceBug("implicit_gemm", "", "else compute_part<128>", "else compute_part<64>")):
        if is_caught(narrow):
            return True
    return is_caught()


def test_without_a_bug_nothing_is_caught():
    assert not is_caught_in_source()


@pytest.mark.parametrize("bug", SOURCE_BUGS, ids=lambda bug: bug.right[:40])
def test_every_bug_in_the_source_is_caught(bug):
    with planted_in_source(bug):
        assert is_caught_in_source()


def test_a_total_that_lies_between_two_writes_is_added_to():
    case = CASES[0]
    arrays = case.arrays()
    with in_tf32() as device, patch.object(implicit_gemm, "STEPS", 1000):  # in one part
        x, dy = device.put(arrays["x"]), device.put(arrays["dy"])
        totals = [device.xp.ones(arrays["w"].size + odd, np.float32)[odd:].reshape(arrays["w"].shape) for odd in (0, 1)]
        for total in totals:
            ops.conv2d_weight_grad(x, dy, case.kernel, case.geometry, total)
        assert np.array_equal(*(total.get() for total in totals))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.story)
def test_every_bug_is_caught(bug):
    with planted(bug):
        assert is_caught()
