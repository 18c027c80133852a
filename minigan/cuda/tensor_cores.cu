// Four instructions of a GPU from Ampere (sm_80) on that C++ has no word for, in PTX (NVIDIA, "PTX ISA").
// Where sources are compiled for a CPU, functions of the same names are there already.

#ifndef HAS_TENSOR_CORES
#define HAS_TENSOR_CORES
#define SHARED(type, name, count) extern __shared__ __align__(16) type name[]  // as large as the launch says

// float32 rounded to TF32: 10 bits behind the point, the rest zero. From Hopper (sm_90) on halves go to the even one, by one
// instruction; before, there is a way away from zero only.
__device__ inline unsigned tf32(float x) {
    unsigned rounded;
#if __CUDA_ARCH__ >= 900
    asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
#else
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
#endif
    return rounded;
}

// c += a b of a warp: 16 x 8 += 16 x 8 times 8 x 8, each thread with its share of the numbers. With g = lane / 4 and
// t = lane % 4, thread `lane` has (row, column)
//     a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)      b: (t, g), (t + 4, g)
//     c: (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1)
__device__ inline void multiply_add(float (&c)[4], const unsigned* a, const unsigned* b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four matrices of 8 x 4 numbers in shared memory. Thread `lane` gives the address of row lane % 8 of matrix lane / 8, a
// multiple of 16 bytes, and gets of each matrix the number (lane / 4, lane % 4).
__device__ inline void load_matrices(unsigned (&to)[4], const float* row) {
    const unsigned place = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(place) : "memory");
}

// Begin to copy four numbers into shared memory; if `there` is false, zeros (`from` is not read). Both addresses are
// multiples of 16 bytes.
__device__ inline void fetch(float* to, const float* from, bool there) {
    const unsigned place = (unsigned)__cvta_generic_to_shared(to), size = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(size) : "memory");
}

// What this thread has begun to copy since the last call is a group ...
__device__ inline void end_of_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// ... and all its groups but the last `left` ones have arrived.
template <int left> __device__ inline void wait_for_groups() { asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory"); }
#endif
