// What the players minimise, with its gradient, in one launch; the formulas are those of functional/gan_losses.py.
//
// With D = sigmoid(s) of a logit s: -log D = softplus(-s) and -log(1 - D) = softplus(s). A loss is one number made of
// a few hundred: one block does it all.

#define MOST_THREADS 1024

static __device__ real sigmoid_of(real s) {  // exp of -|s| neither overflows nor loses digits
    const real e = exp(-fabs(s));
    return (s > 0 ? 1 : e) / (1 + e);
}

static __device__ real softplus_of(real s) {
    return (s > 0 ? s : 0) + log1p(exp(-fabs(s)));
}

// The sum over all threads of the block, a power of two; always in the same order.
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

// L = c mean((1 - a) softplus(-r) + a softplus(r)) + c mean(softplus(f)) for smoothing a and scale c,
// dr = c/n (a sigmoid(r) - (1 - a) sigmoid(-r)) and df = c/m sigmoid(f).
extern "C" __global__ void discriminator_bce(in r, in f, real a, real c, out dr, out df, out loss, long long n,
                                             long long m) {
    double real_sum = 0, fake_sum = 0;
    EACH(i, n) {
        real_sum += (1 - a) * softplus_of(-r[i]) + a * softplus_of(r[i]);
        dr[i] = (a * sigmoid_of(r[i]) - (1 - a) * sigmoid_of(-r[i])) * (c / n);
    }
    EACH(i, m) {
        fake_sum += softplus_of(f[i]);
        df[i] = sigmoid_of(f[i]) * (c / m);
    }
    const double mean = over_block(real_sum) / n + over_block(fake_sum) / m;
    if (threadIdx.x == 0) loss[0] = c * mean;
}

// L = -mean(softplus(f)) and df = -1/m sigmoid(f)
extern "C" __global__ void generator_minimax(in f, out df, out loss, long long m) {
    double sum = 0;
    EACH(i, m) {
        sum += softplus_of(f[i]);
        df[i] = -sigmoid_of(f[i]) / m;
    }
    sum = over_block(sum);
    if (threadIdx.x == 0) loss[0] = -sum / m;
}

// L = mean(softplus(-f)) and df = -1/m sigmoid(-f)
extern "C" __global__ void generator_non_saturating(in f, out df, out loss, long long m) {
    double sum = 0;
    EACH(i, m) {
        sum += softplus_of(-f[i]);
        df[i] = -sigmoid_of(-f[i]) / m;
    }
    sum = over_block(sum);
    if (threadIdx.x == 0) loss[0] = sum / m;
}

// mean(sigmoid(s))
extern "C" __global__ void mean_probability(in s, out mean, long long m) {
    double sum = 0;
    EACH(i, m) sum += sigmoid_of(s[i]);
    sum = over_block(sum);
    if (threadIdx.x == 0) mean[0] = sum / m;
}

// b where it is not nearly zero, and a over that.
extern "C" __global__ void safe_quotient(in a, in b, out divisor, out quotient, long long n) {
    EACH(i, n) {
        const real d = fabs(b[i]) < (real)1e-20 ? (real)1e-20 : b[i];
        divisor[i] = d;
        quotient[i] = a[i] / d;
    }
}
