"""Faster twins of operations for arrays on a GPU: kernels in CUDA C (*.cu), and the functions that launch them.

They have the names and signatures of their plain versions; `minigan.ops` chooses.
"""
