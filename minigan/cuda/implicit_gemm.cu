// Convolution as a matrix product whose large matrix is nowhere: its numbers are looked up in the image when they are
// needed. implicit_gemm.py says which product it is.
//
// A block of 128 threads, four warps, computes 128 x COLUMNS numbers of the result, and walks along the sum in steps of 16.
// For a step it copies 128 x 16 numbers of the left matrix and 16 x COLUMNS of the right one into shared memory, two steps
// ahead of the one that is being multiplied. Each warp multiplies a quarter of the result on tensor cores, in TF32.

#define UNROLL _Pragma("unroll")  // so that arrays are registers

const int ROWS = 128, STEP = 16, AHEAD = 2, STAGES = AHEAD + 1, THREADS = 128;
// A tile lies in shared memory as in the GPU's: with the sum's numbers side by side, or the rows' (or columns'). The gaps
// put what the threads of a warp read at once into 32 different banks.
const int ALONG_SUM = STEP + 4, GAP = 8, TILE = ROWS * ALONG_SUM;

// i / by and i % by for 0 <= i < 2^31, by a product (Granlund & Montgomery 1994, theorem 4.2): a GPU has no instruction for it.
struct Divisor {
    int by, shift;
    unsigned long long factor;

    __device__ explicit Divisor(int by) : by(by), shift(31) {
        while (1ull << (shift - 31) < by) ++shift;
        factor = ((1ull << shift) + by - 1) / by;
    }
    __device__ int quotient(int i) const { return (int)(i * factor >> shift); }
    __device__ int rest(int i) const { return i - quotient(i) * by; }
};

struct Image {
    const float* data;
    int height, width, channels, to_image, to_row;  // numbers from one image to the next, and from one row to the next
};
struct Place { int n, h, w; };  // n < 0: there is none
struct Tap { int a, b, c; };  // that many rows and columns further, and the channel
struct Found { const float* at; bool there; };  // four numbers, or nothing, which counts as zeros

// Four channels of the pixel that a tap sees from a place, or nothing outside of the image.
__device__ inline Found look(const Image& x, const Place& place, const Tap& tap) {
    const int h = place.h + tap.a, w = place.w + tap.b;
    const bool inside = place.n >= 0 && (unsigned)h < (unsigned)x.height && (unsigned)w < (unsigned)x.width;
    return {x.data + (inside ? place.n * x.to_image + h * x.to_row + w * x.channels + tap.c : 0), inside};
}

// Some places of each image, numbered.
struct Places {
    int images;
    Divisor of_image, of_row;

    __device__ Places(int images, int height, int width) : images(images), of_image(height * width), of_row(width) {}
    __device__ Place operator[](int i) const {
        const int n = of_image.quotient(i), rest = of_image.rest(i);
        return {n < images ? n : -1, of_row.quotient(rest), of_row.rest(rest)};
    }
    __device__ int count() const { return images * of_image.by; }
};

// The taps of a kernel with the channels of each, numbered.
struct Taps {
    Divisor of_tap, of_row;

    __device__ Taps(int width, int channels) : of_tap(channels), of_row(width) {}
    __device__ Tap operator[](int k) const {
        const int tap = of_tap.quotient(k);
        return {of_row.quotient(tap), of_row.rest(tap), of_tap.rest(k)};
    }
};

struct Sizes {
    int images, height, width, channels, places_h, places_w, outputs, taps_h, taps_w, stride_h, stride_w, top, left;

    // The pixel that the first tap sees from a place.
    __device__ Place corner(const Place& p) const { return {p.n, p.h * stride_h - top, p.w * stride_w - left}; }
};

// y (n p q, o) = sum over taps (a b c) of x (n p q, a b c) w (a b c, o)
struct Forward {
    static const bool A_ALONG_SUM = true, B_ALONG_SUM = false;
    const Sizes& s;
    Image x;
    const float* w;
    Image y;
    Places places;
    Taps taps;

    __device__ Forward(const Sizes& s, const Image& x, const float* w, const Image& y)
        : s(s), x(x), w(w), y(y), places(s.images, s.places_h, s.places_w), taps(s.taps_w, s.channels) {}
    __device__ int rows() const { return places.count(); }
    __device__ int columns() const { return s.outputs; }
    __device__ int depth() const { return s.taps_h * s.taps_w * s.channels; }
    __device__ Place row(int m) const { return s.corner(places[m]); }
    __device__ Tap term(int k) const { return taps[k]; }
    __device__ Found a(const Place& row, const Tap& term) const { return look(x, row, term); }
    __device__ Found b(int k, int n) const { return {w + (n < s.outputs ? k * s.outputs + n : 0), n < s.outputs}; }
    __device__ int result(int m) const {
        const Place p = places[m];
        return p.n * y.to_image + p.h * y.to_row + p.w * s.outputs;
    }
};

// x (n h w, c) = sum over those taps (a b) that see the pixel from a place, and o, of y (..., o) w (a b c, o).
// In each direction these are every stride-th tap from one on that is the same for every stride-th pixel: a phase.
struct InputGrad {
    static const bool A_ALONG_SUM = true, B_ALONG_SUM = true;
    const Sizes& s;
    Image y;
    const float* w;
    Image x;
    int phase_h, phase_w, seen_h, seen_w, first_h, first_w;  // how many taps see a pixel, and which pixel is the first
    Places pixels;
    Taps taps;

    __device__ InputGrad(const Sizes& s, const Image& y, const float* w, const Image& x, int phase)
        : s(s), y(y), w(w), x(x), phase_h(phase / s.stride_w), phase_w(phase % s.stride_w),
          seen_h((s.taps_h - phase_h + s.stride_h - 1) / s.stride_h),
          seen_w((s.taps_w - phase_w + s.stride_w - 1) / s.stride_w),
          first_h((s.top * (s.stride_h - 1) + phase_h) % s.stride_h),  // phase - top modulo stride
          first_w((s.left * (s.stride_w - 1) + phase_w) % s.stride_w),
          pixels(s.images, (s.height + s.stride_h - 1) / s.stride_h, (s.width + s.stride_w - 1) / s.stride_w),
          taps(max(seen_w, 1), s.outputs) {}
    __device__ int rows() const { return pixels.count(); }
    __device__ int columns() const { return s.channels; }
    __device__ int depth() const { return seen_h * seen_w * s.outputs; }
    __device__ Place pixel(int m) const {
        const Place p = pixels[m];
        const int h = first_h + p.h * s.stride_h, w = first_w + p.w * s.stride_w;
        return {h < s.height && w < s.width ? p.n : -1, h, w};
    }
    __device__ Place row(int m) const {  // from which the first of these taps sees the pixel
        const Place p = pixel(m);
        return {p.n, (p.h + s.top) / s.stride_h, (p.w + s.left) / s.stride_w};
    }
    __device__ Tap term(int k) const {  // the next one sees it from a place before
        const Tap t = taps[k];
        return {-t.a, -t.b, t.c};
    }
    __device__ Found a(const Place& row, const Tap& term) const { return look(y, row, term); }
    __device__ Found b(int k, int n) const {
        const Tap t = taps[k];
        const int tap = (phase_h + t.a * s.stride_h) * s.taps_w + phase_w + t.b * s.stride_w;
        return {w + (n < s.channels ? (tap * s.channels + n) * s.outputs + t.c : 0), n < s.channels};
    }
    __device__ int result(int m) const {
        const Place p = pixel(m);
        return p.n < 0 ? -1 : p.n * x.to_image + p.h * x.to_row + p.w * s.channels;
    }
};

// w (a b c, o) = sum over places (n p q) of x (n p q, a b c) y (n p q, o)
struct WeightGrad {
    static const bool A_ALONG_SUM = false, B_ALONG_SUM = false;
    const Sizes& s;
    Image x, y;
    Places places;
    Taps taps;

    __device__ WeightGrad(const Sizes& s, const Image& x, const Image& y)
        : s(s), x(x), y(y), places(s.images, s.places_h, s.places_w), taps(s.taps_w, s.channels) {}
    __device__ int rows() const { return s.taps_h * s.taps_w * s.channels; }
    __device__ int columns() const { return s.outputs; }
    __device__ int depth() const { return places.count(); }
    __device__ Tap row(int m) const { return taps[m]; }
    __device__ Place term(int k) const { return s.corner(places[k]); }
    __device__ Found a(const Tap& row, const Place& term) const { return look(x, term, row); }
    __device__ Found b(int k, int n) const {
        const Place p = places[k];
        return look(y, {n < s.outputs ? p.n : -1, p.h, p.w}, {0, 0, n});
    }
    __device__ int result(int m) const { return m * s.outputs; }
};

// What a block computes: 128 x COLUMNS numbers of one product.
template <int COLUMNS, class Product> struct Block {
    static const int SLICES = COLUMNS / 16;  // of 8 columns, of the half that a warp has
    static const int A_BELOW = ROWS + GAP, B_BELOW = COLUMNS + GAP;  // from one term to the next, where they lie so
    static const int OWN = Product::A_ALONG_SUM ? ROWS / (THREADS / 4) : 1;  // rows of which a thread fetches numbers
    typedef decltype(((Product*)0)->row(0)) Row;
    const Product& p;
    const int across = (p.columns() + COLUMNS - 1) / COLUMNS;  // neighbours in the grid read the same rows
    const int m0 = blockIdx.x / across * ROWS, n0 = blockIdx.x % across * COLUMNS, thread = threadIdx.x;
    const int g = thread % 32 / 4, t = thread % 4;  // see multiply_add
    const int m1 = thread / 32 % 2 * (ROWS / 2), n1 = thread / 64 * (COLUMNS / 2);  // where the warp's quarter begins
    Row rows[OWN];
    float sums[4][SLICES][4] = {};

    __device__ Block(const Product& p) : p(p) {
        UNROLL for (int i = 0; i < OWN; ++i)
            rows[i] = p.row(m0 + (Product::A_ALONG_SUM ? thread / 4 + THREADS / 4 * i : 4 * (thread % 32)));
    }

    __device__ static void fetch(float* to, const Found& four) { ::fetch(to, four.at, four.there); }

    __device__ void fetch_step(int step, float* a, float* b) const {
        const int k0 = step * STEP;
        if (Product::A_ALONG_SUM) {  // four threads a row
            const auto term = p.term(k0 + 4 * (thread % 4));
            float* to = a + thread / 4 * ALONG_SUM + 4 * (thread % 4);
            UNROLL for (int i = 0; i < OWN; ++i) fetch(to + THREADS / 4 * i * ALONG_SUM, p.a(rows[i], term));
        } else {  // a warp a term
            UNROLL for (int k = 0; k < STEP; k += THREADS / 32)
                fetch(a + (thread / 32 + k) * A_BELOW + 4 * (thread % 32), p.a(rows[0], p.term(k0 + thread / 32 + k)));
        }
        if (Product::B_ALONG_SUM) {
            UNROLL for (int n = thread / 4; n < COLUMNS; n += THREADS / 4)
                fetch(b + n * ALONG_SUM + 4 * (thread % 4), p.b(k0 + 4 * (thread % 4), n0 + n));
        } else {
            UNROLL for (int i = 4 * thread; i < STEP * COLUMNS; i += 4 * THREADS)
                fetch(b + i / COLUMNS * B_BELOW + i % COLUMNS, p.b(k0 + i / COLUMNS, n0 + i % COLUMNS));
        }
    }

    __device__ void multiply(const float* a, const float* b) {
        UNROLL for (int k0 = 0; k0 < STEP; k0 += 8) {
            unsigned left[4][4], right[SLICES][2];
            UNROLL for (int i = 0; i < 4; ++i) UNROLL for (int j = 0; j < 4; ++j) {
                const int m = m1 + 16 * i + g + j % 2 * 8, k = k0 + t + j / 2 * 4;
                left[i][j] = tf32(a[Product::A_ALONG_SUM ? m * ALONG_SUM + k : k * A_BELOW + m]);
            }
            UNROLL for (int i = 0; i < SLICES; ++i) UNROLL for (int j = 0; j < 2; ++j) {
                const int n = n1 + 8 * i + g, k = k0 + t + j * 4;
                right[i][j] = tf32(b[Product::B_ALONG_SUM ? n * ALONG_SUM + k : k * B_BELOW + n]);
            }
            UNROLL for (int i = 0; i < 4; ++i)
                UNROLL for (int j = 0; j < SLICES; ++j) multiply_add(sums[i][j], left[i], right[j]);
        }
    }

    // Over the steps `first` to `last` of the sum.
    __device__ void walk(int first, int last, float* memory) {
        for (int step = first; step < first + AHEAD; ++step) {
            if (step < last) fetch_step(step, tile(memory, step), tile(memory, step) + TILE);
            end_of_group();
        }
        for (int step = first; step < last; ++step) {
            wait_for_groups<AHEAD - 1>();
            __syncthreads();  // all have what is to be multiplied, and have done with what is overwritten next
            const int next = step + AHEAD;
            if (next < last) fetch_step(next, tile(memory, next), tile(memory, next) + TILE);
            end_of_group();
            multiply(tile(memory, step), tile(memory, step) + TILE);
        }
    }

    __device__ static float* tile(float* memory, int step) { return memory + step % STAGES * 2 * TILE; }

    __device__ void write(float* to, bool add) const {
        UNROLL for (int i = 0; i < 4; ++i) UNROLL for (int half = 0; half < 2; ++half) {
            const int m = m0 + m1 + 16 * i + g + 8 * half;
            const int at = m < p.rows() ? p.result(m) : -1;
            if (at < 0) continue;
            UNROLL for (int j = 0; j < SLICES; ++j) {
                const int n = n0 + n1 + 8 * j + 2 * t;
                if (n >= p.columns()) continue;
                to[at + n] = sums[i][j][2 * half] + (add ? to[at + n] : 0);
                to[at + n + 1] = sums[i][j][2 * half + 1] + (add ? to[at + n + 1] : 0);
            }
        }
    }
};

// One of several parts of the sum, which are added up later: by itself it would have too few blocks to fill a GPU.
template <int COLUMNS, class Product>
__device__ void compute_part(const Product& p, float* memory, float* to, bool add, int part, int parts) {
    const int steps = (p.depth() + STEP - 1) / STEP, each = (steps + parts - 1) / parts;
    Block<COLUMNS, Product> block(p);
    block.walk(part * each, min(steps, part * each + each), memory);
    block.write(to, add);
}

template <class Product>
__device__ void compute(const Product& p, float* memory, float* to, bool narrow, bool add, int part, int parts) {
    if (narrow) compute_part<64>(p, memory, to, add, part, parts);
    else compute_part<128>(p, memory, to, add, part, parts);
}

#define SIZES \
    int images, int height, int width, int channels, int places_h, int places_w, int outputs, int taps_h, int taps_w, \
        int stride_h, int stride_w, int top, int left, int x_image, int x_row, int y_image, int y_row

#define GIVEN \
    const Sizes sizes{images, height, width, channels, places_h, places_w, outputs, taps_h, taps_w, stride_h, stride_w, \
                      top, left}; \
    SHARED(float, memory, STAGES * 2 * TILE)

// blockIdx.x: which rows and columns, z: which part, and of `input_grad` which phase. `narrow`: 64 columns a block.
// Where there are parts, each has an array of its own, one behind the other, of `size` numbers.

extern "C" __global__ void forward(const float* __restrict__ x, const float* __restrict__ w, float* __restrict__ y, SIZES,
                                   bool narrow, bool add, int parts, long long size) {
    GIVEN;
    const Forward p(sizes, {x, height, width, channels, x_image, x_row}, w, {y, places_h, places_w, outputs, y_image, y_row});
    const int part = blockIdx.z;
    compute(p, memory, y + part * size, narrow, add, part, parts);
}

extern "C" __global__ void input_grad(const float* __restrict__ y, const float* __restrict__ w, float* __restrict__ x, SIZES,
                                      bool narrow, bool add, int parts, long long size) {
    GIVEN;
    const int part = blockIdx.z % parts, phase = blockIdx.z / parts;
    const InputGrad p(sizes, {y, places_h, places_w, outputs, y_image, y_row}, w, {x, height, width, channels, x_image, x_row},
                      phase);
    compute(p, memory, x + part * size, narrow, add, part, parts);
}

extern "C" __global__ void weight_grad(const float* __restrict__ x, const float* __restrict__ y, float* __restrict__ w, SIZES,
                                       bool narrow, bool add, int parts, long long size) {
    GIVEN;
    const WeightGrad p(sizes, {x, height, width, channels, x_image, x_row}, {y, places_h, places_w, outputs, y_image, y_row});
    const int part = blockIdx.z;
    compute(p, memory, w + part * size, narrow, add, part, parts);
}

// total = (total +) the parts, in their order.
extern "C" __global__ void add_parts(const float* __restrict__ each, float* __restrict__ total, bool add, int parts,
                                     long long size) {
    EACH(i, size) {
        float sum = add ? total[i] : 0;
        for (int part = 0; part < parts; ++part) sum += each[part * size + i];
        total[i] = sum;
    }
}
