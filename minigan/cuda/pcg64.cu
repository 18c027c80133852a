// Uniform random numbers, those of NumPy's PCG64 (O'Neill 2014) to the bit, from any place of its sequence on. Kernels that
// draw them are in dropout.cu.
//
// The state s, of 128 bits, moves by s <- a s + c (modulo 2^128). Each new state gives a word of 64 bits, which is two
// numbers, the low half first. Each thread draws some neighbouring words; docs/gpu.md says how it jumps to them.

typedef unsigned long long word;
struct wide { word low, high; };  // 128 bits
struct map { wide a, c; };        // s -> a s + c

static __device__ wide plus(wide x, wide y) {
    const word low = x.low + y.low;
    return {low, x.high + y.high + (low < x.low)};
}

static __device__ wide times(wide x, wide y) {
    return {x.low * y.low, __umul64hi(x.low, y.low) + x.low * y.high + x.high * y.low};
}

static __device__ wide moved(wide s, map f) {
    return plus(times(f.a, s), f.c);
}

// The state k moves later. f twice is a map of the same kind: a (a s + c) + c = (a a) s + (a c + c).
static __device__ wide jump(wide s, map f, word k) {
    for (; k > 0; k /= 2) {
        if (k % 2) s = moved(s, f);
        f = {times(f.a, f.a), moved(f.c, f)};
    }
    return s;
}

// The exclusive or of both halves, turned to the right by the six highest bits ("XSL-RR").
static __device__ word output(wide s) {
    const word x = s.high ^ s.low, turn = s.high >> 58;
    return x >> turn | x << (-turn & 63);
}

// take(i, u) for i = 0 ... n - 1, where u of U[0, 1) is number first + i of the sequence. A thread draws so many words.
// Each row of blocks does so for a part of its own, the numbers of which come `apart` after those of the part before.
template <class Take>
static __device__ void each_number(const word* __restrict__ state, long long first, long long n, long long apart,
                                   int words, Take take) {
    first += blockIdx.y * apart;
    const map f = {{0x4385DF649FCCF645, 0x2360ED051FC65DA4}, {state[2], state[3]}};
    const long long start = first / 2 + ((long long)blockIdx.x * blockDim.x + threadIdx.x) * words;
    if (2 * start >= first + n) return;
    wide s = jump({state[0], state[1]}, f, start);
    for (int k = 0; k < words; ++k) {
        s = moved(s, f);
        const word bits = output(s);
        const unsigned halves[] = {(unsigned)bits, (unsigned)(bits >> 32)};
        for (int half = 0; half < 2; ++half) {
            const long long i = 2 * (start + k) + half - first;
            if (0 <= i && i < n) take(blockIdx.y * n + i, (halves[half] >> 8) * 0x1p-24f);
        }
    }
}
