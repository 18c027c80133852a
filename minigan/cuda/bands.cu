// The bands of images, and back; conv.py says what they are.
//
// A number of u (G, lines, phases taps channels) is of one group, of one line (h, n, q) or, where nothing is shifted,
// (n, h, q), and there of row i of block h, column b of window q, and one channel:
//
//     u[..., i, b, c] = x[n, h stride + i - top, q step + b dilation - left, group, c],    0 outside of the image
//
// A block of threads does some lines (threadIdx.y), or pixels, of one group (blockIdx.z). In memory x is as its axes say,
// or with the rows of all images first: (H, N, W, ...).

#define BANDS \
    int images, int height, int width, int channels, int blocks, int places, int phases, int taps, int stride, \
        int step, int dilation, int top, int left, bool shifted, bool rows_first

#define EACH_LINE(line, lines) \
    for (int line = blockIdx.x * blockDim.y + threadIdx.y; line < lines; line += gridDim.x * blockDim.y)

extern "C" __global__ void cut(in x, out u, BANDS) {
    const int lines = blocks * images * places, run = taps * channels, group = blockIdx.z, groups = gridDim.z;
    EACH_LINE(line, lines) {
        const int q = line % places, block = line / places;
        const int h = shifted ? block / images : block % blocks, n = shifted ? block % images : block / blocks;
        for (int j = threadIdx.x; j < run; j += blockDim.x) {  // in a row of the window; all its rows are at these columns
            const int column = q * step + j / channels * dilation - left, channel = j % channels;
            _Pragma("unroll 2") for (int i = 0; i < phases; ++i) {
                const int row = h * stride + i - top;
                const bool inside = 0 <= row && row < height && 0 <= column && column < width;
                const long long from = (rows_first ? (long long)row * images + n : (long long)n * height + row) * width + column;
                // Something is fetched in any case: where it depends on nothing, a thread waits for several at once.
                const real there = x[inside ? (from * groups + group) * channels + channel : 0];
                u[(((long long)group * lines + line) * phases + i) * run + j] = inside ? there : 0;
            }
        }
    }
}

// The adjoint: each number of x is the sum of all those of u that `cut` would copy it to.
extern "C" __global__ void add_up(in u, out x, BANDS) {
    const int lines = blocks * images * places, run = taps * channels, group = blockIdx.z, groups = gridDim.z;
    EACH_LINE(pixel, images * height * width) {
        const int column = pixel % width + left, rest = pixel / width;
        const int row = (rows_first ? rest / images : rest % height) + top, n = rows_first ? rest % images : rest / height;
        // Taps that see the column from some place: of neighbouring taps one in `step`, else try all.
        const int first = dilation == 1 ? column % step : 0, next = dilation == 1 ? step : 1;
        for (int c = threadIdx.x; c < channels; c += blockDim.x) {
            real sum = 0;
            for (int h = row / stride, i = row % stride; h >= 0 && i < phases; --h, i += stride) {  // blocks with the row
                if (h >= blocks) continue;
                int before = (column - first) / step;  // the place that sees it by the first tap; by the next, the one before
                _Pragma("unroll 2") for (int b = first; b < taps && b * dilation <= column; b += next, --before) {
                    const int from = column - b * dilation, q = dilation == 1 ? before : from / step;
                    const bool seen = q < places && q * step == from;
                    const long long line = (long long)(shifted ? h * images + n : n * blocks + h) * places + q;
                    const real there = u[seen ? (((long long)group * lines + line) * phases + i) * run + b * channels + c : 0];
                    sum += seen ? there : 0;
                }
            }
            x[((long long)pixel * groups + group) * channels + c] = sum;
        }
    }
}
