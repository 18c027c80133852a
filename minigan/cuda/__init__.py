"""Faster twins of operations for arrays on a GPU: calls of cuBLAS, kernels in CUDA C (*.cu),
and the functions that launch them.

They have the names and signatures of their plain versions; `minigan.ops` chooses. All can be part of a captured graph:
they launch work on CuPy's current stream, never wait for it, and bake in no number that changes from step to step.
"""
