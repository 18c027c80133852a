"""Fast against plain on huge and tiny finite numbers: the range in which twins agree, and that it ends there.

Powers of ten are drawn for the arrays of a twin. A range says which; products of arrays that an operation makes, on
the way or as its result, lie in it too.
"""

from collections.abc import Callable
from types import SimpleNamespace as Powers
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigan import ops
from minigan.functional.patches import Geometry
from tests.kernels.twins import TWINS, Arrays, draw, fast, loops_there_are, plain_float64
from tests.strategies import normal, seeds

LARGEST = {np.float32: 38, np.float64: 308}  # the largest power of ten of a type
NORMAL = {np.float32: -37, np.float64: -307}  # the least one above the smallest normal number
PRECISE = {np.float32: -29, np.float64: -290}  # beside which the smallest normal number is less than rounding
TILES = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
NORMS = tuple(name for name in TWINS if "batchnorm" in name)

both_precisions = pytest.mark.parametrize("dtype", LARGEST, ids=["float32", "float64"])
all_loops = pytest.mark.parametrize("loops", loops_there_are().values(), ids=loops_there_are())


def span(name: str, dtype: Any) -> tuple[int, int]:
    """The least and the largest power of ten of an array.

    Three decades are left at the upper end, for sums of several numbers. Fast kernels make zero of subnormal numbers
    (`minigan.kernels.subnormals`). Where one that was made on the way may be multiplied by a large one, or divided by
    a small one, this must be less than the rounding of what it is added to: in tiles, batch normalisation and Adam.
    So it must in an average, each of whose two shares may become zero.
    """
    return (PRECISE if name in (*TILES, *NORMS, "in_pieces", "move_average") else NORMAL)[dtype], LARGEST[dtype] - 3


def products(name: str, p: Powers) -> tuple[int, ...]:
    """Powers of what an operation multiplies; eps stands beside the variance, and underflow of a square is no loss."""
    if name in NORMS:
        upstream = (max(p.dy, 0) if name.startswith("shared") else p.dy) + p.gamma  # in shares, others have 0.25
        square = 2 * max(p.x, 0)
        return square, p.dy + p.x, upstream, upstream - square, p.gamma - square, p.gamma + min(p.x, 0)
    return {
        "conv2d": lambda: (p.x + p.w, p.x + p.own),
        "conv2d_input_grad": lambda: (p.dy + p.w,),
        "conv2d_weight_grad": lambda: (p.x + p.dy,),
        "dense": lambda: (p.x + p.w,),
        "dense_input_grad": lambda: (p.dy + p.w,),
        "dense_weight_grad": lambda: (p.x + p.dy, p.x + p.w),
        "in_pieces": lambda: (2 * max(p.gradient, 0),),
    }.get(name, tuple)()


# The power that rounding scales with, for each result that may cancel without being a sum of products.
SIZES: dict[str, Callable[[Powers], tuple[int, ...]]] = {
    "batchnorm": lambda p: (p.gamma, p.x, 2 * p.x, -max(p.x, 0), min(p.x, 0), 0),
    "batchnorm_leaky": lambda p: (p.gamma, p.x, 2 * p.x),
    "batchnorm_backward": lambda p: (p.dy + p.gamma - max(p.x, 0), p.dy + min(p.x, 0), p.dy),
    "batchnorm_leaky_backward": lambda p: (p.dy + p.gamma - max(p.x, 0), p.dy + min(p.x, 0), p.dy),
    "sync_batchnorm": lambda p: (p.gamma, max(p.x, 0), 2 * max(p.x, 0), -max(p.x, 0), 0, 0),
    "sync_batchnorm_backward": lambda p: (max(p.dy, 0) + p.gamma - max(p.x, 0), p.dy, p.dy),
    "tanh_backward": lambda p: (p.dy,),
    "upsample_nearest_backward": lambda p: (p.dy,),
    "in_pieces": lambda p: (max(p.theta, p.moment, p.gradient, 2 * p.gradient), max(p.moment, 2 * p.gradient)),
}


@st.composite
def powers_of_arrays(draw_: Any, name: str, dtype: Any) -> dict[str, int]:
    """A power for each array, often an end of the range; all halved until what is multiplied lies in it too."""
    low, high = span(name, dtype)
    power = st.sampled_from([low, high]) | st.integers(low, high)
    found = {key: draw_(power) for key in sorted(draw(name, 0)[0])}
    if name in NORMS:
        found["beta"] = found["gamma"]  # they meet in a sum, and either could hide the other
    while not all(low <= product <= high for product in products(name, Powers(**found))):
        found = {key: int(power / 2) for key, power in found.items()}
    return found


def scaled(name: str, seed: int, dtype: Any, powers: dict[str, int]) -> tuple[Arrays, Any]:
    """Arrays for a call, times powers of ten, without what is subnormal then; eps grows with the variance."""
    arrays, extra = draw(name, seed, dtype)
    arrays = {key: (array * np.float64(10.0) ** powers[key]).astype(dtype) for key, array in arrays.items()}
    for array in arrays.values():
        array[abs(array) < np.finfo(dtype).tiny] = 0
    if name in NORMS:
        more = 10.0 ** (2 * max(powers["x"], 0))
        extra = (extra[0] * more, extra[1]) if isinstance(extra, tuple) else extra * more
    return arrays, extra


def units(name: str, results: list[np.ndarray], arrays: Arrays, extra: Any, powers: dict[str, int]) -> float:
    """As `errors`, in units that go with the powers; below the smallest normal number nothing is left."""
    truth = plain_float64(name, arrays, extra)
    absolute = {key: abs(array) for key, array in arrays.items()}
    scales = plain_float64(name, absolute, extra) if TWINS[name].sums else truth
    sizes = SIZES.get(name, lambda _: (-400,) * len(truth))(Powers(**powers))
    found = [0.0]
    for result, true, scale, size in zip(results, truth, scales, sizes, strict=True):
        assert np.isfinite(true).all(), "the range is too large"
        assert np.isfinite(result).all()
        limits = np.finfo(result.dtype)
        unit = max(limits.eps * max(abs(scale).max(initial=0), 10.0**size), limits.tiny)
        found.append(abs(result - true).max(initial=0) / unit)
    return max(found)


@pytest.mark.parametrize("name", TWINS)
@all_loops
@both_precisions
@settings(max_examples=12)
@given(data=st.data(), seed=seeds)
def test_twins_agree_on_huge_and_tiny_numbers(name, loops, dtype, data, seed):
    powers = data.draw(powers_of_arrays(name, dtype))
    arrays, extra = scaled(name, seed, dtype, powers)
    with fast(2, loops):
        results = TWINS[name].call(arrays, extra)
    assert units(name, results, arrays, extra, powers) <= TWINS[name].tolerance


@all_loops
def test_tiles_leave_the_range_before_their_result_does(loops):
    """So the range has an end: 1e38 times 1e-37 is 10, but the sum of four numbers of 1e38 is none in float32."""
    x, w = np.full((1, 8, 8, 2), 1e38, np.float32), np.full((4, 4, 2, 2), 1e-37, np.float32)
    x[:, ::4] *= -1
    x[:, :, ::4] *= -1
    geometry = Geometry((2, 2), (1, 1, 1, 1))
    assert np.isfinite(ops.conv2d(x, w, geometry)).all()
    with fast(1, loops), np.errstate(all="ignore"):
        assert not np.isfinite(ops.conv2d(x, w, geometry)).all()
        assert np.isfinite(ops.conv2d(x / 1000, w, geometry)).all()


@all_loops
def test_windows_of_zeros_are_zero_but_for_rounding_of_their_neighbours(loops):
    """A tile has other numbers too, which cancel on paper only: by the definition these outputs are 0."""
    x, w = normal(0, 1, 8, 8, 1), normal(1, 4, 4, 1, 1)
    x[:, 2:, 2:] = 0
    geometry = Geometry((2, 2), (1, 1, 1, 1))
    plain = ops.conv2d(x, w, geometry)
    with fast(1, loops):
        found = ops.conv2d(x, w, geometry)
    zeros = plain == 0
    assert zeros.any()
    assert 0 < abs(found[zeros]).max() <= 80 * np.finfo(np.float64).eps * abs(plain).max()
