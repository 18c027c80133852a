// Activations and dropout, number by number; the formulas are those of functional/activations.py and dropout.py.
// Derivatives are written in terms of the output y.

// x with a bias for each of so many channels; 0 channels: without.
static __device__ real biased(in x, in b, int channels, long long i) {
    return channels ? x[i] + b[i % channels] : x[i];
}

// y = x where x > 0, else slope x. With slope 0 this is relu.
extern "C" __global__ void leaky_relu(in x, in b, int channels, real slope, out y, long long n) {
    EACH(i, n) {
        const real v = biased(x, b, channels, i);
        y[i] = v > 0 ? v : slope * v;
    }
}

extern "C" __global__ void leaky_relu_backward(in dy, in y, real slope, out dx, long long n) {
    EACH(i, n) dx[i] = y[i] > 0 ? dy[i] : slope * dy[i];
}

// The name tanh is taken by the function itself.
extern "C" __global__ void tanh_forward(in x, in b, int channels, out y, long long n) {
    EACH(i, n) y[i] = tanh(biased(x, b, channels, i));
}

// dx = (1 - y^2) dy
extern "C" __global__ void tanh_backward(in dy, in y, out dx, long long n) {
    EACH(i, n) dx[i] = (1 - y[i] * y[i]) * dy[i];
}

// y = 1 / (1 + exp(-x)); exp of -|x| neither overflows nor loses digits.
extern "C" __global__ void sigmoid(in x, in b, int channels, out y, long long n) {
    EACH(i, n) {
        const real v = biased(x, b, channels, i), e = exp(-fabs(v));
        y[i] = (v > 0 ? 1 : e) / (1 + e);
    }
}

// dx = y (1 - y) dy
extern "C" __global__ void sigmoid_backward(in dy, in y, out dx, long long n) {
    EACH(i, n) dx[i] = y[i] * (1 - y[i]) * dy[i];
}

// x (N) and y (M), one after the other.
extern "C" __global__ void concatenate(in x, in y, out z, long long first, long long n) {
    EACH(i, n) z[i] = i < first ? x[i] : y[i - first];
}

// With a rounding of its own, where the compiler would round once for the product and a sum.
__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }

// Bytes x (M, S) of those images that are chosen (N), as numbers y = scale x + shift (N, S).
extern "C" __global__ void scaled_pixels(const unsigned char* __restrict__ x, const long long* __restrict__ chosen, real scale,
                                         real shift, out y, long long size, long long n) {
    EACH(i, n) y[i] = product(x[chosen[i / size] * size + i % size], scale) + shift;
}

// y = scale keep x, and its own gradient. keep is (M, C): M masks, each for S pixels in turn, over and over. So x may be
// (N, S, C), a mask for all the pixels of a sample, or (H, N, W, C) with S = W.
extern "C" __global__ void dropout(in x, const bool* __restrict__ keep, real scale, out y, int masks, int pixels,
                                   int channels, long long n) {
    EACH(i, n) {
        const long long mask = i / channels / pixels % masks, channel = i % channels;
        y[i] = keep[mask * channels + channel] * x[i] * scale;
    }
}
