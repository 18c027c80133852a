"""Which linear algebra library NumPy uses: results depend on it bit for bit, and speed does too."""

import platform
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info


def blas_libraries() -> list[dict[str, Any]]:
    """What threadpoolctl tells about each loaded BLAS (library, version, kernels, threads)."""
    np.dot(np.ones((2, 2)), np.ones((2, 2)))  # make sure that it is loaded
    return [info for info in threadpool_info() if info["user_api"] == "blas"]


def blas_facts() -> str:
    """Library, kernels and threads, with NumPy's version: what has to be equal for equal bits."""
    parts = [
        f"{info['internal_api']} {info['version']} {info.get('architecture', '')} x{info['num_threads']}"
        for info in blas_libraries()
    ]
    return f"NumPy {np.__version__} on {platform.machine()}, {', '.join(sorted(parts)) or 'unknown BLAS'}"
