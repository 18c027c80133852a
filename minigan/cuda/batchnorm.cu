// Batch normalisation of rows x (R, C), and the leaky rectifier behind it; beside functional/batchnorm.py
// and batchnorm_leaky.py. Also the gradient of a bias, which is a part of it.
//
//     y = leaky(gamma x_hat + beta),    x_hat = (x - mean) inv_std,    leaky(v) = v where v > 0, else slope v
//
// Slope 1 leaves the rectifier out. A block is 32 channels wide (threadIdx.x), which lie side by side in memory, and
// several rows high (threadIdx.y: its lanes); it walks down one chunk of `height` rows, its blockIdx.y. Sums over all
// rows need all chunks, so each way takes three kernels: a sum for each chunk, their sums, and the result.

#define WIDTH 32
#define MOST_LANES 32
#define CHANNEL (blockIdx.x * WIDTH + threadIdx.x)

// A lane's rows of a chunk; at: where the number of channel c is.
#define EACH_ROW(chunk, at) \
    _Pragma("unroll 4") \
    for (long long row = chunk.first + threadIdx.y, at = row * channels + c; row < chunk.last; \
         row += blockDim.y, at += (long long)blockDim.y * channels)

struct Chunk { int first, last; };

static __device__ Chunk chunk_of_rows(int number, int rows, int height) {
    return {number * height, min((number + 1) * height, rows)};
}

// The sum over the lanes of a block, for each channel: always in the same order, and known to every lane.
static __device__ double over_lanes(double value) {
    __shared__ double values[MOST_LANES][WIDTH];
    __syncthreads();  // until every lane has read the sum before this one
    values[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    double sum = 0;
    for (int lane = 0; lane < blockDim.y; ++lane) sum += values[lane][threadIdx.x];
    return sum;
}

// Forward, 1: of each chunk p with n rows, its mean and its spread M = sum (x - mean)^2; both (P, C).
// With d = x - k for any k: mean = k + S/n and M = Q - S^2/n, where S = sum d and Q = sum d^2. The first row serves
// as k, since S^2/n must not be much larger than M.
extern "C" __global__ void moments(in x, out means, out spreads, int rows, int channels, int height) {
    const int c = CHANNEL;
    const Chunk chunk = chunk_of_rows(blockIdx.y, rows, height);
    const double n = chunk.last - chunk.first;
    double k = 0, s = 0, q = 0;
    if (c < channels) {
        k = x[(long long)chunk.first * channels + c];
        EACH_ROW(chunk, at) {
            const double d = x[at] - k;
            s += d;
            q += d * d;
        }
    }
    s = over_lanes(s);
    q = over_lanes(q);
    if (c < channels && threadIdx.y == 0) {
        means[blockIdx.y * channels + c] = k + s / n;
        spreads[blockIdx.y * channels + c] = q - s * s / n;
    }
}

// Forward, 2: all chunks together (Chan, Golub & LeVeque 1979).
//     mean = sum_p n_p mean_p / R,    M = sum_p (M_p + n_p (mean_p - mean)^2),    var = M / R
extern "C" __global__ void statistics(in means, in spreads, double eps, out mean, out var, out inv_std, int rows,
                                      int channels, int height) {
    const int c = CHANNEL, chunks = (rows + height - 1) / height;
    double sum = 0, spread = 0;
    for (int p = threadIdx.y; c < channels && p < chunks; p += blockDim.y) {
        const Chunk chunk = chunk_of_rows(p, rows, height);
        sum += (double)(chunk.last - chunk.first) * means[p * channels + c];
    }
    const double mu = over_lanes(sum) / rows;
    for (int p = threadIdx.y; c < channels && p < chunks; p += blockDim.y) {
        const Chunk chunk = chunk_of_rows(p, rows, height);
        const double apart = means[p * channels + c] - mu;
        spread += spreads[p * channels + c] + (chunk.last - chunk.first) * apart * apart;
    }
    const double variance = over_lanes(spread) / rows;
    if (c < channels && threadIdx.y == 0) {
        mean[c] = mu;
        var[c] = variance;
        inv_std[c] = 1 / sqrt(variance + eps);
    }
}

// What the rectifier is given. One product and sum with one rounding, so that backward finds the sign forward had.
static __device__ real before_rectifier(real x, real mean, real gain, real beta) {
    return fma(x - mean, gain, beta);
}

// Forward, 3: y, with the factor gain = gamma inv_std.
extern "C" __global__ void normalise(in x, in gamma, in beta, in mean, in inv_std, real slope, out y, int rows,
                                     int channels, int height) {
    const int c = CHANNEL;
    if (c >= channels) return;
    const real gain = gamma[c] * inv_std[c];
    const Chunk chunk = chunk_of_rows(blockIdx.y, rows, height);
    EACH_ROW(chunk, at) {
        const real v = before_rectifier(x[at], mean[c], gain, beta[c]);
        y[at] = v > 0 ? v : slope * v;
    }
}

// Backward, 1: of each chunk, the sums of dv and of dv (x - mean); both (P, C). dv is what comes through the rectifier.
extern "C" __global__ void gradient_sums(in dy, in x, in gamma, in beta, in mean, in inv_std, real slope, out sums,
                                         out products, int rows, int channels, int height) {
    const int c = CHANNEL;
    const Chunk chunk = chunk_of_rows(blockIdx.y, rows, height);
    double sum = 0, product = 0;
    if (c < channels) {
        const real gain = gamma[c] * inv_std[c];
        EACH_ROW(chunk, at) {
            const real v = before_rectifier(x[at], mean[c], gain, beta[c]);
            const double dv = v > 0 ? dy[at] : slope * dy[at];
            sum += dv;
            product += dv * (x[at] - mean[c]);
        }
    }
    sum = over_lanes(sum);
    product = over_lanes(product);
    if (c < channels && threadIdx.y == 0) {
        sums[blockIdx.y * channels + c] = sum;
        products[blockIdx.y * channels + c] = product;
    }
}

// Backward, 2: all chunks together.    dbeta = sum dv,    dgamma = sum dv x_hat
extern "C" __global__ void parameter_gradients(in sums, in products, in inv_std, out dgamma, out dbeta, int rows,
                                               int channels, int height) {
    const int c = CHANNEL, chunks = (rows + height - 1) / height;
    double sum = 0, product = 0;
    for (int p = threadIdx.y; c < channels && p < chunks; p += blockDim.y) {
        sum += sums[p * channels + c];
        product += products[p * channels + c];
    }
    sum = over_lanes(sum);
    product = over_lanes(product);
    if (c < channels && threadIdx.y == 0) {
        dbeta[c] = sum;
        dgamma[c] = product * inv_std[c];
    }
}

// Backward, 3: dx = gamma inv_std (dv - (dbeta + x_hat dgamma) / R).
extern "C" __global__ void input_gradient(in dy, in x, in gamma, in beta, in mean, in inv_std, real slope, in dgamma,
                                          in dbeta, out dx, int rows, int channels, int height) {
    const int c = CHANNEL;
    if (c >= channels) return;
    const Chunk chunk = chunk_of_rows(blockIdx.y, rows, height);
    const real gain = gamma[c] * inv_std[c], mean_of_dv = dbeta[c] / rows, mean_of_dv_x_hat = dgamma[c] / rows;
    EACH_ROW(chunk, at) {
        const real v = before_rectifier(x[at], mean[c], gain, beta[c]);
        const real dv = v > 0 ? dy[at] : slope * dy[at];
        const real x_hat = (x[at] - mean[c]) * inv_std[c];
        dx[at] = gain * (dv - mean_of_dv - x_hat * mean_of_dv_x_hat);
    }
}

// The gradient of a bias: of each chunk, the sums of x; (P, C). `add`: to what is there.
extern "C" __global__ void column_sums(in x, real* sums, bool add, int rows, int channels, int height) {
    const int c = CHANNEL;
    const Chunk chunk = chunk_of_rows(blockIdx.y, rows, height);
    double sum = 0;
    if (c < channels) EACH_ROW(chunk, at) sum += x[at];
    sum = over_lanes(sum);
    if (c < channels && threadIdx.y == 0) {
        const int at = blockIdx.y * channels + c;
        sums[at] = add ? sums[at] + sum : sum;
    }
}

// The running statistics move towards those of a batch of R rows, whose variance is made unbiased.
//     running <- (1 - m) running + m new
extern "C" __global__ void move_statistics(in mean, in var, real momentum, real unbiased, real* running_mean,
                                           real* running_var, long long n) {
    EACH(i, n) {
        running_mean[i] = (1 - momentum) * running_mean[i] + momentum * mean[i];
        running_var[i] = (1 - momentum) * running_var[i] + momentum * unbiased * var[i];
    }
}
