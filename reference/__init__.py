"""Independent references: two second opinions on every operation of minigan, forward and backward.

* One file an operation (``dense.py``, ``batchnorm.py``, ...; ``optimisers.py`` for the update rules):
  explicit ``for`` loops in float64, written straight from the definition. Nothing in them is clever.
  Backward functions take another way than minigan where there is one (the Jacobian written out, a
  derivative in terms of the input instead of the output), so that one mistake cannot be made twice.
* ``torch_twins.py``: the same operations in PyTorch, whose gradients come from autograd.
  ``python -m reference.write_golden`` stores their results under ``tests/golden/``, so that the tests
  compare with PyTorch without needing it; ``python -m reference.compare_torch`` compares the operations
  on images with it afresh, on as many random geometries as wanted. Only files that need it import torch.

Beside them lie the scripts that rebuild shipped data. Nothing in minigan imports from here, and neither
the loops nor the twins import anything from minigan; the tests, the comparison and the curious import both.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
