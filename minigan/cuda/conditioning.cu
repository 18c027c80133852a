// A condition y (N, K) behind the channels of x (N, P, C): see functional/conditioning.py. Pixels lie with the rows of all
// images first, or with the samples: `each` pixels of a sample lie side by side, then those of the next sample, so that
// pixel number `row` is one of sample row / each % samples.

// h = [x, y] at every place.
extern "C" __global__ void with_condition(in x, in y, out h, int channels, int size, long long each, long long samples,
                                          long long n) {
    EACH(i, n) {
        const long long row = i / (channels + size);
        const int c = i % (channels + size);
        h[i] = c < channels ? x[row * channels + c] : y[row / each % samples * size + c - channels];
    }
}

// dx is dh without the condition.
extern "C" __global__ void without_condition(in dh, out dx, int channels, int size, long long n) {
    EACH(i, n) dx[i] = dh[i / channels * (channels + size) + i % channels];
}

// dy[n, k] is the sum over all places of what dh has behind the channels; a block for each number.
extern "C" __global__ void condition_gradient(in dh, out dy, int channels, int size, long long each, long long samples,
                                              long long places) {
    const long long n = blockIdx.x / size;
    const int k = blockIdx.x % size;
    double sum = 0;
    for (long long p = threadIdx.x; p < places; p += blockDim.x) {
        const long long row = p / each * each * samples + n * each + p % each;
        sum += dh[row * (channels + size) + channels + k];
    }
    sum = over_block(sum);
    if (threadIdx.x == 0) dy[blockIdx.x] = sum;
}

// dh with dy added where y is read, at the first place of each sample.
extern "C" __global__ void condition_of_backward(in dy, in dh, out sum, int channels, int size, long long each,
                                                 long long samples, long long n) {
    EACH(i, n) {
        const long long row = i / (channels + size);
        const int c = i % (channels + size);
        const bool read = c >= channels && row < each * samples && row % each == 0;
        sum[i] = dh[i] + (read ? dy[row / each * size + c - channels] : 0);
    }
}
