// What every file of kernels begins with. REAL is float or double: each file is compiled for both.

typedef REAL real;
typedef const real* __restrict__ in;  // an array that is read, and shares no memory with one that is written
typedef real* __restrict__ out;

// One thread's share of the numbers 0 ... n - 1: any number of threads covers all of them.
#define EACH(i, n) \
    _Pragma("unroll 4") \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)
