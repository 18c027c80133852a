// Batch normalisation of rows x (R, C), and the leaky rectifier behind it; beside functional/batchnorm.py
// and batchnorm_leaky.py. Also the gradient of a bias, which is a part of it.
//
//     y = leaky(gamma x_hat + beta),    x_hat = (x - mean) inv_std,    leaky(v) = v where v > 0, else slope v
//
// Slope 1 leaves the rectifier out. A block is 32 channels wide (threadIdx.x), which lie side by side in memory, and
// several rows high (threadIdx.y: its lanes); it walks down one chunk of `height` rows, its blockIdx.y. Sums over all
// rows need all chunks, so each way takes three kernels: a sum for each chunk, their sums, and the result.
//
// The rows may be of several parts, each with statistics of its own, (parts, C). In memory the parts take turns: `run`
// rows of the first, as many of the second, ..., of the first again. A chunk ends where its run ends.

#define WIDTH 32
#define MOST_LANES 32
#define CHANNEL (blockIdx.x * WIDTH + threadIdx.x)

// A lane's rows of a chunk; at: where the number of channel c is.
#define EACH_ROW(chunk, at) \
    _Pragma("unroll 4") \
    for (long long row = chunk.first + threadIdx.y, at = row * channels + c; row < chunk.last; \
         row += blockDim.y, at += (long long)blockDim.y * channels)

// How R rows are shared among chunks: see Split in batchnorm.py.
#define SPLIT int rows, int channels, int height, int run, int parts

struct Chunk { int first, last, part; };

static __device__ Chunk chunk_of_rows(int number, int height, int run, int parts) {
    const int each = (run + height - 1) / height;  // chunks of a run
    const int at = number / each, first = at * run + number % each * height;
    return {first, min(first + height, (at + 1) * run), at % parts};
}

// The j-th chunk of a part, by its number among all.
static __device__ int chunk_of_part(int j, int part, int height, int run, int parts) {
    const int each = (run + height - 1) / height;
    return (j / each * parts + part) * each + j % each;
}

static __device__ int chunks_of_part(int rows, int height, int run, int parts) {
    return rows / (run * parts) * ((run + height - 1) / height);
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
extern "C" __global__ void moments(in x, out means, out spreads, SPLIT) {
    const int c = CHANNEL;
    const Chunk chunk = chunk_of_rows(blockIdx.y, height, run, parts);
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

// Forward, 2: all chunks of a part together (Chan, Golub & LeVeque 1979); blockIdx.y is the part, with R rows.
//     mean = sum_p n_p mean_p / R,    M = sum_p (M_p + n_p (mean_p - mean)^2),    var = M / R
extern "C" __global__ void statistics(in means, in spreads, double eps, out mean, out var, out inv_std, SPLIT) {
    const int c = CHANNEL, chunks = chunks_of_part(rows, height, run, parts), mine = rows / parts;
    double sum = 0, spread = 0;
    _Pragma("unroll 4") for (int j = threadIdx.y; c < channels && j < chunks; j += blockDim.y) {
        const int p = chunk_of_part(j, blockIdx.y, height, run, parts);
        const Chunk chunk = chunk_of_rows(p, height, run, parts);
        sum += (double)(chunk.last - chunk.first) * means[p * channels + c];
    }
    const double mu = over_lanes(sum) / mine;
    _Pragma("unroll 4") for (int j = threadIdx.y; c < channels && j < chunks; j += blockDim.y) {
        const int p = chunk_of_part(j, blockIdx.y, height, run, parts);
        const Chunk chunk = chunk_of_rows(p, height, run, parts);
        const double apart = means[p * channels + c] - mu;
        spread += spreads[p * channels + c] + (chunk.last - chunk.first) * apart * apart;
    }
    const double variance = over_lanes(spread) / mine;
    if (c < channels && threadIdx.y == 0) {
        const int at = blockIdx.y * channels + c;
        mean[at] = mu;
        var[at] = variance;
        inv_std[at] = 1 / sqrt(variance + eps);
    }
}

// What the rectifier is given. One product and sum with one rounding, so that backward finds the sign forward had.
static __device__ real before_rectifier(real x, real mean, real gain, real beta) {
    return fma(x - mean, gain, beta);
}

// Forward, 3: y, with the factor gain = gamma inv_std.
extern "C" __global__ void normalise(in x, in gamma, in beta, in mean, in inv_std, real slope, out y, SPLIT) {
    const int c = CHANNEL;
    if (c >= channels) return;
    const Chunk chunk = chunk_of_rows(blockIdx.y, height, run, parts);
    const int own = chunk.part * channels + c;
    const real gain = gamma[c] * inv_std[own];
    EACH_ROW(chunk, at) {
        const real v = before_rectifier(x[at], mean[own], gain, beta[c]);
        y[at] = v > 0 ? v : slope * v;
    }
}

// Backward, 1: of each chunk, the sums of dv and of dv (x - mean); both (P, C). dv is what comes through the rectifier.
extern "C" __global__ void gradient_sums(in dy, in x, in gamma, in beta, in mean, in inv_std, real slope, out sums,
                                         out products, SPLIT) {
    const int c = CHANNEL;
    const Chunk chunk = chunk_of_rows(blockIdx.y, height, run, parts);
    double sum = 0, product = 0;
    if (c < channels) {
        const int own = chunk.part * channels + c;
        const real gain = gamma[c] * inv_std[own];
        EACH_ROW(chunk, at) {
            const real v = before_rectifier(x[at], mean[own], gain, beta[c]);
            const double dv = v > 0 ? dy[at] : slope * dy[at];
            sum += dv;
            product += dv * (x[at] - mean[own]);
        }
    }
    sum = over_lanes(sum);
    product = over_lanes(product);
    if (c < channels && threadIdx.y == 0) {
        sums[blockIdx.y * channels + c] = sum;
        products[blockIdx.y * channels + c] = product;
    }
}

// Backward, 2: all chunks of a part together, (parts, C), and all parts, (C).    dbeta = sum dv,    dgamma = sum dv x_hat
extern "C" __global__ void parameter_gradients(in sums, in products, in inv_std, out own_dgamma, out own_dbeta,
                                               out dgamma, out dbeta, SPLIT) {
    const int c = CHANNEL, chunks = chunks_of_part(rows, height, run, parts);
    double all_sums = 0, all_products = 0;
    for (int part = 0; part < parts; ++part) {
        double sum = 0, product = 0;
        _Pragma("unroll 4") for (int j = threadIdx.y; c < channels && j < chunks; j += blockDim.y) {
            const int p = chunk_of_part(j, part, height, run, parts);
            sum += sums[p * channels + c];
            product += products[p * channels + c];
        }
        sum = over_lanes(sum);
        product = over_lanes(product);
        if (c < channels && threadIdx.y == 0) {
            const int at = part * channels + c;
            own_dbeta[at] = sum;
            own_dgamma[at] = product * inv_std[at];
            all_sums += sum;
            all_products += product * inv_std[at];
        }
    }
    if (c < channels && threadIdx.y == 0) {
        dbeta[c] = all_sums;
        dgamma[c] = all_products;
    }
}

// Backward, 3: dx = gamma inv_std (dv - (dbeta + x_hat dgamma) / R), with dbeta, dgamma and R of the part.
extern "C" __global__ void input_gradient(in dy, in x, in gamma, in beta, in mean, in inv_std, real slope,
                                          in own_dgamma, in own_dbeta, out dx, SPLIT) {
    const int c = CHANNEL;
    if (c >= channels) return;
    const Chunk chunk = chunk_of_rows(blockIdx.y, height, run, parts);
    const int own = chunk.part * channels + c, mine = rows / parts;
    const real gain = gamma[c] * inv_std[own];
    const real mean_of_dv = own_dbeta[own] / mine, mean_of_dv_x_hat = own_dgamma[own] / mine;
    EACH_ROW(chunk, at) {
        const real v = before_rectifier(x[at], mean[own], gain, beta[c]);
        const real dv = v > 0 ? dy[at] : slope * dy[at];
        const real x_hat = (x[at] - mean[own]) * inv_std[own];
        dx[at] = gain * (dv - mean_of_dv - x_hat * mean_of_dv_x_hat);
    }
}

// The gradient of a bias: of each chunk, the sums of x; (P, C). `add`: to what is there.
extern "C" __global__ void column_sums(in x, real* sums, bool add, SPLIT) {
    const int c = CHANNEL;
    const Chunk chunk = chunk_of_rows(blockIdx.y, height, run, parts);
    double sum = 0;
    if (c < channels) EACH_ROW(chunk, at) sum += x[at];
    sum = over_lanes(sum);
    if (c < channels && threadIdx.y == 0) {
        const int at = blockIdx.y * channels + c;
        sums[at] = add ? sums[at] + sum : sum;
    }
}

// The running statistics (C) move towards those of each part, (parts, C), of R rows, whose variance is made unbiased.
//     running <- (1 - m) running + m new
extern "C" __global__ void move_statistics(in mean, in var, real momentum, real unbiased, real* running_mean,
                                           real* running_var, int parts, long long n) {
    EACH(i, n) {
        for (int part = 0; part < parts; ++part) {
            const long long at = part * n + i;
            running_mean[i] = (1 - momentum) * running_mean[i] + momentum * mean[at];
            running_var[i] = (1 - momentum) * running_var[i] + momentum * unbiased * var[at];
        }
    }
}

// The gradients of gamma and beta (C) are added to those of the passes before.
extern "C" __global__ void add_gradients(in dgamma, in dbeta, real* gamma_total, real* beta_total, long long n) {
    EACH(i, n) {
        gamma_total[i] += dgamma[i];
        beta_total[i] += dbeta[i];
    }
}
