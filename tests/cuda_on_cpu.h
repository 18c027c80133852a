// CUDA C on a CPU: included before a source of minigan/cuda/, so that g++ compiles the same text. What runs the kernels
// is in cuda_on_cpu.cpp, compiled once for all of them.
//
// Blocks run one after the other. The threads of a block are fibers on one thread of the processor: each runs until
// __syncthreads() or its end, then another one does. Blocks, and threads between two barriers, take turns in an order
// of their own, another one each time: a kernel that needs a barrier it does not have comes out wrong. Shared memory
// holds NaN when a block begins. Where some threads wait at a barrier and others have ended, the launch fails.
//
// The instructions of tensor_cores.cu have their meaning from the PTX ISA. What is copied into shared memory arrives at
// once or when somebody waits for it, which nobody knows; what a warp does together fails if not all its threads take part.

#pragma once
#include <math.h>
#include <string.h>
#include <utility>

#define __global__
#define __device__
#define __shared__ static __attribute__((section("block_memory")))

#pragma GCC visibility push(hidden)  // each library has its own

struct dim3 { unsigned x, y, z; };
extern dim3 gridDim, blockDim, blockIdx, threadIdx;

template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }

static inline float __fmul_rn(float a, float b) { return a * b; }  // which a compiler must not join with a sum
static inline double __dmul_rn(double a, double b) { return a * b; }
// The upper half of the product.
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}

void __syncthreads();

namespace on_cpu {

extern void (*work)();  // what one thread of the kernel does
extern void** arguments;

// shape: the grid's three sizes and the block's. False if threads waited for others that had ended.
bool run_grid(const unsigned* shape);
// The copies of this thread, but those of its last groups, have arrived.
void arrive_all_but(int groups);

// A kernel's parameters as letters of NumPy's dtypes, * before those that are pointers.
template <class T> struct Letter;
template <> struct Letter<float> { static const char value = 'f'; };
template <> struct Letter<double> { static const char value = 'd'; };
template <> struct Letter<bool> { static const char value = '?'; };
template <> struct Letter<unsigned char> { static const char value = 'B'; };
template <> struct Letter<int> { static const char value = 'i'; };
template <> struct Letter<long long> { static const char value = 'q'; };
template <> struct Letter<unsigned long long> { static const char value = 'Q'; };
template <class T> struct Letters { static char* write(char* to) { return *to++ = Letter<T>::value, to; } };
template <class T> struct Letters<T*> { static char* write(char* to) { return *to++ = '*', Letters<T>::write(to); } };
template <class T> struct Letters<const T*> : Letters<T*> {};

template <class... P> static int letters(void (*)(P...), char* to) {
    const int each[] = {(to = Letters<P>::write(to), 0)...};
    *to = 0;
    return sizeof each / sizeof *each;
}

// One thread's work: the kernel with its arguments, each of which lies where a pointer points.
template <class... P, size_t... I> static void call(void (*kernel)(P...), std::index_sequence<I...>) {
    kernel(*(P*)arguments[I]...);
}
template <class... P> static void call(void (*kernel)(P...)) { call(kernel, std::index_sequence_for<P...>()); }

}  // namespace on_cpu

// -- tensor_cores.cu ------------------------------------------------------------------------------------------------

#define HAS_TENSOR_CORES
#define SHARED(type, name, count) __shared__ __attribute__((aligned(16))) type name[count]; shared_used = sizeof name

#pragma GCC visibility push(default)
extern "C" {
extern unsigned shared_used;  // bytes, of what a launch has to give
extern const char* spans[64];  // where the kernel's arrays begin and end, if that is known
extern unsigned span_count;
extern bool fetched_outside;
}
#pragma GCC visibility pop

static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline unsigned tf32(float x) {
    const unsigned bits = __float_as_uint(x);
    return isfinite(x) ? (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu : bits;  // halves to the even one
}

void multiply_add(float (&c)[4], const unsigned* a, const unsigned* b);
void load_matrices(unsigned (&to)[4], const float* row);
void fetch(float* to, const float* from, bool there);
void end_of_group();
template <int left> static void wait_for_groups() { on_cpu::arrive_all_but(left); }

#pragma GCC visibility pop

// What Python calls: the types of a kernel's parameters, and a launch.
#define CALLABLE(kernel)                                                               \
    extern "C" int letters_##kernel(char* to) { return on_cpu::letters(kernel, to); }  \
    extern "C" bool launch_##kernel(const unsigned* shape, void** arguments) {         \
        on_cpu::work = [] { on_cpu::call(kernel); };                                   \
        on_cpu::arguments = arguments;                                                 \
        return on_cpu::run_grid(shape);                                                \
    }
