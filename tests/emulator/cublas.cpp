// cuBLAS, as far as CuPy and minigan/cuda/cublas.py call it: products of column-major matrices, by their definition.

#include <stdio.h>
#include <algorithm>
#include "emulator.h"

enum Status { FINE = 0, NOT_INITIALIZED = 1, INVALID = 7, FAILED = 14, UNSUPPORTED = 15 };
enum { R_32F = 0, R_64F = 1, COMPUTE_32F = 68, COMPUTE_64F = 70, COMPUTE_TF32 = 77 };

struct Handle { Stream* stream; bool scalars_on_device; void* workspace; int math; };

// A matrix, or each of a batch: where it lies, its leading dimension, and the way to the next one.
template <class T> struct Matrix { T* start; int leading; long long step; };
struct Shape { bool transposed_a, transposed_b; int m, n, k, batch; };

// C = alpha A B + beta C
template <class T>
static void product(Shape s, T alpha, const T* a, int lda, const T* b, int ldb, T beta, T* c, int ldc) {
    std::vector<T> rows((size_t)s.m * s.k), sums(s.m);  // A's columns, one after the other
    for (size_t l = 0; l < (size_t)s.k; ++l)
        for (size_t i = 0; i < (size_t)s.m; ++i) rows[l * s.m + i] = s.transposed_a ? a[i * lda + l] : a[l * lda + i];
    for (size_t j = 0; j < (size_t)s.n; ++j) {
        std::fill(sums.begin(), sums.end(), T(0));
        for (size_t l = 0; l < (size_t)s.k; ++l) {
            const T factor = s.transposed_b ? b[l * ldb + j] : b[j * ldb + l];
            for (int i = 0; i < s.m; ++i) sums[i] += rows[l * s.m + i] * factor;
        }
        for (int i = 0; i < s.m; ++i) {  // with beta = 0, C may hold NaN
            T& to = c[j * ldc + i];
            to = beta == 0 ? alpha * sums[i] : alpha * sums[i] + beta * to;
        }
    }
}

template <class T>
static int products(Handle* handle, Shape s, const void* alpha, Matrix<const T> a, Matrix<const T> b, const void* beta,
                    Matrix<T> c) {
    ONE_AT_A_TIME;
    if (!handle) return NOT_INITIALIZED;
    const bool fits = a.leading >= std::max(1, s.transposed_a ? s.k : s.m) && c.leading >= std::max(1, s.m)
                      && b.leading >= std::max(1, s.transposed_b ? s.n : s.k);
    if (!alpha || !beta || std::min({s.m, s.n, s.k}) < 0 || !fits) return INVALID;
    if (handle->scalars_on_device) return UNSUPPORTED;
    if (handle->stream->capture && !handle->workspace) return FAILED;  // it would allocate
    const T alpha_now = *(const T*)alpha, beta_now = *(const T*)beta;  // baked in
    const Error error = launch(handle->stream, "product", [=] {
        for (int i = 0; i < s.batch; ++i)
            product<T>(s, alpha_now, a.start + i * a.step, a.leading, b.start + i * b.step, b.leading, beta_now,
                       c.start + i * c.step, c.leading);
    });
    return error ? FAILED : FINE;
}

API int cublasGemmStridedBatchedEx(Handle* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                                   int type_a, int lda, long long step_a, const void* b, int type_b, int ldb,
                                   long long step_b, const void* beta, void* c, int type_c, int ldc, long long step_c,
                                   int batch, int compute, int) {
    if (type_a != type_b || type_a != type_c || (unsigned)ta > 1 || (unsigned)tb > 1) return INVALID;
    const Shape shape{!!ta, !!tb, m, n, k, batch};
    if (type_a == R_32F && (compute == COMPUTE_32F || compute == COMPUTE_TF32))
        return products<float>(handle, shape, alpha, {(const float*)a, lda, step_a}, {(const float*)b, ldb, step_b}, beta,
                               {(float*)c, ldc, step_c});
    if (type_a == R_64F && compute == COMPUTE_64F)
        return products<double>(handle, shape, alpha, {(const double*)a, lda, step_a}, {(const double*)b, ldb, step_b},
                                beta, {(double*)c, ldc, step_c});
    return UNSUPPORTED;
}

API int cublasGemmEx(Handle* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int type_a,
                     int lda, const void* b, int type_b, int ldb, const void* beta, void* c, int type_c, int ldc,
                     int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c,
                                      type_c, ldc, 0, 1, compute, algorithm);
}

template <class T> static T scalar(bool on_device, const T* at, T otherwise) { return on_device ? otherwise : *at; }

// Those of CuPy's own products, transposes and sums of products, for float (S) and double (D).
#define FOR_TYPE(S, T) \
    API int cublas##S##gemm_v2(Handle* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* a, int lda, \
                               const T* b, int ldb, const T* beta, T* c, int ldc) { \
        return products<T>(h, {!!ta, !!tb, m, n, k, 1}, alpha, {a, lda, 0}, {b, ldb, 0}, beta, {c, ldc, 0}); \
    } \
    API int cublas##S##gemmStridedBatched(Handle* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* a, \
                                          int lda, long long step_a, const T* b, int ldb, long long step_b, \
                                          const T* beta, T* c, int ldc, long long step_c, int batch) { \
        return products<T>(h, {!!ta, !!tb, m, n, k, batch}, alpha, {a, lda, step_a}, {b, ldb, step_b}, beta, \
                           {c, ldc, step_c}); \
    } \
    API int cublas##S##gemmBatched(Handle* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* const* a, \
                                   int lda, const T* const* b, int ldb, const T* beta, T* const* c, int ldc, \
                                   int batch) { \
        ONE_AT_A_TIME; \
        const T x = *alpha, y = *beta; \
        return launch(h->stream, "product", [=] { \
            for (int i = 0; i < batch; ++i) \
                product<T>({!!ta, !!tb, m, n, k, 1}, x, a[i], lda, b[i], ldb, y, c[i], ldc); \
        }) ? FAILED : FINE; \
    } \
    API int cublas##S##gemv_v2(Handle* h, int t, int m, int n, const T* alpha, const T* a, int lda, const T* x, int dx, \
                               const T* beta, T* y, int dy) { \
        return products<T>(h, {false, !t, 1, t ? n : m, t ? m : n, 1}, alpha, {x, dx, 0}, {a, lda, 0}, beta, \
                           {y, dy, 0}); \
    } \
    API int cublas##S##dot_v2(Handle* h, int n, const T* x, int dx, const T* y, int dy, T* to) { \
        ONE_AT_A_TIME; \
        const Error error = launch(h->stream, "product", [=] { \
            T sum = 0; \
            for (long long i = 0; i < n; ++i) sum += x[i * dx] * y[i * dy]; \
            *to = sum; \
        }); \
        if (!h->scalars_on_device) finish(h->stream); \
        return error ? FAILED : FINE; \
    } \
    API int cublas##S##geam(Handle* h, int ta, int tb, int m, int n, const T* alpha, const T* a, int lda, \
                            const T* beta, const T* b, int ldb, T* c, int ldc) { \
        ONE_AT_A_TIME; \
        const bool there = h->scalars_on_device; \
        const T x_now = scalar<T>(there, alpha, 0), y_now = scalar<T>(there, beta, 0); \
        return launch(h->stream, "transpose", [=] { \
            const T x = there ? *alpha : x_now, y = there ? *beta : y_now; \
            for (size_t j = 0; j < (size_t)n; ++j) \
                for (size_t i = 0; i < (size_t)m; ++i) \
                    c[j * ldc + i] = (x == 0 ? 0 : x * (ta ? a[i * lda + j] : a[j * lda + i])) + \
                                     (y == 0 ? 0 : y * (tb ? b[i * ldb + j] : b[j * ldb + i])); \
        }) ? FAILED : FINE; \
    }
FOR_TYPE(S, float)
FOR_TYPE(D, double)

// -- The handle ------------------------------------------------------------------------------------------

API int cublasCreate_v2(Handle** made) { return *made = new Handle{&default_stream, false, nullptr, 0}, FINE; }
API int cublasDestroy_v2(Handle*) { return FINE; }
API int cublasGetVersion_v2(Handle*, int* version) { return *version = 10 * CUDA_VERSION, FINE; }
API int cublasGetProperty(int which, int* value) { return *value = which == 0 ? CUDA_VERSION / 1000 : which == 1 ? CUDA_VERSION / 10 % 100 : 0, FINE; }

API int cublasSetStream_v2(Handle* handle, void* stream) {
    handle->stream = stream_of(stream);
    handle->workspace = nullptr;  // setting a stream takes it away
    return FINE;
}

API int cublasGetStream_v2(Handle* handle, void** stream) { return *stream = handle->stream, FINE; }

API int cublasSetWorkspace_v2(Handle* handle, void* start, size_t size) {
    ONE_AT_A_TIME;
    if (place_of(start, size) != ON_DEVICE) return INVALID;
    handle->workspace = start;
    return FINE;
}

API int cublasSetPointerMode_v2(Handle* handle, int mode) { return handle->scalars_on_device = mode, FINE; }
API int cublasGetPointerMode_v2(Handle* handle, int* mode) { return *mode = handle->scalars_on_device, FINE; }
API int cublasSetMathMode(Handle* handle, int mode) { return handle->math = mode, FINE; }
API int cublasGetMathMode(Handle* handle, int* mode) { return *mode = handle->math, FINE; }
API const char* cublasGetStatusString(int) { return "an error of the emulated GPU"; }
