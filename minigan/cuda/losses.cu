// What the players minimise, with its gradient, in one launch; the formulas are those of functional/gan_losses.py.
//
// With D = sigmoid(s) of a logit s: -log D = softplus(-s) and -log(1 - D) = softplus(s). A loss is one number made of
// a few hundred: one block does it all.

static __device__ real sigmoid_of(real s) {  // exp of -|s| neither overflows nor loses digits
    const real e = exp(-fabs(s));
    return (s > 0 ? 1 : e) / (1 + e);
}

static __device__ real softplus_of(real s) {
    return (s > 0 ? s : 0) + log1p(exp(-fabs(s)));
}

// -(1 - a) log D - a log(1 - D), and its derivative.
static __device__ real real_loss(real s, real a) { return (1 - a) * softplus_of(-s) + a * softplus_of(s); }
static __device__ real real_slope(real s, real a) { return a * sigmoid_of(s) - (1 - a) * sigmoid_of(-s); }

// L = c mean((1 - a) softplus(-r) + a softplus(r)) + c mean(softplus(f)) for smoothing a and scale c,
// dr = c/n (a sigmoid(r) - (1 - a) sigmoid(-r)) and df = c/m sigmoid(f).
extern "C" __global__ void discriminator_bce(in r, in f, real a, real c, out dr, out df, out loss, long long n,
                                             long long m) {
    double real_sum = 0, fake_sum = 0;
    EACH(i, n) {
        real_sum += real_loss(r[i], a);
        dr[i] = real_slope(r[i], a) * (c / n);
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

static __device__ real not_zero(real b) { return fabs(b) < (real)1e-20 ? (real)1e-20 : b; }

// b where it is not nearly zero, and a over that.
extern "C" __global__ void safe_quotient(in a, in b, out divisor, out quotient, long long n) {
    EACH(i, n) {
        divisor[i] = not_zero(b[i]);
        quotient[i] = a[i] / divisor[i];
    }
}

// All of that at once, of the logits s of n real and then m generated samples. ds is D's gradient, on generated samples the
// divisor; ratio is G's over that; found is the loss of D, that of G, and the two means of D.
extern "C" __global__ void both_bce(in s, real a, real c, bool saturating, out ds, out ratio, out found, long long n,
                                    long long m) {
    double loss_real = 0, loss_fake = 0, loss_g = 0, p_real = 0, p_fake = 0;
    EACH(i, n) {
        loss_real += real_loss(s[i], a);
        p_real += sigmoid_of(s[i]);
        ds[i] = real_slope(s[i], a) * (c / n);
    }
    EACH(i, m) {
        const real f = s[n + i], p = sigmoid_of(f);
        const real divisor = not_zero(p * (c / m));
        loss_fake += softplus_of(f);
        loss_g += saturating ? -softplus_of(f) : softplus_of(-f);
        p_fake += p;
        ds[n + i] = divisor;
        ratio[i] = -(saturating ? p : sigmoid_of(-f)) / m / divisor;
    }
    const double d = over_block(loss_real) / n + over_block(loss_fake) / m;
    const double means[] = {c * d, over_block(loss_g) / m, over_block(p_real) / n, over_block(p_fake) / m};
    if (threadIdx.x == 0)
        for (int i = 0; i < 4; ++i) found[i] = means[i];
}
