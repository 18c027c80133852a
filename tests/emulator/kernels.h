// CUDA C on a CPU for CuPy's own kernels too: included before a source by nvrtc.cpp.

#pragma once
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include "cuda_on_cpu.cpp"

#define __host__
#define __forceinline__ inline
#define __noinline__
#define __constant__
#define __restrict__ __restrict

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;
static const int warpSize = 32;
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
static inline float rsqrt(float x) { return 1 / sqrtf(x); }
template <class T> static inline T atomicAdd(T* to, T value) { const T old = *to; return *to = old + value, old; }

namespace on_cpu {

// Without barriers no fibers are needed.
static bool run_in_order(const unsigned* shape) {
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z, threads = blockDim.x * blockDim.y * blockDim.z;
    for (unsigned b = 0; b < blocks; ++b)
        for (unsigned t = 0; t < threads; ++t) {
            blockIdx = place(b, gridDim);
            threadIdx = place(t, blockDim);
            work();
        }
    return true;
}

template <class... P> static int sizes(void (*)(P...), size_t* to) {
    const size_t each[] = {sizeof(P)..., 0};
    std::copy(each, each + sizeof...(P), to);
    return sizeof...(P);
}

}  // namespace on_cpu

#ifdef BARRIERS
#define RUN on_cpu::run_grid
#else
#define RUN on_cpu::run_in_order
#endif

// What driver.cpp looks for: the sizes of a kernel's parameters, and a launch.
#define EMULATED(kernel)                                                             \
    extern "C" int sizes_##kernel(size_t* to) { return on_cpu::sizes(kernel, to); }  \
    extern "C" bool run_##kernel(const unsigned* shape, void** arguments) {          \
        on_cpu::work = [] { on_cpu::call(kernel); };                                 \
        on_cpu::arguments = arguments;                                               \
        return RUN(shape);                                                           \
    }
