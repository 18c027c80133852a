// The largest of each group of P neighbouring numbers; beside functional/maxout.py.

// y (G) of x (G, P), and where it is: winner (G, P), the first one if several are equal. What is no number wins.
// With a bias for each of so many channels, it is of x + b; 0 channels: without.
extern "C" __global__ void maxout(in x, in b, int channels, out y, bool* __restrict__ winner, int pieces, long long n) {
    EACH(g, n) {
        const real* own = b + (channels ? g * pieces % channels : 0);
        int best = 0;
        real largest = x[g * pieces] + (channels ? own[0] : 0);
        for (int p = 1; p < pieces; ++p) {
            const real value = x[g * pieces + p] + (channels ? own[p] : 0);
            if (value > largest || (isnan(value) && !isnan(largest))) {
                best = p;
                largest = value;
            }
        }
        y[g] = largest;
        for (int p = 0; p < pieces; ++p) winner[g * pieces + p] = p == best;
    }
}

// The gradient goes to the winning piece alone: dx (G, P) of dy (G).
extern "C" __global__ void maxout_backward(in dy, const bool* __restrict__ winner, out dx, int pieces, long long n) {
    EACH(i, n) dx[i] = winner[i] * dy[i / pieces];
}
