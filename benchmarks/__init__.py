"""Measurements of speed and of agreement between processors; each is a command of its own."""

from minigan.processor import choose_blas_kernels

choose_blas_kernels()  # the commands import NumPy with their first lines
