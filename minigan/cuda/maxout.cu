// The largest of each group of P neighbouring numbers; beside functional/maxout.py.

struct Largest { int piece; real value; };

// Of group g of x (G, P), the first one if several are equal. What is no number wins.
// With a bias for each of so many channels, it is of x + b; 0 channels: without.
static __device__ Largest largest(in x, in b, int channels, int pieces, long long g) {
    const real* own = b + (channels ? g * pieces % channels : 0);
    Largest best = {0, x[g * pieces] + (channels ? own[0] : 0)};
    for (int p = 1; p < pieces; ++p) {
        const real value = x[g * pieces + p] + (channels ? own[p] : 0);
        if (value > best.value || (isnan(value) && !isnan(best.value))) best = {p, value};
    }
    return best;
}

// y (G) of x (G, P), and where it is: winner (G, P).
extern "C" __global__ void maxout(in x, in b, int channels, out y, bool* __restrict__ winner, int pieces, long long n) {
    EACH(g, n) {
        const Largest found = largest(x, b, channels, pieces, g);
        y[g] = found.value;
        for (int p = 0; p < pieces; ++p) winner[g * pieces + p] = p == found.piece;
    }
}

// The gradient goes to the winning piece alone: dx (G, P) of dy (G). Where dropout came behind, times its scale; else 1.
extern "C" __global__ void maxout_backward(in dy, const bool* __restrict__ winner, real scale, out dx, int pieces,
                                           long long n) {
    EACH(i, n) dx[i] = winner[i] * dy[i / pieces] * scale;
}
