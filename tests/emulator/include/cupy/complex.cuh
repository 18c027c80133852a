// In the place of CuPy's own, which needs more of CUDA: nobody here computes with complex numbers.
#pragma once
template <class T> class complex;
