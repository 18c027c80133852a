"""Faster twins of `minigan.functional` for the arrays of a GPU: the same names, signatures and refusals.

`minigan.ops` chooses them (`ops.fast_kernels`). All of them can be part of a captured CUDA graph: they launch work on
CuPy's current stream, never wait for it, and take nothing from the host that changes from step to step.
"""
