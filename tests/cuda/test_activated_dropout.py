"""An activation and dropout in one launch on a GPU are the two of the plain version, one after the other, there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import ops
from minigan.cuda.dropout import DroppedLeakyReLU, DroppedMaxout
from minigan.functional import activations, maxout
from minigan.functional.dropout import draw_keep, dropout, dropout_backward
from tests.cuda.gpu import fast_gpu, small_launches
from tests.cuda.test_pcg64 import on_device
from tests.strategies import assert_agrees, normal, seeds

pytestmark = pytest.mark.emulated

RATE, SCALE = 0.4, 1.25
FUSED = {"relu": (), "leaky_relu": (0.2,), "maxout": (3,)}  # and what they take
APART = {"tanh": (), "sigmoid": ()}


def one_after_the_other(rng, name, a, b, dy):
    """y and the gradient on a."""
    room, numbers = (maxout if name == "maxout" else activations), (FUSED | APART)[name]
    y, before = getattr(room, name)(a + b, *numbers)
    y, mask = dropout(y, draw_keep(rng, y.shape, RATE), SCALE)
    back = numbers if name == "leaky_relu" else ()
    return y, getattr(room, f"{name}_backward")(dropout_backward(dy, mask), before, *back)


def arrays(seed, name, rows, dtype=np.float64, *pixels):
    """a (rows, ..., 6), b and dy."""
    shapes = (rows, *pixels, 6), (6,), (rows, *pixels, 2 if name == "maxout" else 6)
    return [normal([seed, number], *shape).astype(dtype) for number, shape in enumerate(shapes)]


def at_once(device, rng, name, a, b, dy):
    """y, the gradient on a, and the cache."""
    y, cache = ops.activated_dropout(device.put(a), device.put(b), rng, RATE, SCALE, name, *(FUSED | APART)[name])
    return y.get(), ops.activated_dropout_backward(device.put(dy), cache).get(), cache


def agree(device, seed, name, rows=5, dtype=np.float64):
    """Whether one launch gives both to the bit, where some numbers have been drawn before."""
    host, there = np.random.default_rng(seed), on_device(device, np.random.default_rng(seed))
    for rng in (host, there):
        rng.random((seed % 5,), np.float32)
    given_ = arrays(seed, name, rows, dtype)
    expected = one_after_the_other(host, name, *given_)
    *found, cache = at_once(device, there, name, *given_)
    assert isinstance(cache, DroppedLeakyReLU | DroppedMaxout)
    return all(ours.dtype == dtype and np.array_equal(ours, right) for ours, right in zip(found, expected, strict=True))


@given(seed=seeds, name=st.sampled_from(list(FUSED)), rows=st.integers(0, 5), dtype=st.sampled_from(["f", "d"]))
def test_one_launch_does_both(seed, name, rows, dtype):
    with small_launches(), fast_gpu() as device:
        assert agree(device, seed, name, rows, np.dtype(dtype))


@pytest.mark.parametrize("case", ["tanh", "images", "a generator of the host"])
def test_others_go_apart(case):
    name = case if case in APART else "leaky_relu"
    a, b, dy = arrays(0, name, 3, np.float64, *((4, 2) if case == "images" else ()))
    with fast_gpu() as device:
        rng = np.random.default_rng(3)
        *found, cache = at_once(device, rng if "host" in case else on_device(device, rng), name, a, b, dy)
    assert not isinstance(cache, DroppedLeakyReLU | DroppedMaxout)
    for ours, right in zip(found, one_after_the_other(np.random.default_rng(3), name, a, b, dy), strict=True):
        assert_agrees(ours, right, 1e-14)


@pytest.mark.parametrize("name", FUSED | APART)
def test_on_the_cpu_too_it_is_the_two(name):
    a, b, dy = arrays(1, name, 4)
    y, cache = ops.activated_dropout(a.copy(), b, np.random.default_rng(5), RATE, SCALE, name, *(FUSED | APART)[name])
    expected = one_after_the_other(np.random.default_rng(5), name, a, b, dy)
    assert_agrees(y, expected[0], 1e-15)
    assert_agrees(ops.activated_dropout_backward(dy, cache), expected[1], 1e-15)


@pytest.mark.gpu
@pytest.mark.parametrize("name", FUSED)
def test_on_a_real_gpu_too(name, gpu):
    with ops.fast_kernels(1):
        assert agree(gpu, 0, name, 1000, np.float32)
        assert agree(gpu, 1, name, 301)
