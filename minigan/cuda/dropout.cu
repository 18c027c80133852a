// Random numbers, and dropout that draws its own mask (functional/dropout.py), alone or behind an activation.
//
// All kernels begin with what `each_number` takes (pcg64.cu): DRAWN.

#define DRAWN const word* __restrict__ state, long long first, long long n, long long apart, int words
#define EACH_NUMBER(take) each_number(state, first, n, apart, words, take)

extern "C" __global__ void uniform(DRAWN, float* __restrict__ y) {
    EACH_NUMBER(([=](long long i, float u) { y[i] = u; }));
}

// A mask: true with probability 1 - rate.
extern "C" __global__ void draw_keep(DRAWN, bool* __restrict__ keep, float rate) {
    EACH_NUMBER(([=](long long i, float u) { keep[i] = u >= rate; }));
}

// The mask, and what it leaves of x: y = scale keep x.
extern "C" __global__ void dropped(DRAWN, bool* __restrict__ keep, float rate, in x, real scale, out y) {
    EACH_NUMBER(([=](long long i, float u) {
        keep[i] = u >= rate;
        y[i] = keep[i] * x[i] * scale;
    }));
}

// What it leaves of leaky relu: y = scale keep (v > 0 ? v : slope v) of v = x + b.
extern "C" __global__ void dropped_leaky_relu(DRAWN, bool* __restrict__ keep, float rate, in x, in b, int channels,
                                              real slope, real scale, out y) {
    EACH_NUMBER(([=](long long i, float u) {
        const real v = x[i] + b[i % channels];
        keep[i] = u >= rate;
        y[i] = keep[i] * (v > 0 ? v : slope * v) * scale;
    }));
}

// Back through both: where it was kept, y has the sign of v, if there is a slope.
extern "C" __global__ void dropped_leaky_relu_backward(in dy, in y, const bool* __restrict__ keep, real slope, real scale,
                                                       out dx, long long n) {
    EACH(i, n) {
        const real d = dy[i] * keep[i] * scale;
        dx[i] = y[i] > 0 ? d : slope * d;
    }
}

// And of maxout. The winner, (G, P) of x (G, P), is nobody where nothing is left.
extern "C" __global__ void dropped_maxout(DRAWN, out y, float rate, in x, in b, int channels, int pieces, real scale,
                                          bool* __restrict__ winner) {
    EACH_NUMBER(([=](long long i, float u) {
        const Largest found = largest(x, b, channels, pieces, i);
        y[i] = (u >= rate) * found.value * scale;
        for (int p = 0; p < pieces; ++p) winner[i * pieces + p] = u >= rate && p == found.piece;
    }));
}
