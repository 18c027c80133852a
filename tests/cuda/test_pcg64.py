"""Random numbers drawn on a GPU are NumPy's to the bit, from any place of any sequence on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import ops
from minigan.cuda.pcg64 import DeviceGenerator
from minigan.functional.dropout import draw_keep
from minigan.randomness import parted, state_words
from tests.cuda.gpu import fast_gpu, small_launches
from tests.strategies import normal, seeds
from tests.strict_cupy import counting

pytestmark = pytest.mark.emulated

SIZES = st.lists(st.integers(0, 70), max_size=5)


def on_device(device, rng):
    state = device.put(state_words(rng))
    return DeviceGenerator(lambda: state)


def agree(device, seed, sizes, skipped=0):
    """Whether numbers and masks of these sizes in turns are NumPy's, after so many words."""
    host, again = (np.random.default_rng(seed) for _ in range(2))
    there = on_device(device, host)
    there._drawn = 2 * skipped
    host.bit_generator.advance(skipped)
    again.bit_generator.advance(skipped)
    rates = np.append(again.random(sum(sizes), dtype=np.float32)[::7], 0.5)  # also a rate that is drawn itself
    for number, size in enumerate(sizes):
        expected = host.random(size, dtype=np.float32)
        if number % 2:
            found = there.random((size,), np.float32)
        else:
            rate = float(rates[number % len(rates)])
            expected, found = expected >= rate, ops.draw_keep(there, (size,), rate)
        assert found.dtype == expected.dtype
        if not np.array_equal(found.get(), expected):
            return False
    return True


@given(seed=seeds, sizes=SIZES, skipped=st.sampled_from([0, 1, 2**20 - 1, 2**61 - 400]))
def test_draws_in_any_pieces_are_those_of_numpy(seed, sizes, skipped):
    with small_launches(), fast_gpu() as device:
        assert agree(device, seed, sizes, skipped)


def test_masks_of_full_size_are_those_of_numpy(monkeypatch):
    """Odd places, several blocks; and more words for a thread where there are too many for all."""
    with fast_gpu() as device:
        assert agree(device, 0, [78_401, 24_000, 0, 1, 24_001])
        monkeypatch.setattr("minigan.cuda.pcg64.MOST_THREADS", 100)
        assert agree(device, 1, [3, 20_001])


@given(seed=seeds, shape=st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple), before=st.integers(0, 5))
def test_dropout_in_one_launch_is_a_mask_and_a_product(seed, shape, before):
    with small_launches(), fast_gpu() as device:
        assert drops(device, seed, shape, before)


def drops(device, seed, shape, before, dtype=np.float64):
    host = np.random.default_rng(seed)
    there = on_device(device, host)
    for rng in (host, there):
        rng.random((before,), np.float32)
    x = normal(seed, *shape).astype(dtype)
    expected = host.random(shape, dtype=np.float32) >= 0.4
    y, cache = ops.drawn_dropout(device.put(x), there, shape, 0.4, 1.25)
    masked = np.array_equal(y.get(), expected * x * x.dtype.type(1.25))
    return masked and y.dtype == dtype and np.array_equal(cache.keep.get(), expected)


@pytest.mark.parametrize("case", ["another shape of mask", "rows first", "a generator of the host"])
def test_other_dropouts_take_two(case):
    x, shape = normal(0, 4, 3, 2, 5), (4, 3, 2, 5)
    if case == "another shape of mask":
        shape = (4, 1, 1, 5)
    host = np.random.default_rng(3)
    with fast_gpu() as device:
        rng = on_device(device, host) if case != "a generator of the host" else np.random.default_rng(3)
        there = device.put(x)
        if case == "rows first":
            there = there.swapaxes(0, 1).copy().swapaxes(0, 1)
        y, _ = ops.drawn_dropout(there, rng, shape, 0.4, 2.0)
        assert np.array_equal(y.get(), (host.random(shape, dtype=np.float32) >= 0.4) * x * 2.0)


def parts_agree(device, seed, parts, apart, before):
    """Whether the parts of arrays get NumPy's numbers, and so does what is drawn after them."""
    host = np.random.default_rng(seed)
    there = on_device(device, host)
    for rng in (host, there):
        rng.random((before,), np.float32)
    masks = []
    for rng in (host, there):
        of_parts = parted(rng, parts, apart)
        masks.append([ops.draw_keep(of_parts, (parts * rows, 3), 0.4) for rows in (5, 1, 7)])
        masks[-1].append(ops.draw_keep(rng, (9,), 0.5))
    return all(np.array_equal(found.get(), expected) for expected, found in zip(*masks, strict=True))


@given(seed=seeds, parts=st.integers(1, 3), apart=st.integers(39, 60), before=st.integers(0, 9))
def test_parts_get_what_they_would_get_one_after_the_other(seed, parts, apart, before):
    with small_launches(), fast_gpu() as device:
        assert parts_agree(device, seed, parts, apart, before)


def test_parts_that_are_not_equal_are_refused():
    with fast_gpu() as device:
        there = parted(on_device(device, np.random.default_rng(0)), 2, 9)
        with pytest.raises(ValueError, match=r"shape \(3, 3\) has no 2 equal parts"):
            ops.draw_keep(there, (3, 3), 0.5)


@pytest.mark.gpu
def test_a_real_gpu_draws_for_parts_what_numpy_draws(gpu):
    with ops.fast_kernels(1):
        assert parts_agree(gpu, 0, 2, 41, 7)
        assert drops(gpu, 0, (100, 785), 3, np.float32)


@pytest.mark.gpu
def test_a_real_gpu_draws_what_numpy_draws(gpu):
    with ops.fast_kernels(1):
        for seed, sizes in enumerate(([1], [3, 1, 0, 2, 7], [78_400, 24_001, 24_000, 5], [3, 2_000_001])):
            assert agree(gpu, seed, sizes)
            assert agree(gpu, seed, sizes, 2**61 - 2**21)


@pytest.mark.gpu
def test_a_real_gpu_draws_from_the_state_that_it_finds_when_it_replays(gpu):
    first, second = np.random.default_rng(1), np.random.default_rng(2)
    state = gpu.put(state_words(first))
    stream, pool = gpu.xp.cuda.Stream(non_blocking=True), gpu.xp.cuda.MemoryPool()
    gpu.synchronize()
    with stream, gpu.xp.cuda.using_allocator(pool.malloc), ops.fast_kernels(1):
        ops.draw_keep(DeviceGenerator(lambda: state), (1,), 0.5)  # compiles
        there = DeviceGenerator(lambda: state)
        stream.begin_capture()
        masks = [ops.draw_keep(there, shape, 0.5) for shape in ((100, 785), (7, 1, 3))]
        graph = stream.end_capture()
        state.set(state_words(second))
        graph.launch(stream)
        stream.synchronize()
    for mask in masks:
        assert np.array_equal(mask.get(), draw_keep(second, mask.shape, 0.5))


def test_a_mask_is_one_launch_and_no_copy():
    with fast_gpu() as device:
        there = on_device(device, np.random.default_rng(0))
        with counting() as counts:
            ops.draw_keep(there, (100, 1, 1, 5), 0.5)
        assert (counts.waits, counts.copies) == ([], [])


def test_a_generator_of_the_host_draws_there_with_fast_kernels_too():
    with fast_gpu():
        found = ops.draw_keep(np.random.default_rng(0), (3, 5), 0.4)
    assert np.array_equal(found, draw_keep(np.random.default_rng(0), (3, 5), 0.4))


def test_the_state_is_asked_for_once_and_not_before_it_is_needed(strict):
    asked = []
    state = strict.put(state_words(np.random.default_rng(0)))
    there = DeviceGenerator(lambda: asked.append(1) or state)
    assert asked == []
    there.random((2,), np.float32), there.random((2,), np.float32)
    assert asked == [1]


def test_other_numbers_are_refused(strict):
    with pytest.raises(TypeError, match="float32, not in float64"):
        on_device(strict, np.random.default_rng(0)).random((3,), np.float64)
