"""Inputs for the operations on images: fixed cases for the golden values, and builders for any others.

A case holds arrays and settings under the names of the twin's parameters in ``torch_twins.py``. Settings
of more than one number are integer arrays: kernel, stride, dilation and output_padding are (vertical,
horizontal), padding is (top, bottom, left, right).
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from reference.conv import Pair, Sides, blank_canvas, count_places

Case: TypeAlias = dict[str, Any]
Shape: TypeAlias = tuple[int, int, int, int]

# x, kernel, stride, padding, dilation, output channels, groups
CONVOLUTIONS: list[tuple[Shape, Pair, Pair, Sides, Pair, int, int]] = [
    ((1, 2, 3, 2), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 3, 1),
    ((2, 5, 4, 2), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 3, 1),
    ((2, 6, 4, 2), (4, 4), (2, 2), (1, 1, 1, 1), (1, 1), 3, 1),  # halves the image
    ((1, 7, 6, 2), (5, 5), (2, 2), (2, 2, 2, 2), (1, 1), 2, 1),
    ((1, 6, 7, 2), (2, 3), (2, 1), (0, 0, 1, 1), (1, 1), 2, 1),  # each axis has its own settings
    ((1, 7, 8, 1), (3, 2), (2, 3), (1, 1, 0, 0), (2, 3), 2, 1),
    ((1, 5, 4, 2), (3, 4), (2, 2), (0, 1, 2, 0), (1, 1), 2, 1),  # each side has its own padding
    ((1, 4, 5, 2), (3, 2), (1, 2), (3, 0, 0, 2), (2, 2), 2, 1),
    ((1, 4, 4, 4), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 6, 2),
    ((1, 5, 4, 3), (3, 3), (2, 2), (1, 0, 0, 1), (1, 1), 3, 3),
    ((2, 4, 5, 4), (2, 3), (1, 2), (0, 2, 1, 1), (2, 1), 2, 2),
    ((1, 6, 6, 1), (2, 2), (3, 3), (0, 0, 0, 0), (1, 1), 1, 1),  # pixels between the windows that nobody sees
]
# x, kernel, stride, padding, output padding, dilation, output channels, groups
TRANSPOSED: list[tuple[Shape, Pair, Pair, Sides, Pair, Pair, int, int]] = [
    ((1, 2, 3, 2), (1, 1), (1, 1), (0, 0, 0, 0), (0, 0), (1, 1), 3, 1),
    ((2, 3, 2, 2), (4, 4), (2, 2), (1, 1, 1, 1), (0, 0), (1, 1), 3, 1),  # doubles the image
    ((1, 3, 3, 2), (5, 5), (2, 2), (2, 2, 2, 2), (1, 1), (1, 1), 2, 1),  # so does this
    ((1, 2, 3, 2), (3, 2), (3, 2), (1, 1, 0, 0), (2, 1), (1, 1), 2, 1),
    ((1, 2, 2, 1), (2, 3), (3, 2), (0, 0, 1, 1), (1, 0), (2, 1), 2, 1),
    ((1, 2, 3, 2), (3, 4), (2, 2), (0, 1, 2, 0), (1, 0), (1, 1), 2, 1),
    ((1, 3, 2, 4), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (1, 1), 6, 2),
    ((1, 2, 2, 3), (3, 2), (2, 1), (1, 0, 0, 1), (0, 0), (1, 2), 3, 3),
    ((1, 2, 2, 1), (2, 2), (3, 3), (0, 0, 0, 0), (2, 2), (1, 1), 1, 1),  # rows that nobody paints
]
# x, kernel, stride, padding
POOLS: list[tuple[Shape, Pair, Pair, Sides]] = [
    ((1, 2, 3, 2), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((2, 4, 6, 2), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((1, 5, 7, 3), (3, 3), (2, 2), (1, 1, 1, 1)),
    ((1, 6, 5, 2), (2, 3), (1, 2), (0, 1, 2, 0)),
    ((1, 5, 5, 1), (2, 2), (3, 3), (0, 0, 0, 0)),
]
GLOBAL: list[Shape] = [(1, 1, 1, 1), (3, 4, 2, 3), (2, 1, 5, 2)]
# x (for PixelShuffle with the channels of its output), factor
ENLARGED: list[tuple[Shape, int]] = [((1, 1, 1, 1), 2), ((2, 3, 4, 2), 2), ((1, 2, 3, 3), 3), ((1, 2, 2, 1), 4)]


def conv2d(
    rng: np.random.Generator,
    x: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    dilation: Pair,
    channels: int,
    groups: int,
) -> Case:
    """Random x (N, H, W, I), w (kh, kw, I/G, O) and dy (N, P, Q, O)."""
    settings = {"stride": np.array(stride), "padding": np.array(padding), "dilation": np.array(dilation)}
    w = rng.standard_normal((*kernel, x[3] // groups, channels))
    dy = rng.standard_normal((x[0], *places(x, kernel, stride, padding, dilation), channels))
    return {"x": rng.standard_normal(x), "w": w, **settings, "groups": groups, "dy": dy}


def conv_transpose2d(
    rng: np.random.Generator,
    x: Shape,
    kernel: Pair,
    stride: Pair,
    padding: Sides,
    output_padding: Pair,
    dilation: Pair,
    channels: int,
    groups: int,
) -> Case:
    """Random x (N, H, W, I), w (kh, kw, O/G, I) and dy (N, H', W', O)."""
    settings = {"stride": np.array(stride), "padding": np.array(padding), "dilation": np.array(dilation)}
    w = rng.standard_normal((*kernel, channels // groups, x[3]))
    _, height, width, _ = blank_canvas(x, w.shape, stride, output_padding, dilation, groups).shape
    dy = rng.standard_normal((x[0], height - sum(padding[:2]), width - sum(padding[2:]), channels))
    more = {"output_padding": np.array(output_padding), "groups": groups}
    return {"x": rng.standard_normal(x), "w": w, **settings, **more, "dy": dy}


def pool(rng: np.random.Generator, x: Shape, kernel: Pair, stride: Pair, padding: Sides) -> Case:
    """Random x (N, H, W, C) and dy (N, P, Q, C)."""
    settings = {"kernel": np.array(kernel), "stride": np.array(stride), "padding": np.array(padding)}
    dy = rng.standard_normal((x[0], *places(x, kernel, stride, padding, (1, 1)), x[3]))
    return {"x": rng.standard_normal(x), **settings, "dy": dy}


def global_average(rng: np.random.Generator, x: Shape) -> Case:
    """Random x (N, H, W, C) and dy (N, C)."""
    return {"x": rng.standard_normal(x), "dy": rng.standard_normal((x[0], x[3]))}


def upsample(rng: np.random.Generator, x: Shape, factor: int) -> Case:
    """Random x (N, H, W, C) and dy (N, f H, f W, C)."""
    dy = rng.standard_normal((x[0], factor * x[1], factor * x[2], x[3]))
    return {"x": rng.standard_normal(x), "factor": factor, "dy": dy}


def pixel_shuffle(rng: np.random.Generator, x: Shape, factor: int) -> Case:
    """Random x (N, H, W, C r^2) and dy (N, r H, r W, C)."""
    case = upsample(rng, x, factor)
    return case | {"x": rng.standard_normal((*x[:3], x[3] * factor**2))}


def pixel_unshuffle(rng: np.random.Generator, x: Shape, factor: int) -> Case:
    """The same the other way: random x (N, r H, r W, C) and dy (N, H, W, C r^2)."""
    case = pixel_shuffle(rng, x, factor)
    return case | {"x": case["dy"], "dy": case["x"]}


def places(x: Shape, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair) -> Pair:
    """(P, Q): how many windows there are below and beside each other."""
    top, bottom, left, right = padding
    p = count_places(x[1], kernel[0], stride[0], top, bottom, dilation[0])
    return p, count_places(x[2], kernel[1], stride[1], left, right, dilation[1])


def listed(build: Callable[..., Case], table: list[Any]) -> Callable[[np.random.Generator], Iterator[Case]]:
    """A function that builds one case from every row of a table."""

    def cases(rng: np.random.Generator) -> Iterator[Case]:
        for row in table:
            yield build(rng, *row)

    return cases


CASES = {
    "conv2d": listed(conv2d, CONVOLUTIONS),
    "conv_transpose2d": listed(conv_transpose2d, TRANSPOSED),
    "average_pool": listed(pool, POOLS),
    "max_pool": listed(pool, POOLS),
    "global_average": listed(global_average, [(shape,) for shape in GLOBAL]),
    "upsample_nearest": listed(upsample, ENLARGED),
    "upsample_bilinear": listed(upsample, ENLARGED),
    "pixel_shuffle": listed(pixel_shuffle, ENLARGED),
    "pixel_unshuffle": listed(pixel_unshuffle, ENLARGED),
}
