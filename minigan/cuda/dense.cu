// A dense layer of one unit (functional/dense.py): a block for each sample, which is a sum over its features.

// y (N) = x (N, I) w (I) + b
extern "C" __global__ void one_unit(in x, in w, in b, out y, int features) {
    double sum = 0;
    for (int i = threadIdx.x; i < features; i += blockDim.x) sum += (double)x[(long long)blockIdx.x * features + i] * w[i];
    sum = over_block(sum);
    if (threadIdx.x == 0) y[blockIdx.x] = sum + b[0];
}
