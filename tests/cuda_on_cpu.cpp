// What runs the kernels of a source: see cuda_on_cpu.h. It becomes a part of each library.

#include "cuda_on_cpu.h"
#include <setjmp.h>
#include <stdlib.h>
#include <ucontext.h>
#include <vector>

extern "C" {
unsigned shared_used;
const char* spans[64];
unsigned span_count;
bool fetched_outside;
extern char __start_block_memory[] __attribute__((weak)), __stop_block_memory[] __attribute__((weak));
}

#pragma GCC visibility push(hidden)

dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace on_cpu {

void (*work)();
void** arguments;

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

static unsigned seed = 1;
static unsigned drawn() { return seed = seed * 1664525u + 1013904223u; }

// The numbers below n in an order of their own.
static void shuffle(unsigned* order, unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
        const unsigned j = (unsigned)(((unsigned long long)drawn() * (i + 1)) >> 32);
        order[i] = order[j];
        order[j] = i;
    }
}

// Of block or thread number n, as CUDA counts them.
static dim3 place(unsigned n, dim3 size) { return {n % size.x, n / size.x % size.y, n / size.x / size.y}; }

const unsigned WARP = 32;

static bool any(unsigned first, unsigned last, State state) {
    for (unsigned i = first; i < last; ++i)
        if (fibers[i]->state == state) return true;
    return false;
}

static void draw(bool* late) {
    for (unsigned w = 0; w < MOST / WARP; ++w) late[w] = drawn() >> 31;
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
    bool late[MOST / WARP];  // warps that go on only when the others have to wait: nobody says that warps keep step
    draw(late);
    for (;;) {
        unsigned order[MOST], in_state[4] = {};
        shuffle(order, threads);
        for (unsigned i = 0; i < threads; ++i) {
            if (fibers[order[i]]->state == READY && !late[order[i] / WARP]) resume(fibers[order[i]]);
            ++in_state[fibers[order[i]]->state];
        }
        if (in_state[ENDED] == threads) return true;
        if (in_state[WAITING] == threads) {
            for (unsigned i = 0; i < threads; ++i) fibers[i]->state = READY;
            draw(late);
        } else if (in_state[READY] && !in_state[TOGETHER]) memset(late, 0, sizeof late);
        else if (!in_state[TOGETHER] || threads % WARP) return false;
        else for (unsigned w = 0; w < threads; w += WARP)
            if (any(w, w + WARP, TOGETHER) && !meet(fibers + w)) return false;
    }
}

bool run_grid(const unsigned* shape) {
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
    unsigned* order = (unsigned*)malloc(blocks * sizeof(unsigned));
    shuffle(order, blocks);
    bool fine = true;
    for (unsigned i = 0; i < blocks && fine; ++i) {
        blockIdx = place(order[i], gridDim);
        fine = run_block(blockDim.x * blockDim.y * blockDim.z);
    }
    free(order);
    if (!fine) memset(fibers, 0, sizeof fibers);  // they are in the middle of something
    return fine;
}

// -- tensor_cores.cu ------------------------------------------------------------------------------------------------

static float from_tf32(unsigned bits) {  // not rounded: a GPU may take these bits for something or nothing
    return bits & 0x1fff && (bits & 0x7f800000) != 0x7f800000 ? NAN : __uint_as_float(bits);
}

static bool aligned(const float* at) { return (size_t)at % 16 == 0; }

static bool within_an_array(const float* four) {
    for (unsigned i = 0; i < span_count; ++i)
        if (spans[2 * i] <= (const char*)four && (const char*)(four + 4) <= spans[2 * i + 1]) return true;
    return !span_count;
}

static void multiply(Fiber** warp) {
    float a[16][8], b[8][8];
    for (unsigned lane = 0; lane < WARP; ++lane) {
        const unsigned g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 4] = warp[lane]->a[i];
        for (int i = 0; i < 2; ++i) b[t + i * 4][g] = warp[lane]->b[i];
    }
    float c[16][8];
    for (int row = 0; row < 16; ++row)
        for (int i = 0; i < 2; ++i)
            for (int t = 0; t < 4; ++t) c[row][2 * t + i] = warp[row % 8 * 4 + t]->c[row / 8 * 2 + i];
    for (int row = 0; row < 16; ++row)
        for (int k = 0; k < 8; ++k)
            for (int column = 0; column < 8; ++column) c[row][column] += a[row][k] * b[k][column];
    for (int row = 0; row < 16; ++row)
        for (int i = 0; i < 2; ++i)
            for (int t = 0; t < 4; ++t) warp[row % 8 * 4 + t]->c[row / 8 * 2 + i] = c[row][2 * t + i];
}

static void load(Fiber** warp) {
    for (unsigned lane = 0; lane < WARP; ++lane)
        for (unsigned q = 0; q < 4; ++q) {
            const float* const from = warp[q * 8 + lane / 4]->row;
            warp[lane]->to[q] = __float_as_uint(aligned(from) ? from[lane % 4] : NAN);
        }
}

static void meet_for(void (*meeting)(Fiber** warp)) {
    current->meeting = meeting;
    pause(TOGETHER);
}

static void arrive(const Copy& copy) {
    if (copy.there) memcpy(copy.to, copy.from, 16);
    else memset(copy.to, 0, 16);
}

void arrive_all_but(int groups) {
    std::vector<Copy>& copies = current->copies;
    size_t left = 0;
    for (size_t i = 0; i < copies.size(); ++i)
        if (copies[i].group >= current->group - groups) copies[left++] = copies[i];
        else arrive(copies[i]);
    copies.resize(left);
}

}  // namespace on_cpu

void __syncthreads() { on_cpu::pause(on_cpu::WAITING); }

void multiply_add(float (&c)[4], const unsigned* a, const unsigned* b) {
    on_cpu::Fiber* const self = on_cpu::current;
    for (int i = 0; i < 4; ++i) self->a[i] = on_cpu::from_tf32(a[i]);
    for (int i = 0; i < 2; ++i) self->b[i] = on_cpu::from_tf32(b[i]);
    self->c = c;
    on_cpu::meet_for(on_cpu::multiply);
}

void load_matrices(unsigned (&to)[4], const float* row) {
    on_cpu::current->row = row;
    on_cpu::current->to = to;
    on_cpu::meet_for(on_cpu::load);
}

void fetch(float* to, const float* from, bool there) {
    const on_cpu::Copy copy = {to, from, there, on_cpu::current->group};
    fetched_outside |= !on_cpu::aligned(to) || !on_cpu::aligned(from) || (there && !on_cpu::within_an_array(from));
    if (on_cpu::drawn() >> 31) on_cpu::arrive(copy);
    else on_cpu::current->copies.push_back(copy);
}

void end_of_group() { ++on_cpu::current->group; }

#pragma GCC visibility pop
