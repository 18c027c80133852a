// Update rules: parameters, gradient and moments in one pass; the formulas are those of optim/. Each leaves the gradient
// at zero, where the next round adds to it. What is read is read before anything is written: the compiler keeps that order,
// and a thread waits for all of it at once instead of for one array after the other.
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
        const real before = theta[i], velocity = *momentum * v[i] - *lr * g[i];
        v[i] = velocity;
        theta[i] = before + velocity;
        g[i] = 0;
    }
}

// v <- rho v + rest g^2,    theta <- theta - lr g / (sqrt(v) + eps),    where rest = 1 - rho
extern "C" __global__ void rmsprop(inout theta, inout g, inout v, in lr, real rho, real rest, real eps, long long n) {
    EACH(i, n) {
        const real before = theta[i], d = g[i], square = rho * v[i] + rest * d * d;
        v[i] = square;
        theta[i] = before - *lr * d / (sqrt(square) + eps);
        g[i] = 0;
    }
}

// m <- beta1 m + rest1 g,    v <- beta2 v + rest2 g^2
// theta <- theta - step m / (correction sqrt(v) + eps)
// where step = lr / (1 - beta1^t), correction = 1 / sqrt(1 - beta2^t), rest1 = 1 - beta1 and rest2 = 1 - beta2.
extern "C" __global__ void adam(inout theta, inout g, inout m, inout v, in step, in correction, real beta1, real rest1,
                                real beta2, real rest2, real eps, long long n) {
    EACH(i, n) {
        const real before = theta[i], d = g[i], mean = beta1 * m[i] + rest1 * d, square = beta2 * v[i] + rest2 * d * d;
        m[i] = mean;
        v[i] = square;
        theta[i] = before - *step * mean / (*correction * sqrt(square) + eps);
        g[i] = 0;
    }
}

// average <- old average + fresh theta
extern "C" __global__ void move_average(inout average, in theta, in old, in fresh, long long n) {
    EACH(i, n) average[i] = *old * average[i] + *fresh * theta[i];
}
