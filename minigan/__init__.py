"""minigan: every gradient of a GAN written by hand, on NumPy (CPU) or CuPy (GPU).

Nothing is imported here, so that ``python -m minigan.train --help`` answers at once and the
commands can set up the linear algebra library before NumPy loads it.
"""

__version__ = "0.1.0"
