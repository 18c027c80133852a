// CUDA C on a CPU: included before a source of minigan/cuda/, so that g++ compiles the same text.
//
// Blocks run one after the other. The threads of a block are fibers on one thread of the processor: each runs until
// __syncthreads() or its end, then another one does. Blocks, and threads between two barriers, take turns in an order
// of their own, another one each time: a kernel that needs a barrier it does not have comes out wrong. Shared memory
// holds NaN when a block begins. Where some threads wait at a barrier and others have ended, the launch fails.
//
// The instructions of tensor_cores.cu have their meaning from the PTX ISA. What is copied into shared memory arrives at
// once or when somebody waits for it, which nobody knows; what a warp does together fails if not all its threads take part.

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static __attribute__((section("block_memory")))

struct dim3 { unsigned x, y, z; };
static dim3 gridDim, blockDim, blockIdx, threadIdx;

template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }

// The upper half of the product.
static inline float __fmul_rn(float a, float b) { return a * b; }  // which a compiler must not join with a sum
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}

namespace on_cpu {

enum State { READY, TOGETHER, WAITING, ENDED };  // TOGETHER: waiting for the warp, WAITING: for the block
struct Copy { float* to; const float* from; bool there; int group; };  // into shared memory, begun and not arrived
struct Fiber {
    jmp_buf place; ucontext_t birth; bool born; State state; dim3 index;
    void (*meeting)(Fiber** warp);  // what the warp does together, when all its threads have come
    float a[4], b[2], *c;  // its share of a product
    const float* row; unsigned* to;  // that it loads for its warp, and where its numbers go
    std::vector<Copy> copies;
    int group;
};

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
        Fiber* made = fibers[number] = new Fiber();
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

const unsigned WARP = 32;

static bool any(unsigned first, unsigned last, State state) {
    for (unsigned i = first; i < last; ++i)
        if (fibers[i]->state == state) return true;
    return false;
}

// If all of them are in one state, they are in the other then.
static bool all(unsigned first, unsigned last, State from, State to) {
    for (unsigned i = first; i < last; ++i)
        if (fibers[i]->state != from) return false;
    for (unsigned i = first; i < last; ++i) fibers[i]->state = to;
    return true;
}

// False if a thread of the warp has not come, or for something else.
static bool meet(Fiber** warp) {
    for (unsigned lane = 0; lane < WARP; ++lane)
        if (warp[lane]->state != TOGETHER || warp[lane]->meeting != warp[0]->meeting) return false;
    warp[0]->meeting(warp);
    for (unsigned lane = 0; lane < WARP; ++lane) warp[lane]->state = READY;
    return true;
}

static bool run_block(unsigned threads) {
    if (__start_block_memory) memset(__start_block_memory, 0xFF, __stop_block_memory - __start_block_memory);
    for (unsigned i = 0; i < threads; ++i) {
        fiber(i)->state = READY;
        fibers[i]->index = place(i, blockDim);
        fibers[i]->copies.clear();
        fibers[i]->group = 0;
    }
    for (;;) {
        unsigned order[MOST], in_state[4] = {};
        shuffle(order, threads);
        for (unsigned i = 0; i < threads; ++i) {
            if (fibers[order[i]]->state == READY) resume(fibers[order[i]]);
            ++in_state[fibers[order[i]]->state];
        }
        if (in_state[ENDED] == threads) return true;
        if (in_state[WAITING] == threads) all(0, threads, WAITING, READY);
        else if (!in_state[TOGETHER] || threads % WARP) return false;
        else for (unsigned w = 0; w < threads; w += WARP)
            if (any(w, w + WARP, TOGETHER) && !meet(fibers + w)) return false;
    }
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

static void __syncthreads() { on_cpu::pause(on_cpu::WAITING); }

// -- tensor_cores.cu ------------------------------------------------------------------------------------------------

#define HAS_TENSOR_CORES
#define SHARED(type, name, count) __shared__ __attribute__((aligned(16))) type name[count]; shared_used = sizeof name

extern "C" {
unsigned shared_used;  // bytes, of what a launch has to give
const char* spans[64];  // where the kernel's arrays begin and end, if that is known
unsigned span_count;
bool fetched_outside;
}

static unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static unsigned tf32(float x) {
    const unsigned bits = __float_as_uint(x);
    return isfinite(x) ? (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu : bits;  // halves to the even one
}

static float from_tf32(unsigned bits) {  // not rounded: a GPU may take these bits for something or nothing
    return bits & 0x1fff && (bits & 0x7f800000) != 0x7f800000 ? NAN : __uint_as_float(bits);
}

namespace on_cpu {

static bool aligned(const float* at) { return (size_t)at % 16 == 0; }

static bool within_an_array(const float* four) {
    for (unsigned i = 0; i < span_count; ++i)
        if (spans[2 * i] <= (const char*)four && (const char*)(four + 4) <= spans[2 * i + 1]) return true;
    return !span_count;
}

static void multiply(Fiber** warp) {
    float a[16][8], b[8][8];  // a row of b is a column of the factor
    for (unsigned lane = 0; lane < WARP; ++lane) {
        const unsigned g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 4] = warp[lane]->a[i];
        for (int i = 0; i < 2; ++i) b[g][t + i * 4] = warp[lane]->b[i];
    }
    for (unsigned lane = 0; lane < WARP; ++lane)
        for (int i = 0; i < 4; ++i) {
            const float *const row = a[lane / 4 + i / 2 * 8], *const column = b[2 * (lane % 4) + i % 2];
            float sum = warp[lane]->c[i];
            for (int k = 0; k < 8; ++k) sum += row[k] * column[k];
            warp[lane]->c[i] = sum;
        }
}

static void load(Fiber** warp) {
    for (unsigned lane = 0; lane < WARP; ++lane)
        for (unsigned q = 0; q < 4; ++q) {
            const float* const from = warp[q * 8 + lane / 4]->row;
            warp[lane]->to[q] = __float_as_uint(aligned(from) ? from[lane % 4] : NAN);
        }
}

}  // namespace on_cpu

static void multiply_add(float (&c)[4], const unsigned* a, const unsigned* b) {
    on_cpu::Fiber* const self = on_cpu::current;
    for (int i = 0; i < 4; ++i) self->a[i] = from_tf32(a[i]);
    for (int i = 0; i < 2; ++i) self->b[i] = from_tf32(b[i]);
    self->c = c;
    self->meeting = on_cpu::multiply;
    on_cpu::pause(on_cpu::TOGETHER);
}

static void load_matrices(unsigned (&to)[4], const float* row) {
    on_cpu::Fiber* const self = on_cpu::current;
    self->row = row;
    self->to = to;
    self->meeting = on_cpu::load;
    on_cpu::pause(on_cpu::TOGETHER);
}

static void arrive(const on_cpu::Copy& copy) {
    if (copy.there) memcpy(copy.to, copy.from, 16);
    else memset(copy.to, 0, 16);
}

static void fetch(float* to, const float* from, bool there) {
    const on_cpu::Copy copy = {to, from, there, on_cpu::current->group};
    fetched_outside |= !on_cpu::aligned(to) || !on_cpu::aligned(from) || (there && !on_cpu::within_an_array(from));
    on_cpu::seed = on_cpu::seed * 1664525u + 1013904223u;
    if (on_cpu::seed >> 31) arrive(copy);
    else on_cpu::current->copies.push_back(copy);
}

static void end_of_group() { ++on_cpu::current->group; }

template <int left> static void wait_for_groups() {
    std::vector<on_cpu::Copy> later;
    for (const on_cpu::Copy& copy : on_cpu::current->copies)
        if (copy.group >= on_cpu::current->group - left) later.push_back(copy);
        else arrive(copy);
    on_cpu::current->copies.swap(later);
}

// What Python calls: the types of a kernel's parameters, and a launch.
#define CALLABLE(kernel)                                                               \
    extern "C" int letters_##kernel(char* to) { return on_cpu::letters(kernel, to); }  \
    extern "C" bool launch_##kernel(const unsigned* shape, void** arguments) {         \
        on_cpu::work = [] { on_cpu::call(kernel); };                                   \
        on_cpu::arguments = arguments;                                                 \
        return on_cpu::run_grid(shape);                                                \
    }
