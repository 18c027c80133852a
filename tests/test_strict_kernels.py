"""CUDA sources on the CPU: what they compute, and that what a GPU would refuse or get wrong is noticed."""

import ctypes

import numpy as np
import pytest

from tests import strict_cupy
from tests.strict_kernels import BadLaunch, CompileError, merged

pytestmark = pytest.mark.emulated
xp = strict_cupy.MODULE

SOURCE = """
extern "C" __global__ void where(int* block, int* thread, int n) {
    const int number = blockIdx.y * gridDim.x + blockIdx.x;
    const int i = (number * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    if (i < n) { block[i] = blockIdx.y * 10 + blockIdx.x; thread[i] = threadIdx.y * 10 + threadIdx.x; }
}

extern "C" __global__ void reverse(float* x) {
    __shared__ float copy[1024];
    copy[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = copy[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void reverse_at_once(float* x) {
    __shared__ float copy[1024];
    copy[threadIdx.x] = x[threadIdx.x];
    x[threadIdx.x] = copy[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void forgotten(float* x) {
    __shared__ float never_written;
    x[threadIdx.x] = never_written;
}

extern "C" __global__ void some_leave(float* x) {
    if (threadIdx.x > 1) return;
    __syncthreads();
    x[threadIdx.x] = 0;
}

extern "C" __global__ void beside(const float* x, float* y, long long at) { y[at] = x[at] + 1; }

extern "C" __global__ void shift(float* x, const float* y) { for (int i = 0; i < 3; ++i) x[i] = y[i] * 2; }

extern "C" __global__ void kinds(const double* a, bool* b, int c, long long d, float e, double f, bool g) {
    *b = g && a[0] == c + d + e + f;
}
"""

TENSOR_CORES = """
extern "C" __global__ void square(const float* x, float* y, bool round) {  // 8 x 8 numbers, below 8 others
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    unsigned a[4], b[2];
    float c[4] = {};
    for (int i = 0; i < 4; ++i) a[i] = tf32(x[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
    for (int i = 0; i < 2; ++i) b[i] = tf32(x[(t + i * 4) * 8 + g]);
    if (!round) memcpy(a, x, 4);
    multiply_add(c, a, b);
    for (int i = 0; i < 4; ++i) y[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = c[i];
}

extern "C" __global__ void some_multiply(float* x) {
    float c[4] = {};
    const unsigned a[4] = {}, b[2] = {};
    if (threadIdx.x < 31) multiply_add(c, a, b);
    x[threadIdx.x] = c[0];
}

extern "C" __global__ void through_shared_memory(const float* x, float* y, bool wait) {
    SHARED(float, memory, 4 * 256);
    float* const mine = memory + 4 * threadIdx.x;
    fetch(mine, x + 4 * threadIdx.x, threadIdx.x % 2);
    end_of_group();
    if (wait) wait_for_groups<0>();
    else wait_for_groups<1>();
    for (int i = 0; i < 4; ++i) y[4 * threadIdx.x + i] = mine[i];
}

extern "C" __global__ void turned(const float* x, float* y) {  // 32 rows of 4 numbers, from the last one to the first
    unsigned found[4];
    load_matrices(found, x + 4 * (31 - threadIdx.x));
    for (int i = 0; i < 4; ++i) y[32 * i + threadIdx.x] = __uint_as_float(found[i]);
}

extern "C" __global__ void fetches(const float* x, float* y, int from, bool there) {
    SHARED(float, memory, 4);
    fetch(memory, x + from, there);
    end_of_group();
    wait_for_groups<0>();
    for (int i = 0; i < 4; ++i) y[i] = memory[i];
}
"""


@pytest.fixture(scope="module")
def kernel():
    return xp.RawModule(code=SOURCE + TENSOR_CORES).get_function


def array(*numbers, dtype=np.float32):
    return xp.asarray(np.array(numbers, dtype))


def test_every_thread_knows_its_place(kernel):
    block, thread = (xp.zeros(24, np.int32) for _ in range(2))
    kernel("where")((2, 2), (3, 2), (block, thread, np.int32(24)))
    assert block.get().tolist() == [0] * 6 + [1] * 6 + [10] * 6 + [11] * 6
    assert thread.get().tolist() == [0, 1, 2, 10, 11, 12] * 4


def test_threads_wait_for_each_other(kernel):
    for size in (1, 7, 1024):
        x = xp.arange(size, dtype=np.float32)
        kernel("reverse")((1,), (size,), (x,))
        assert np.array_equal(x.get(), np.arange(size)[::-1])


def test_a_missing_barrier_shows(kernel):
    x = xp.arange(64, dtype=np.float32)
    kernel("reverse_at_once")((1,), (64,), (x,))
    assert np.isnan(x.get()).any()


def test_shared_memory_holds_nothing_at_first(kernel):
    x = xp.zeros(2, np.float32)
    kernel("forgotten")((1,), (2,), (x,))
    assert np.isnan(x.get()).all()


def test_threads_that_wait_for_others_that_have_left(kernel):
    x = xp.ones(4, np.float32)
    with pytest.raises(BadLaunch, match="some_leave: threads wait"):
        kernel("some_leave")((1,), (4,), (x,))
    kernel("reverse")((1,), (4,), (x,))  # and everything works as before


@pytest.mark.parametrize("at", [-1, 3, 500])
def test_writing_outside_the_arrays(kernel, at):
    x, y = array(1, 2, 3), array(4, 5, 6)
    with pytest.raises(BadLaunch, match="beside writes outside its arrays"):
        kernel("beside")((1,), (1,), (x, y, np.int64(at)))
    assert (x.get().tolist(), y.get().tolist()) == ([1, 2, 3], [4, 5, 6])


def test_arrays_that_overlap(kernel):
    x = array(1, 2, 3, 4)
    kernel("shift")((1,), (1,), (x[1:], x[:3]))
    assert x.get().tolist() == [1, 2, 4, 8]
    assert merged([(5, 7), (0, 3), (2, 4), (7, 7), (1, 2)]) == [(0, 4), (5, 7), (7, 7)]


def test_arguments_of_every_kind(kernel):
    found = xp.zeros(1, np.bool_)
    numbers = np.int32(1), np.int64(2), np.float32(3), np.float64(4), np.bool_(True)
    kernel("kinds")((1,), (1,), (array(10, dtype=np.float64), found, *numbers))
    assert found.get().all()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((array(1), array(1)), "beside takes 3 arguments, got 2"),
        ((array(1), array(1), 0), "takes a int64 where it got 0, a int"),
        ((array(1), array(1), np.int32(0)), "takes a int64 where it got"),
        ((array(1), array(1, dtype=np.float64), np.int64(0)), "takes an array of float32 where it got one of float64"),
        ((array(1, 2, 3)[::2], array(1), np.int64(0)), "a strided array"),
        ((np.ones(1, "f"), array(1), np.int64(0)), "ndarray"),
        ((None, array(1), np.int64(0)), "invalid"),
    ],
    ids=str,
)
def test_arguments_of_another_kind(kernel, arguments, complaint):
    with pytest.raises(TypeError, match=complaint):
        kernel("beside")((1,), (1,), arguments)


@pytest.mark.parametrize(
    ("grid", "block"), [((0,), (1,)), ((1, 65536), (1,)), ((1,), (0,)), ((1,), (1025,)), ((1,), (32, 33))], ids=str
)
def test_launches_that_a_gpu_refuses(kernel, grid, block):
    with pytest.raises(BadLaunch, match="invalid"):
        kernel("reverse")(grid, block, (array(1),))


def test_a_name_that_is_no_kernel(kernel):
    with pytest.raises(AttributeError, match="missing"):
        kernel("missing")


def test_what_the_compiler_says_is_shown():
    with pytest.raises(CompileError, match="nonsense"):
        xp.RawModule(code='extern "C" __global__ void broken(int x) { nonsense; }')


def test_options_reach_the_compiler():
    code = 'extern "C" __global__ void tell(REAL* x) { *x = 3; }'
    for real, dtype in ("float", np.float32), ("double", np.float64):
        x = xp.zeros(1, dtype)
        xp.RawModule(code=code, options=(f"-DREAL={real}",)).get_function("tell")((1,), (1,), (x,))
        assert x.get() == 3


def test_a_launch_does_not_wait(kernel):
    with strict_cupy.counting() as counts:
        kernel("reverse")((1,), (1,), (array(1),))
    assert (counts.synchronisations, counts.uploads) == (0, 1)  # the upload makes the array


def test_libraries_hold_the_interpreter_s_lock():
    """Two threads of Python never run kernels at the same time, which have one memory for a block."""
    assert isinstance(xp.RawModule(code=SOURCE)._library, ctypes.PyDLL)


# What minigan/cuda/tensor_cores.cu has words for


def test_a_warp_multiplies_matrices(kernel):
    x = np.arange(128, dtype=np.float32).reshape(16, 8) % 11
    y = array(*np.zeros(128))
    kernel("square")((1,), (32,), (array(*x.ravel()), y, np.bool_(True)))
    assert np.array_equal(y.get().reshape(16, 8), x @ x[:8])


def test_factors_that_are_not_rounded_are_nothing(kernel):
    y = array(*np.zeros(128))
    kernel("square")((1,), (32,), (array(*np.full(128, 1 + 1e-6)), y, np.bool_(False)))
    assert np.isnan(y.get()).any()


def test_a_product_needs_all_threads_of_a_warp(kernel):
    with pytest.raises(BadLaunch, match="threads wait"):
        kernel("some_multiply")((1,), (32,), (array(*np.zeros(32)),))


def test_a_warp_loads_four_matrices(kernel):
    x = np.arange(128, dtype=np.float32).reshape(32, 4)
    y = array(*np.zeros(128))
    kernel("turned")((1,), (32,), (array(*x.ravel()), y))
    assert np.array_equal(y.get().reshape(32, 4), x[::-1])


@pytest.mark.parametrize(("first", "there"), [(0, True), (4, True), (8, False), (-4, False)])
def test_what_lies_in_an_array_is_fetched(kernel, first, there):
    x, y = array(*np.arange(1, 9)), array(*np.ones(4))
    kernel("fetches")((1,), (1,), (x, y, np.int32(first), np.bool_(there)), shared_mem=16)
    assert np.array_equal(y.get(), x.get()[first : first + 4] if there else np.zeros(4))


@pytest.mark.parametrize(("first", "there"), [(8, True), (-4, True), (2, True), (1, False)])
def test_what_does_not_lie_there_is_not(kernel, first, there):
    x, y = array(*np.arange(1, 9)), array(*np.ones(4))
    with pytest.raises(BadLaunch, match="from outside its arrays, or from no multiple of 16 bytes"):
        kernel("fetches")((1,), (1,), (x, y, np.int32(first), np.bool_(there)), shared_mem=16)


@pytest.mark.parametrize("wait", [True, False])
def test_a_copy_has_arrived_when_somebody_has_waited(kernel, wait):
    x, y = array(*np.arange(1, 1025)), array(*np.zeros(1024))
    kernel("through_shared_memory")((1,), (256,), (x, y, np.bool_(wait)), shared_mem=4096)
    found = y.get().reshape(256, 4)
    expected = x.get().reshape(256, 4) * (np.arange(256) % 2)[:, np.newaxis]
    assert np.array_equal(found, expected) == wait


def test_shared_memory_is_as_large_as_the_launch_says(kernel):
    arguments = array(*np.zeros(1024)), array(*np.zeros(1024)), np.bool_(True)
    with pytest.raises(BadLaunch, match="has 2048 bytes of shared memory, and uses 4096"):
        kernel("through_shared_memory")((1,), (256,), arguments, shared_mem=2048)
    large = kernel("through_shared_memory")
    with pytest.raises(BadLaunch, match="65536 bytes of shared memory are too much, or were not asked for"):
        large((1,), (256,), arguments, shared_mem=1 << 16)
    large.max_dynamic_shared_size_bytes = 1 << 16
    with pytest.raises(BadLaunch, match="uses 4096"):
        large((1,), (256,), arguments, shared_mem=1 << 16)
    large.max_dynamic_shared_size_bytes = 1 << 20
    with pytest.raises(BadLaunch, match="too much"):
        large((1,), (256,), arguments, shared_mem=1 << 20)
