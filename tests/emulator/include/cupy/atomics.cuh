// In the place of CuPy's own, which needs more of CUDA.
#pragma once
#include "cupy/carray.cuh"
