"""CUDA sources on the CPU: what they compute, and that what a GPU would refuse or get wrong is noticed."""

import ctypes

import numpy as np
import pytest

from tests import strict_cupy
from tests.strict_kernels import BadLaunch, CompileError, compiler, merged

pytestmark = pytest.mark.skipif(compiler() is None, reason="no g++, which stands in for the compiler of CUDA sources")
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


@pytest.fixture(scope="module")
def kernel():
    return xp.RawModule(code=SOURCE).get_function


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
