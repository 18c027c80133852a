// A block of a matrix product on tensor cores, in TF32: 256 x COLUMNS numbers of the result, by 256 threads, eight warps.
//
// It walks along the sum in steps of 16 terms. For each step it copies a tile of the left matrix, 256 x 16, and one of the
// right matrix, 16 x COLUMNS, into shared memory, two steps ahead of the one that is being multiplied. Each warp
// multiplies an eighth of the result. Where in memory the numbers are, the Product knows: see implicit_gemm.cu.

#define UNROLL _Pragma("unroll")  // so that arrays are registers

const int ROWS = 256, WIDEST = 128, STEP = 16, AHEAD = 2, STAGES = AHEAD + 1;
const int APART = 64;  // rows (or columns) from one that a thread copies to the next

struct Found { const float* at; bool there; };  // four numbers side by side; if they are not there, zeros
struct alignas(8) Two { float numbers[2]; };  // written by one instruction

// 16 terms of WIDTH rows (or columns) in shared memory: row by row if a row's numbers lie side by side in memory
// (ALONG_SUM), else term by term. The gaps put what the threads of a warp read at once into 32 different banks.
template <bool ALONG_SUM, int WIDTH> struct Tile {
    static const int BELOW = ALONG_SUM ? STEP + 4 : WIDTH + 8;  // from one row, or term, to the next
    static const int COPIES = WIDTH / APART;  // of four numbers, by each thread

    __device__ static int place(int row, int term) { return ALONG_SUM ? row * BELOW + term : term * BELOW + row; }
    // The first four that a thread copies. Those of a row, or term, are copied by neighbours; of rows, eight threads copy one
    // and the fourth below it, which are written to different banks.
    __device__ static int row(int thread) {
        return ALONG_SUM ? thread / 32 * 8 + thread / 4 % 2 * 4 + thread / 8 % 4 : 4 * (thread % 16);
    }
    __device__ static int term(int thread) { return ALONG_SUM ? 4 * (thread % 4) : thread / 16; }

    // 16 rows and 8 terms, from there on, in four blocks of 8 x 4: of block q this thread gets the number (g, t), rounded.
    // Blocks are counted down the rows first (DOWN) or along the terms first.
    template <bool DOWN> __device__ static void load(unsigned (&to)[4], const float* tile, int row, int term) {
        const int lane = threadIdx.x % 32;
        if constexpr (ALONG_SUM) {
            load_matrices(to, tile + place(row + lane % 8 + below<DOWN>(lane / 8), term + after<DOWN>(lane / 8)));
        } else {
            UNROLL for (int q = 0; q < 4; ++q)
                to[q] = __float_as_uint(tile[place(row + lane / 4 + below<DOWN>(q), term + lane % 4 + after<DOWN>(q))]);
        }
        UNROLL for (int q = 0; q < 4; ++q) to[q] = tf32(__uint_as_float(to[q]));
    }
    template <bool DOWN> __device__ static int below(int q) { return 8 * (DOWN ? q % 2 : q / 2); }
    template <bool DOWN> __device__ static int after(int q) { return 4 * (DOWN ? q / 2 : q % 2); }
};

const int LEFT = Tile<true, ROWS>::BELOW * ROWS, RIGHT = Tile<true, WIDEST>::BELOW * WIDEST;  // numbers of the largest tiles

template <int COLUMNS, class Product> struct Block {
    static const int PAIRS = COLUMNS / 32;  // of slices of 8 columns, of the half that a warp has
    typedef Tile<Product::A_ALONG_SUM, ROWS> A;
    typedef Tile<Product::B_ALONG_SUM, COLUMNS> B;
    Product& p;
    const int across = (p.columns() + COLUMNS - 1) / COLUMNS;  // neighbours in the grid read the same rows
    const int m0 = blockIdx.x / across * ROWS, n0 = blockIdx.x % across * COLUMNS, thread = threadIdx.x;
    const int m1 = thread / 32 % 4 * (ROWS / 4), n1 = thread / 128 * (COLUMNS / 2);  // where the warp's part begins
    float sums[4][2 * PAIRS][4] = {};

    __device__ Block(Product& p) : p(p) {}

    // Over the steps `first` to `last` of the sum.
    __device__ void walk(int first, int last, float* memory) {
        const int k0 = first * STEP, steps = last - first;
        p.start(m0 + A::row(thread), k0 + A::term(thread), n0 + B::row(thread), k0 + B::term(thread));
        for (int step = 0; step < AHEAD; ++step) {
            if (step < steps) fetch_step(stage(memory, step));
            end_of_group();
        }
        for (int step = 0; step < steps; ++step) {
            wait_for_groups<AHEAD - 1>();
            __syncthreads();  // all have what is to be multiplied, and have done with what is overwritten next
            unsigned left[2][4][4], right[2][PAIRS][4];  // of both halves, so that nothing has to wait between them
            UNROLL for (int half = 0; half < 2; ++half) load(left[half], right[half], stage(memory, step), 8 * half);
            multiply(left[0], right[0]);
            if (step + AHEAD < steps) fetch_step(stage(memory, step + AHEAD));  // while the tensor cores are busy
            end_of_group();
            multiply(left[1], right[1]);
        }
    }

    __device__ static float* stage(float* memory, int step) { return memory + step % STAGES * (LEFT + RIGHT); }

    __device__ void fetch_step(float* tiles) {
        float* const a = tiles + A::place(A::row(thread), A::term(thread));
        float* const b = tiles + LEFT + B::place(B::row(thread), B::term(thread));
        UNROLL for (int i = 0; i < A::COPIES; ++i) fetch(a + A::place(APART * i, 0), p.a(i));
        UNROLL for (int i = 0; i < B::COPIES; ++i) fetch(b + B::place(APART * i, 0), p.b(i));
        p.next();
    }

    __device__ static void fetch(float* to, const Found& four) { ::fetch(to, four.at, four.there); }

    // Eight terms, from k on.
    __device__ void load(unsigned (&left)[4][4], unsigned (&right)[PAIRS][4], const float* tiles, int k) const {
        UNROLL for (int i = 0; i < 4; ++i) A::template load<true>(left[i], tiles, m1 + 16 * i, k);
        UNROLL for (int j = 0; j < PAIRS; ++j) B::template load<false>(right[j], tiles + LEFT, n1 + 16 * j, k);
    }

    __device__ void multiply(const unsigned (&left)[4][4], const unsigned (&right)[PAIRS][4]) {
        UNROLL for (int i = 0; i < 4; ++i)
            UNROLL for (int j = 0; j < 2 * PAIRS; ++j) multiply_add(sums[i][j], left[i], right[j / 2] + j % 2 * 2);
    }

    __device__ void write(float* to, bool add) const {
        const int g = thread % 32 / 4, t = thread % 4;  // see multiply_add
        UNROLL for (int i = 0; i < 4; ++i) UNROLL for (int half = 0; half < 2; ++half) {
            const int m = m0 + m1 + 16 * i + g + 8 * half;
            const int at = m < p.rows() ? p.result(m) : -1;  // negative: nowhere
            if (at < 0) continue;
            UNROLL for (int j = 0; j < 2 * PAIRS; ++j) {
                const int n = n0 + n1 + 8 * j + 2 * t;
                if (n >= p.columns()) continue;
                Two* const two = (Two*)(to + at + n);
                const Two there = add ? *two : Two{};
                *two = {sums[i][j][2 * half] + there.numbers[0], sums[i][j][2 * half + 1] + there.numbers[1]};
            }
        }
    }
};
