"""Every operation that has a fast twin, as a function of named arrays, and a way to make small arrays go in pieces.

A **call** uses the names of `minigan.ops`, so it is plain or fast by where it runs. Backward operations are called
after their forward ones, with the cache that those made.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from minigan import ops
from minigan.backend import array_module
from minigan.functional.patches import Geometry
from minigan.kernels import batchnorm, blocks, conv, dense, dropout, maxout, pointwise, resample, updates, winograd
from minigan.kernels.loops import COMPILED
from tests.strategies import normal

# Of images. Windows whose rows have few numbers have loops of their own (see conftest.py), compiled for each length.
CHANNELS = [1, 2, 5]
# Where the loops are used.
ROOMS = (batchnorm, conv, dropout, maxout, pointwise, updates, winograd)
# Limits that no small array reaches, and values which it does: several pieces, partial ones, several workers.
LIMITS = [
    (blocks, "PIECE", 24), (pointwise, "PIECE", 24), (pointwise, "SMALL", 5), (batchnorm, "SMALL", 4),
    (updates, "PIECE", 24), (updates, "SMALL", 5), (dropout, "SMALL", 5),
    (dense, "PRODUCTS", 6), (conv, "WINDOWS", 60), (conv, "SMALL", 7), (conv, "ADDED", 5), (resample, "IMAGES", 1),
    (winograd, "TILES", 8), (winograd, "WEIGHT_TILES", 5), (winograd, "OVERHEAD", 0), (winograd, "MOVE", 0),
    (winograd, "TRANSFORM", 0), (winograd, "TURNED", 3),
]  # fmt: skip


def loops_there_are() -> dict[str, ModuleType]:
    """The modules with the inner loops, by name."""
    found = {"NumPy": blocks}
    if COMPILED:
        from minigan.kernels import compiled

        found["numba"] = compiled
    return found


@contextmanager
def small_limits() -> Iterator[None]:
    """Cut also small arrays into pieces, and compute also narrow convolutions on tiles."""
    with ExitStack() as stack:
        for module, name, value in LIMITS:
            assert getattr(module, name) > value
            stack.enter_context(patch.object(module, name, value))
        yield


@contextmanager
def fast(threads: int, loops: ModuleType | None = None) -> Iterator[None]:
    """Fast kernels with small limits, with the given inner loops."""
    with ExitStack() as stack:
        stack.enter_context(small_limits())
        for room in ROOMS if loops else ():
            stack.enter_context(patch.object(room, "loops", loops))
        stack.enter_context(ops.fast_kernels(threads))
        yield


Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Twin:
    """How an operation is called, and on what.

    `call(arrays, extra)` returns arrays; `shapes(rng)` draws the shapes of its arrays and whatever else it takes.
    """

    call: Callable[[Arrays, Any], list[np.ndarray]]
    shapes: Callable[[np.random.Generator], tuple[dict[str, tuple[int, ...]], Any]]
    sums: bool = False  # whether each result is a sum of products
    tolerance: float = 4.0  # see `errors`


def _in_pieces(a: Arrays, _: None) -> list[np.ndarray]:
    def change(theta: np.ndarray, gradient: np.ndarray, moment: np.ndarray) -> None:
        moment *= 0.5
        moment += gradient * gradient
        theta -= 0.25 * gradient + moment

    theta, moment = a["theta"].copy(), a["moment"].copy()
    ops.in_pieces(theta, a["gradient"], moment, change=change)
    return [theta, moment]


def _move_average(a: Arrays, shares: tuple[float, float]) -> list[np.ndarray]:
    average = a["average"].copy()
    ops.move_average(average, a["theta"], shares)
    return [average]


def _dense_weight_grad(a: Arrays, _: None) -> list[np.ndarray]:
    cache, total = ops.dense(a["x"], a["w"])[1], a["total"].copy()
    assert ops.dense_weight_grad(a["dy"], cache, total) is total
    return [ops.dense_weight_grad(a["dy"], cache), total]


def _bias_grads(of: Callable[..., np.ndarray], a: Arrays) -> list[np.ndarray]:
    total = a["total"].copy()
    assert of(a["dy"], total) is total
    return [of(a["dy"]), total]


def _batchnorm(a: Arrays, eps: float) -> list[np.ndarray]:
    y, cache = ops.batchnorm(a["x"], a["gamma"], a["beta"], eps)
    return [y, cache.mean, cache.var, cache.inv_std, cache.x_hat, np.full(1, cache.samples, y.dtype)]


def _batchnorm_backward(a: Arrays, eps: float) -> list[np.ndarray]:
    return list(ops.batchnorm_backward(a["dy"], a["gamma"], ops.batchnorm(a["x"], a["gamma"], a["beta"], eps)[1]))


def _batchnorm_leaky(a: Arrays, extra: tuple[float, float]) -> list[np.ndarray]:
    y, cache = ops.batchnorm_leaky(a["x"], a["gamma"], a["beta"], *extra)
    return [y, cache.norm.mean, cache.norm.var]


def _batchnorm_leaky_backward(a: Arrays, extra: tuple[float, float]) -> list[np.ndarray]:
    _, cache = ops.batchnorm_leaky(a["x"], a["gamma"], a["beta"], *extra)
    return list(ops.batchnorm_leaky_backward(a["dy"], a["gamma"], cache, extra[1]))


def _one_of_two(mine: np.ndarray) -> np.ndarray:
    """As if another process had something else."""
    return np.stack([mine, 0.5 * mine[..., ::-1] + 0.25])


def _sync_batchnorm(a: Arrays, eps: float) -> list[np.ndarray]:
    y, cache = ops.sync_batchnorm(a["x"], a["gamma"], a["beta"], eps, _one_of_two)
    return [y, cache.mean, cache.var, cache.inv_std, cache.x_hat, np.full(1, cache.samples, y.dtype)]


def _sync_batchnorm_backward(a: Arrays, eps: float) -> list[np.ndarray]:
    cache = ops.sync_batchnorm(a["x"], a["gamma"], a["beta"], eps, _one_of_two)[1]
    return list(ops.sync_batchnorm_backward(a["dy"], a["gamma"], cache, _one_of_two))


def _dense_shapes(rng: np.random.Generator, **axes: str) -> tuple[dict[str, tuple[int, ...]], None]:
    size = dict(zip("NIO", rng.integers(1, 9, 3).tolist(), strict=True))
    return {name: tuple(size[axis] for axis in letters) for name, letters in axes.items()}, None


def _image_shapes(rng: np.random.Generator) -> dict[str, tuple[int, ...]]:
    shape = tuple(rng.integers(1, 6, rng.integers(1, 5)).tolist())
    return {"x": shape, "dy": shape}


def _norm_shapes(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], float]:
    *leading, channels = rng.integers(1, 6, rng.integers(2, 5)).tolist()
    leading[0] += 1  # at least two samples
    shape = (*leading, channels)
    # A large eps, as the smallest variance of a few samples bounds how sharp the comparison can be.
    return {"x": shape, "dy": shape, "gamma": (channels,), "beta": (channels,)}, 0.1


def _norm_leaky_shapes(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], tuple[float, float]]:
    shapes, eps = _norm_shapes(rng)
    return shapes, (eps, float(rng.choice([0.0, 0.2, 1.0, 1.5])))


def _conv_shapes(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], Geometry]:
    """Three of four are such as are computed on tiles: square kernels, equal strides of 1 or 2.

    "own" are weights for the same image with a group for each channel.
    """
    if rng.random() < 0.75:
        stride = int(rng.integers(1, 3))
        kernel = (int(rng.integers(stride + 1, 3 * stride + 1)),) * 2
        strides = (stride, stride)
    else:
        kernel, strides = tuple(rng.integers(1, 5, 2).tolist()), tuple(rng.integers(1, 4, 2).tolist())
    padding = tuple(rng.integers(0, 3, 4).tolist())
    geometry = Geometry(strides, padding)
    reach = [k - before - after for k, before, after in zip(kernel, padding[::2], padding[1::2], strict=True)]
    more = (14, 20) if rng.random() < 0.3 else (0, 8)  # large enough for large tiles, or not
    size = tuple(max(1, least) + int(rng.integers(*more)) for least in reach)
    n, (inputs, outputs) = int(rng.integers(1, 6)), rng.choice(CHANNELS, 2).tolist()
    shapes = {
        "x": (n, *size, inputs),
        "w": (*kernel, inputs, outputs),
        "dy": (n, *geometry.out_size(size, kernel), outputs),
        "own": (*kernel, 1, inputs),
    }
    return shapes, geometry


def _conv_bias_shapes(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], Geometry]:
    shapes, geometry = _conv_shapes(rng)
    return shapes | {"total": shapes["dy"][3:]}, geometry


def _conv2d(a: Arrays, geometry: Geometry) -> list[np.ndarray]:
    by_channel = replace(geometry, groups=a["x"].shape[3])
    return [ops.conv2d(a["x"], a["w"], geometry), ops.conv2d(a["x"], a["own"], by_channel)]


def _conv2d_weight_grad(a: Arrays, geometry: Geometry) -> list[np.ndarray]:
    kernel, total = a["w"].shape[:2], a["w"].copy()
    assert ops.conv2d_weight_grad(a["x"], a["dy"], kernel, geometry, total) is total
    return [ops.conv2d_weight_grad(a["x"], a["dy"], kernel, geometry), total]


def _slope(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], float]:
    return _image_shapes(rng), float(rng.choice([0.0, 0.01, 0.2]))


def _maxout(a: Arrays, pieces: int) -> list[np.ndarray]:
    largest, cache = ops.maxout(a["x"], pieces)
    return [largest, cache.winner.astype(largest.dtype)]


def _maxout_shapes(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], int]:
    n, units, pieces = rng.integers(1, 6, 3).tolist()
    return {"x": (4 * n, units * pieces), "dy": (4 * n, units)}, pieces  # enough samples for several workers


def _upsample_shapes(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], int]:
    n, height, width, channels, factor = rng.integers(1, 5, 5).tolist()
    return {"x": (n, height, width, channels), "dy": (n, factor * height, factor * width, channels)}, factor


def _dropout_shapes(rng: np.random.Generator, numbers: str) -> tuple[dict[str, tuple[int, ...]], float]:
    """A mask for each of the numbers, or one for each channel."""
    shape = _image_shapes(rng)["x"]
    by_channel = len(shape) > 1 and rng.random() < 0.5
    return {numbers: shape, "keep": (shape[0], *(1 for _ in shape[1:-1]), shape[-1]) if by_channel else shape}, 1.25


def _dropout_backward(a: Arrays, scale: float) -> list[np.ndarray]:
    cache = ops.dropout(0 * a["dy"], a["keep"] > 0, scale)[1]
    return [ops.dropout_backward(a["dy"], cache)]


TWINS = {
    "conv2d": Twin(_conv2d, _conv_shapes, sums=True, tolerance=80),
    "conv2d_input_grad": Twin(
        lambda a, g: [ops.conv2d_input_grad(a["dy"], a["w"], a["x"].shape[1:3], g)],
        _conv_shapes, sums=True, tolerance=80,
    ),
    "conv2d_weight_grad": Twin(
        _conv2d_weight_grad,
        _conv_shapes, sums=True, tolerance=80,
    ),
    "conv2d_bias_grad": Twin(lambda a, _: _bias_grads(ops.conv2d_bias_grad, a), _conv_bias_shapes, sums=True),
    "dense_bias_grad": Twin(
        lambda a, _: _bias_grads(ops.dense_bias_grad, a), lambda rng: _dense_shapes(rng, dy="NO", total="O"), sums=True
    ),
    "dense": Twin(
        lambda a, _: [
            ops.dense(a["x"], a["w"], a["b"])[0],
            ops.dense(a["x"], a["w"])[0],
            ops.dense(a["x"], a["w"][:, :1], a["b"][:1])[0],
        ],
        lambda rng: _dense_shapes(rng, x="NI", w="IO", b="O"), sums=True,
    ),
    "dense_input_grad": Twin(
        lambda a, _: [ops.dense_input_grad(a["dy"], a["w"])],
        lambda rng: _dense_shapes(rng, dy="NO", w="IO"), sums=True,
    ),
    "dense_weight_grad": Twin(
        _dense_weight_grad, lambda rng: _dense_shapes(rng, x="NI", dy="NO", w="IO", total="IO"), sums=True
    ),
    "batchnorm": Twin(_batchnorm, _norm_shapes, tolerance=16),
    "batchnorm_backward": Twin(_batchnorm_backward, _norm_shapes, tolerance=64),
    "batchnorm_leaky": Twin(_batchnorm_leaky, _norm_leaky_shapes, tolerance=16),
    "batchnorm_leaky_backward": Twin(_batchnorm_leaky_backward, _norm_leaky_shapes, tolerance=64),
    "sync_batchnorm": Twin(_sync_batchnorm, _norm_shapes, tolerance=16),
    "sync_batchnorm_backward": Twin(_sync_batchnorm_backward, _norm_shapes, tolerance=64),
    "relu": Twin(lambda a, _: [ops.relu(a["x"])[0]], _slope, tolerance=0),
    "relu_backward": Twin(lambda a, _: [ops.relu_backward(a["dy"], ops.relu(a["x"])[1])], _slope, tolerance=0),
    "leaky_relu": Twin(lambda a, s: [ops.leaky_relu(a["x"], s)[0]], _slope, tolerance=1),
    "leaky_relu_backward": Twin(
        lambda a, s: [ops.leaky_relu_backward(a["dy"], ops.leaky_relu(a["x"], s)[1], s)], _slope, tolerance=1
    ),
    "tanh": Twin(lambda a, _: [ops.tanh(a["x"])[0]], _slope),
    "tanh_backward": Twin(lambda a, _: [ops.tanh_backward(a["dy"], ops.tanh(a["x"])[1])], _slope),
    "sigmoid": Twin(lambda a, _: [ops.sigmoid(a["x"])[0]], _slope),
    "maxout": Twin(_maxout, _maxout_shapes, tolerance=0),
    "maxout_backward": Twin(
        lambda a, p: [ops.maxout_backward(a["dy"], ops.maxout(a["x"], p)[1])], _maxout_shapes, tolerance=0
    ),
    "dropout": Twin(
        lambda a, s: [ops.dropout(a["x"], a["keep"] > 0, s)[0]], lambda rng: _dropout_shapes(rng, "x"), tolerance=1
    ),
    "dropout_backward": Twin(_dropout_backward, lambda rng: _dropout_shapes(rng, "dy"), tolerance=1),
    "upsample_nearest": Twin(lambda a, f: [ops.upsample_nearest(a["x"], f)], _upsample_shapes, tolerance=0),
    "upsample_nearest_backward": Twin(lambda a, f: [ops.upsample_nearest_backward(a["dy"], f)], _upsample_shapes),
    "in_pieces": Twin(
        _in_pieces, lambda rng: (dict.fromkeys(["theta", "gradient", "moment"], (int(rng.integers(1, 200)),)), None)
    ),
    "move_average": Twin(
        _move_average, lambda rng: (dict.fromkeys(["average", "theta"], (int(rng.integers(1, 200)),)), (0.75, 0.25)),
        tolerance=1,
    ),
}  # fmt: skip


def _running_statistics(a: Arrays, eps: float) -> list[np.ndarray]:
    mean, var = a["gamma"].copy(), a["beta"].copy()
    ops.update_running_statistics(mean, var, ops.batchnorm(a["x"], a["gamma"], a["beta"], eps)[1], 0.25)
    return [mean, var]


def _conv2d_and_seen(a: Arrays, geometry: Geometry) -> list[np.ndarray]:
    y, seen = ops.conv2d_and_seen(a["x"], a["w"], geometry)
    return [y, ops.conv2d_weight_grad(seen, a["dy"], a["w"].shape[:2], geometry)]


def _ghost_backward(a: Arrays, extra: tuple[float, float, int]) -> list[np.ndarray]:
    _, cache = ops.ghost_batchnorm(a["x"], a["gamma"], a["beta"], *extra)
    return list(ops.ghost_batchnorm_backward(a["dy"], a["gamma"], cache, extra[1]))


def _ghost_statistics(a: Arrays, extra: tuple[float, float, int]) -> list[np.ndarray]:
    mean, var = a["gamma"].copy(), a["beta"].copy()
    ops.update_ghost_statistics(mean, var, ops.ghost_batchnorm(a["x"], a["gamma"], a["beta"], *extra)[1], 0.25)
    return [mean, var]


def _ghost_shapes(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], tuple[float, float, int]]:
    """Also with several chunks in a run, and with parts of one sample."""
    parts, (*pixels, channels) = int(rng.integers(1, 4)), rng.integers(1, 6, rng.integers(1, 4)).tolist()
    each = int(rng.integers(1 if math.prod(pixels) > 1 else 2, 6))
    shape = (parts * each, *pixels, channels)
    shapes = {"x": shape, "dy": shape, "gamma": (channels,), "beta": (channels,)}
    return shapes, (0.1, float(rng.choice([0.0, 0.2, 1.0])), parts)


def _activated_shapes(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], tuple[Any, ...]]:
    kinds = [("relu",), ("leaky_relu", 0.2), ("tanh",), ("sigmoid",), ("maxout", 3)]
    operation = kinds[rng.integers(len(kinds))]
    leading = rng.integers(1, 6, 1 if operation[0] == "maxout" else rng.integers(1, 4)).tolist()
    channels = 3 * int(rng.integers(1, 5))
    return {"x": (*leading, channels), "b": (channels,)}, operation


def _add_gradients(a: Arrays, _: None) -> list[np.ndarray]:
    totals = a["gamma_total"].copy(), a["beta_total"].copy()
    ops.add_gradients(a["dgamma"], a["dbeta"], *totals)
    return list(totals)


def _logits(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], dict[str, float]]:
    n, m = rng.integers(1, 30, 2).tolist()
    return {"real": (n, 1), "fake": (m, 1)}, {"smoothing": float(rng.choice([0.0, 0.1])), "scale": 0.5}


def _told_shape(rng: np.random.Generator) -> tuple[int, ...]:
    """Of vectors, or of images, or of something between."""
    return tuple(rng.integers(1, 6, rng.integers(2, 5)).tolist())


def _scaled_pixels(a: Arrays, chosen: int) -> list[np.ndarray]:
    """Bytes made of the numbers, all of them and some, a few of these twice."""
    xp, x = array_module(a["x"]), a["x"]
    pixels = (64 * xp.where(abs(x) < 3, abs(x), 0)).astype(np.uint8)
    some = 3 * xp.arange(chosen) % len(pixels)
    return [ops.scaled_pixels(pixels, of, 2 / 255, shift, x.dtype) for of in (some, None) for shift in (-1.0, 0.0)]


def _aside(a: Arrays, _: None) -> list[np.ndarray]:
    with ops.aside(a["g"]):
        return [2 * a["g"]]


def _logits_of_both(rng: np.random.Generator) -> tuple[dict[str, tuple[int, ...]], tuple[Any, ...]]:
    n, m = rng.integers(1, 30, 2).tolist()
    return {"logits": (n + m, 1)}, (n, float(rng.choice([0.0, 0.1])), 0.5, bool(rng.integers(2)))


# Operations that have a twin on a GPU alone.
GPU_ONLY = {
    "activated": Twin(lambda a, e: [ops.activated(a["x"].copy(), a["b"], *e)[0]], _activated_shapes, tolerance=8),
    "aside": Twin(_aside, lambda rng: ({"g": (int(rng.integers(1, 30)),)}, None), tolerance=0),
    "add_gradients": Twin(
        _add_gradients,
        lambda rng: (
            dict.fromkeys(["dgamma", "dbeta", "gamma_total", "beta_total"], (int(rng.integers(1, 30)),)),
            None,
        ),
        tolerance=1,
    ),
    "both_bce": Twin(lambda a, e: [*ops.both_bce(a["logits"], *e)], _logits_of_both),
    "conv2d_and_seen": Twin(_conv2d_and_seen, _conv_shapes, sums=True, tolerance=80),
    "condition_of_backward": Twin(
        lambda a, _: [ops.condition_of_backward(a["dy"], a["dh"])],
        lambda rng: ({"dh": (shape := _told_shape(rng)), "dy": (shape[0], int(rng.integers(1, shape[-1] + 1)))}, None),
        tolerance=1,
    ),
    "with_condition": Twin(
        lambda a, _: [ops.with_condition(a["x"], a["y"])],
        lambda rng: ({"x": (shape := _told_shape(rng)), "y": (shape[0], int(rng.integers(1, 4)))}, None),
        tolerance=0,
    ),
    "with_condition_backward": Twin(
        lambda a, size: [*ops.with_condition_backward(a["dh"], size)],
        lambda rng: ({"dh": (shape := _told_shape(rng))}, int(rng.integers(1, shape[-1] + 1))),
        tolerance=16,
    ),
    "concatenate": Twin(
        lambda a, _: [ops.concatenate(a["first"], a["second"])],
        lambda rng: (
            (lambda n, m, *rest: {"first": (n, *rest), "second": (m, *rest)})(*rng.integers(1, 6, 4).tolist()),
            None,
        ),
        tolerance=0,
    ),
    "discriminator_bce": Twin(lambda a, o: [*ops.discriminator_bce(a["real"], a["fake"], **o)], _logits),
    "gathered": Twin(
        lambda a, _: [ops.gathered(a["g"])], lambda rng: ({"g": (int(rng.integers(1, 30)),)}, None), tolerance=0
    ),
    "generator_minimax": Twin(lambda a, _: [*ops.generator_minimax(a["fake"])], _logits),
    "generator_non_saturating": Twin(lambda a, _: [*ops.generator_non_saturating(a["fake"])], _logits),
    "mean_probability": Twin(
        lambda a, _: [ops.mean_probability(a["logits"])], lambda rng: ({"logits": (int(rng.integers(1, 30)), 1)}, None)
    ),
    "ghost_batchnorm": Twin(
        lambda a, e: [ops.ghost_batchnorm(a["x"], a["gamma"], a["beta"], *e)[0]], _ghost_shapes, tolerance=16
    ),
    "ghost_batchnorm_backward": Twin(_ghost_backward, _ghost_shapes, tolerance=64),
    "safe_quotient": Twin(
        lambda a, _: [*ops.safe_quotient(a["for_g"], a["for_d"])],
        lambda rng: (dict.fromkeys(["for_g", "for_d"], (int(rng.integers(1, 30)), 1)), None),
    ),
    "scaled_pixels": Twin(
        _scaled_pixels,
        lambda rng: ({"x": tuple(rng.integers(1, 7, rng.integers(1, 4)).tolist())}, int(rng.integers(1, 9))),
        tolerance=1,
    ),
    "sigmoid_backward": Twin(lambda a, _: [ops.sigmoid_backward(a["dy"], ops.sigmoid(a["x"])[1])], _slope),
    "update_ghost_statistics": Twin(_ghost_statistics, _ghost_shapes, tolerance=16),
    "update_running_statistics": Twin(_running_statistics, _norm_shapes, tolerance=16),
}
ALL_TWINS = TWINS | GPU_ONLY
# Operations that draw, and what goes back through them, see test_fast_dropout.py and tests/cuda/test_pcg64.py; all but
# the first have a twin on a GPU alone.
OF_GENERATORS = {"draw_keep", "drawn_dropout", "activated_dropout", "activated_dropout_backward"}


# How the numbers of an array may lie in memory.
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "backwards": lambda array: array[tuple([slice(None, None, -1)] * array.ndim)].copy()[
        tuple([slice(None, None, -1)] * array.ndim)
    ],
    "batch last": lambda array: np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 0, -1)), -1, 0),
}


def draw(name: str, seed: int, dtype: Any = np.float64, layout: str = "C") -> tuple[Arrays, Any]:
    """Random arrays for a call, with a few exact zeros, and whatever else it takes."""
    rng = np.random.default_rng(seed)
    shapes, extra = ALL_TWINS[name].shapes(rng)
    arrays = {}
    for number, (key, shape) in enumerate(shapes.items()):
        array = normal([seed, number], *shape).astype(dtype)
        array[rng.random(shape) < 0.1] = 0
        arrays[key] = LAYOUTS[layout](array)
    return arrays, extra


def misshapen(name: str, seed: int, dtype: Any = np.float64) -> tuple[Arrays, Any]:
    """The same, but one array has one more, or one fewer, along an axis than goes with the others."""
    arrays, extra = draw(name, seed, dtype)
    rng = np.random.default_rng(seed)
    key = str(rng.choice(list(arrays)))
    axis = int(rng.integers(arrays[key].ndim))
    there = list(range(arrays[key].shape[axis]))
    wrong = there[:-1] if there[1:] and rng.random() < 0.5 else [*there, 0]
    return arrays | {key: arrays[key].take(wrong, axis)}, extra


def outcome(name: str, arrays: Arrays, extra: Any) -> list[np.ndarray] | None:
    """What the call gives, or None if it refuses its arrays."""
    try:
        return ALL_TWINS[name].call(arrays, extra)
    except (ValueError, IndexError):
        return None


def plain_float64(name: str, arrays: Arrays, extra: Any) -> list[np.ndarray]:
    """What the operation gives where nothing is fast, in double precision."""
    assert ops.kernels_in_use() == "plain kernels"
    return ALL_TWINS[name].call({key: array.astype(np.float64) for key, array in arrays.items()}, extra)


def errors(name: str, results: list[np.ndarray], arrays: Arrays, extra: Any) -> list[float]:
    """Largest difference of each result from the plain one, in units of the precision and of its scale, see `truth`."""
    return differences(results, truth(name, arrays, extra))


Truth = list[tuple[np.ndarray, float]]  # each result, and what rounding scales with


def truth(name: str, arrays: Arrays, extra: Any) -> Truth:
    """The plain results; they scale, if they are sums of products, with the same sums of absolute values, else with the
    largest value, or 1.
    """
    right = plain_float64(name, arrays, extra)
    absolute = {key: abs(array) for key, array in arrays.items()}
    scales = plain_float64(name, absolute, extra) if ALL_TWINS[name].sums else right
    smallest = np.finfo(np.float64).tiny if ALL_TWINS[name].sums else 1.0
    return [(true, max(abs(scale).max(initial=0), smallest)) for true, scale in zip(right, scales, strict=True)]


@cache
def truth_of(name: str, seed: int) -> Truth:
    """On arrays from this seed; kept, as it is the same for all bugs that are planted into twins."""
    return truth(name, *draw(name, seed))


def differences(results: list[np.ndarray], right: Truth) -> list[float]:
    """See `errors`."""
    found = []
    for result, (true, scale) in zip(results, right, strict=True):
        assert result.shape == true.shape
        unit = np.finfo(result.dtype).eps * scale
        with np.errstate(all="ignore"):  # what a bug has left out is whatever was in memory before
            worst = float(abs(result - true).max(initial=0) / unit)
        found.append(math.inf if math.isnan(worst) else worst)  # a later number would hide nan from `max`
    return found
