// Convolution as a matrix product whose large matrix is nowhere: its numbers are looked up in the image when they are
// needed. implicit_gemm.py says which product it is, tiles.cu what a block does with the factors.
//
// A Product is a thread's way along a sum. `start` says with which row, column and terms the thread begins; its other rows and
// columns are each APART further. The i-th ones' numbers for this step are a(i) and b(i), and `next` goes on to the next step,
// without a division: of most addresses only the channel changes.

const int NOWHERE = -4;  // not a place, but a multiple of four: addresses have to be aligned even where nothing is read

struct Image {
    const float* data;
    int count, height, width, channels, to_image, to_row;  // numbers from one image to the next, and from one row to the next

    __device__ bool has(int n, int h, int w) const {
        return (unsigned)n < (unsigned)count && (unsigned)h < (unsigned)height && (unsigned)w < (unsigned)width;
    }
    __device__ int at(int n, int h, int w) const { return n * to_image + h * to_row + w * channels; }
    __device__ int look(int n, int h, int w) const { return has(n, h, w) ? at(n, h, w) : NOWHERE; }
};

struct Place { int n, h, w; };

// Number i of the places of some images.
__device__ inline Place place(unsigned i, unsigned height, unsigned width) {
    return {(int)(i / width / height), (int)(i / width % height), (int)(i % width)};
}

// So many rows and columns further, and the channel.
struct Tap {
    int a, b, c;

    __device__ Tap() {}
    __device__ Tap(unsigned k, unsigned width, unsigned channels)
        : a(k / channels / width), b(k / channels % width), c(k % channels) {}

    // A step further; whether that is at another pixel.
    __device__ bool next(int width, int channels) {
        c += STEP;
        if (c < channels) return false;
        c -= channels;  // channels are a multiple of a step
        if (++b == width) b = 0, ++a;
        return true;
    }
};

struct Sizes {
    int images, height, width, channels, places_h, places_w, outputs, taps_h, taps_w, stride_h, stride_w, top, left;

    __device__ Place place(int i) const { return ::place(i, places_h, places_w); }
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
    Place corners[4];
    Tap tap;
    int at[4], column;  // where in x the tap's pixels are, and which column of w is the first

    __device__ int rows() const { return s.images * s.places_h * s.places_w; }
    __device__ int columns() const { return s.outputs; }
    __device__ int depth() const { return s.taps_h * s.taps_w * s.channels; }
    __device__ void start(int m, int k, int n, int term) {
        UNROLL for (int i = 0; i < 4; ++i) corners[i] = s.corner(s.place(m + APART * i));
        tap = Tap(k, s.taps_w, s.channels);
        look();
        w += term * s.outputs + n;
        column = n;
    }
    __device__ void look() {
        UNROLL for (int i = 0; i < 4; ++i)
            at[i] = x.look(corners[i].n, corners[i].h + tap.a, corners[i].w + tap.b);
    }
    __device__ void next() {
        if (tap.next(s.taps_w, s.channels)) look();
        w += STEP * s.outputs;
    }
    __device__ Found a(int i) const { return {x.data + (tap.c + at[i]), at[i] >= 0}; }
    __device__ Found b(int i) const { return {w + APART * i, column + APART * i < s.outputs}; }
    __device__ int result(int m) const {
        const Place p = s.place(m);
        return y.at(p.n, p.h, p.w);
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
    Place nearest[4];  // from which the first of these taps sees the pixel
    Tap tap;
    int at[4], column, line;  // where in y the tap's places are; the first column and its line in w, (a b c)

    __device__ InputGrad(const Sizes& s, const Image& y, const float* w, const Image& x, int phase)
        : s(s), y(y), w(w), x(x), phase_h(phase / s.stride_w), phase_w(phase % s.stride_w),
          seen_h((s.taps_h - phase_h + s.stride_h - 1) / s.stride_h),
          seen_w((s.taps_w - phase_w + s.stride_w - 1) / s.stride_w),
          first_h((s.top * (s.stride_h - 1) + phase_h) % s.stride_h),  // phase - top modulo stride
          first_w((s.left * (s.stride_w - 1) + phase_w) % s.stride_w) {}
    __device__ int pixels_h() const { return (s.height + s.stride_h - 1) / s.stride_h; }
    __device__ int pixels_w() const { return (s.width + s.stride_w - 1) / s.stride_w; }
    __device__ int rows() const { return s.images * pixels_h() * pixels_w(); }
    __device__ int columns() const { return s.channels; }
    __device__ int depth() const { return seen_h * seen_w * s.outputs; }
    __device__ Place pixel(int m) const {
        const Place p = place(m, pixels_h(), pixels_w());
        return {p.n, first_h + p.h * s.stride_h, first_w + p.w * s.stride_w};
    }
    __device__ void start(int m, int k, int n, int) {
        UNROLL for (int i = 0; i < 4; ++i) {
            const Place p = pixel(m + APART * i);
            nearest[i] = {p.n, (p.h + s.top) / s.stride_h, (p.w + s.left) / s.stride_w};
        }
        tap = Tap(k, max(seen_w, 1), s.outputs);
        column = n;
        look();
    }
    __device__ void look() {  // the next tap sees it from the place before
        UNROLL for (int i = 0; i < 4; ++i)
            at[i] = y.look(nearest[i].n, nearest[i].h - tap.a, nearest[i].w - tap.b);
        line = ((phase_h + tap.a * s.stride_h) * s.taps_w + phase_w + tap.b * s.stride_w) * s.channels + column;
    }
    __device__ void next() {
        if (tap.next(seen_w, s.outputs)) look();
    }
    __device__ Found a(int i) const { return {y.data + (tap.c + at[i]), at[i] >= 0}; }
    __device__ Found b(int i) const { return {w + (tap.c + (line + APART * i) * s.outputs), column + APART * i < s.channels}; }
    __device__ int result(int m) const {
        const Place p = pixel(m);
        return p.h < s.height && p.w < s.width ? x.at(p.n, p.h, p.w) : NOWHERE;
    }
};

// w (a b c, o) = sum over places (n p q) of x (n p q, a b c) y (n p q, o)
struct WeightGrad {
    static const bool A_ALONG_SUM = false, B_ALONG_SUM = false;
    const Sizes& s;
    Image x, y;
    Tap taps[4];
    int further[4], column;  // from a corner to the tap's pixel, and which column of y is the first
    Place here, step;

    __device__ int rows() const { return s.taps_h * s.taps_w * s.channels; }
    __device__ int columns() const { return s.outputs; }
    __device__ int depth() const { return s.images * s.places_h * s.places_w; }
    __device__ void start(int m, int k, int n, int) {
        UNROLL for (int i = 0; i < 4; ++i) {
            taps[i] = Tap(m + APART * i, s.taps_w, s.channels);
            further[i] = x.at(0, taps[i].a, taps[i].b) + taps[i].c;
        }
        here = s.place(k);
        step = s.place(STEP);
        column = n;
    }
    __device__ void next() {
        here.w += step.w;
        if (here.w >= s.places_w) here.w -= s.places_w, ++here.h;
        here.h += step.h;
        if (here.h >= s.places_h) here.h -= s.places_h, ++here.n;
        here.n += step.n;
    }
    __device__ Found a(int i) const {
        const Place p = s.corner(here);
        return {x.data + (x.at(p.n, p.h, p.w) + further[i]), x.has(p.n, p.h + taps[i].a, p.w + taps[i].b)};
    }
    __device__ Found b(int i) const {
        const float* const row = y.data + y.at(here.n, here.h, here.w) + column;
        return {row + APART * i, here.n < s.images && column + APART * i < s.outputs};
    }
    __device__ int result(int m) const { return m * s.outputs; }
};

// One of several parts of the sum, which are added up later: by itself it would have too few blocks to fill a GPU.
template <int COLUMNS, class Product>
__device__ void compute_part(Product& p, float* memory, float* to, bool add, int part, int parts) {
    const int steps = (p.depth() + STEP - 1) / STEP, each = (steps + parts - 1) / parts;
    Block<COLUMNS, Product> block(p);
    block.walk(part * each, min(steps, part * each + each), memory);
    block.write(to, add);
}

template <class Product>
__device__ void compute(Product& p, float* memory, float* to, bool narrow, bool add, int part, int parts) {
    if (narrow) compute_part<64>(p, memory, to, add, part, parts);
    else compute_part<128>(p, memory, to, add, part, parts);
}

#define SIZES \
    int images, int height, int width, int channels, int places_h, int places_w, int outputs, int taps_h, int taps_w, \
        int stride_h, int stride_w, int top, int left, int x_image, int x_row, int y_image, int y_row, \
        bool narrow, bool add, int parts, long long size

#define GIVEN \
    const Sizes sizes{images, height, width, channels, places_h, places_w, outputs, taps_h, taps_w, stride_h, stride_w, \
                      top, left}; \
    const Image x_of{x, images, height, width, channels, x_image, x_row}; \
    const Image y_of{y, images, places_h, places_w, outputs, y_image, y_row}; \
    const int part = blockIdx.z % parts; \
    SHARED(float, memory, STAGES * (LEFT + RIGHT))

// blockIdx.x: which rows and columns, z: which part, and of `input_grad` which phase. `narrow`: 64 columns a block.
// Where there are parts, each has an array of its own, one behind the other, of `size` numbers.

extern "C" __global__ void forward(const float* __restrict__ x, const float* __restrict__ w, float* __restrict__ y, SIZES) {
    GIVEN;
    Forward p{sizes, x_of, w, y_of};
    compute(p, memory, y + part * size, narrow, add, part, parts);
}

extern "C" __global__ void input_grad(const float* __restrict__ y, const float* __restrict__ w, float* __restrict__ x, SIZES) {
    GIVEN;
    InputGrad p(sizes, y_of, w, x_of, blockIdx.z / parts);
    compute(p, memory, x + part * size, narrow, add, part, parts);
}

extern "C" __global__ void weight_grad(const float* __restrict__ x, const float* __restrict__ y, float* __restrict__ w, SIZES) {
    GIVEN;
    WeightGrad p{sizes, x_of, y_of};
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
