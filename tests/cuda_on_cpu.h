// CUDA C on a CPU: included before a source of minigan/cuda/, so that g++ compiles the same text.
//
// Blocks run one after the other. The threads of a block are fibers on one thread of the processor: each runs until
// __syncthreads() or its end, then another one does. Blocks, and threads between two barriers, take turns in an order
// of their own, another one each time: a kernel that needs a barrier it does not have comes out wrong. Shared memory
// holds NaN when a block begins. Where some threads wait at a barrier and others have ended, the launch fails.

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__
#define __shared__ static __attribute__((section("block_memory")))

struct dim3 { unsigned x, y, z; };
static dim3 gridDim, blockDim, blockIdx, threadIdx;

template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }

// The upper half of the product.
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}

namespace on_cpu {

enum State { READY, WAITING, ENDED };
struct Fiber { jmp_buf place; ucontext_t birth; bool born; State state; dim3 index; };

const unsigned MOST = 1024;  // threads in a block, as on a GPU
const size_t STACK = 1 << 16;
static Fiber* fibers[MOST];
static Fiber* current;
static jmp_buf scheduler;
static void (*work)();  // what one thread of the kernel does
static void** arguments;

static void pause(State state) {
    current->state = state;
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}

static void live() {  // a fiber is born once, and does one thread's work after the other
    for (;;) {
        work();
        pause(ENDED);
    }
}

static void resume(Fiber* fiber) {
    current = fiber;
    threadIdx = fiber->index;
    if (_setjmp(scheduler)) return;
    if (fiber->born) _longjmp(fiber->place, 1);
    fiber->born = true;
    setcontext(&fiber->birth);
}

static Fiber* fiber(unsigned number) {
    if (!fibers[number]) {
        Fiber* made = fibers[number] = (Fiber*)calloc(1, sizeof(Fiber));
        getcontext(&made->birth);
        made->birth.uc_stack.ss_sp = malloc(STACK);
        made->birth.uc_stack.ss_size = STACK;
        makecontext(&made->birth, live, 0);
    }
    return fibers[number];
}

// The numbers below n in an order of their own.
static unsigned seed = 1;
static void shuffle(unsigned* order, unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
        seed = seed * 1664525u + 1013904223u;
        const unsigned j = (unsigned)(((unsigned long long)seed * (i + 1)) >> 32);
        order[i] = order[j];
        order[j] = i;
    }
}

extern "C" char __start_block_memory[] __attribute__((weak)), __stop_block_memory[] __attribute__((weak));

// Of block or thread number n, as CUDA counts them.
static dim3 place(unsigned n, dim3 size) { return {n % size.x, n / size.x % size.y, n / size.x / size.y}; }

static bool run_block(unsigned threads) {
    if (__start_block_memory) memset(__start_block_memory, 0xFF, __stop_block_memory - __start_block_memory);
    for (unsigned i = 0; i < threads; ++i) {
        fiber(i)->state = READY;
        fibers[i]->index = place(i, blockDim);
    }
    for (unsigned waiting = threads; waiting;) {
        unsigned order[MOST];
        shuffle(order, threads);
        waiting = 0;
        for (unsigned i = 0; i < threads; ++i) {
            resume(fibers[order[i]]);
            waiting += current->state == WAITING;
        }
        if (waiting && waiting < threads) return false;
    }
    return true;
}

// shape: the grid's three sizes and the block's. False if threads waited for others that had ended.
static bool run_grid(const unsigned* shape) {
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
    unsigned* order = (unsigned*)malloc(blocks * sizeof(unsigned));
    shuffle(order, blocks);
    bool fine = true;
    for (unsigned i = 0; i < blocks && fine; ++i) {
        const unsigned b = order[i];
        blockIdx = place(b, gridDim);
        fine = run_block(blockDim.x * blockDim.y * blockDim.z);
    }
    free(order);
    if (!fine) memset(fibers, 0, sizeof fibers);  // they are in the middle of something
    return fine;
}

// A kernel's parameters as letters of NumPy's dtypes, * before those that are pointers.
template <class T> struct Letter;
template <> struct Letter<float> { static const char value = 'f'; };
template <> struct Letter<double> { static const char value = 'd'; };
template <> struct Letter<bool> { static const char value = '?'; };
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

static void __syncthreads() { on_cpu::pause(on_cpu::WAITING); }

// What Python calls: the types of a kernel's parameters, and a launch.
#define CALLABLE(kernel)                                                               \
    extern "C" int letters_##kernel(char* to) { return on_cpu::letters(kernel, to); }  \
    extern "C" bool launch_##kernel(const unsigned* shape, void** arguments) {         \
        on_cpu::work = [] { on_cpu::call(kernel); };                                   \
        on_cpu::arguments = arguments;                                                 \
        return on_cpu::run_grid(shape);                                                \
    }
