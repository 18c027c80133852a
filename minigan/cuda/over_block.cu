// The sum over all threads of the block, a power of two up to this; always in the same order.
#define MOST_THREADS 1024

static __device__ double over_block(double value) {
    __shared__ double values[MOST_THREADS];
    __syncthreads();  // until every thread has read the sum before this one
    values[threadIdx.x] = value;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) values[threadIdx.x] += values[threadIdx.x + half];
    }
    __syncthreads();
    return values[0];
}
