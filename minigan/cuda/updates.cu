// Update rules: parameters, gradient and moments in one pass; the formulas are those of optim/. Each leaves the gradient
// at zero, where the next round adds to it.
//
// What changes from update to update (the learning rate, Adam's corrections) is read from the GPU's memory, where
// each is an array of one number: a launch that is recorded once then follows the schedule when it is repeated.

typedef real* __restrict__ inout;  // read and written

// theta <- theta - lr g
extern "C" __global__ void sgd(inout theta, inout g, in lr, long long n) {
    EACH(i, n) {
        theta[i] -= *lr * g[i];
        g[i] = 0;
    }
}

// v <- momentum v - lr g,    theta <- theta + v
extern "C" __global__ void momentum(inout theta, inout g, inout v, in lr, in momentum, long long n) {
    EACH(i, n) {
        v[i] = *momentum * v[i] - *lr * g[i];
        theta[i] += v[i];
        g[i] = 0;
    }
}

// v <- rho v + rest g^2,    theta <- theta - lr g / (sqrt(v) + eps),    where rest = 1 - rho
extern "C" __global__ void rmsprop(inout theta, inout g, inout v, in lr, real rho, real rest, real eps, long long n) {
    EACH(i, n) {
        v[i] = rho * v[i] + rest * g[i] * g[i];
        theta[i] -= *lr * g[i] / (sqrt(v[i]) + eps);
        g[i] = 0;
    }
}

// m <- beta1 m + rest1 g,    v <- beta2 v + rest2 g^2
// theta <- theta - step m / (correction sqrt(v) + eps)
// where step = lr / (1 - beta1^t), correction = 1 / sqrt(1 - beta2^t), rest1 = 1 - beta1 and rest2 = 1 - beta2.
extern "C" __global__ void adam(inout theta, inout g, inout m, inout v, in step, in correction, real beta1, real rest1,
                                real beta2, real rest2, real eps, long long n) {
    EACH(i, n) {
        m[i] = beta1 * m[i] + rest1 * g[i];
        v[i] = beta2 * v[i] + rest2 * g[i] * g[i];
        theta[i] -= *step * m[i] / (*correction * sqrt(v[i]) + eps);
        g[i] = 0;
    }
}

// average <- old average + fresh theta
extern "C" __global__ void move_average(inout average, in theta, in old, in fresh, long long n) {
    EACH(i, n) average[i] = *old * average[i] + *fresh * theta[i];
}
