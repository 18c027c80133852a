"""Which linear algebra library NumPy uses: results depend on it bit for bit, and speed does too."""

import os
import platform
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

SMALL_ROUND = 1e9  # multiply-adds a round below which a second thread wins nothing
SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def limited_threads(asked: int | None, round_macs: int) -> AbstractContextManager[object]:
    """A context in which BLAS uses the threads that were asked for, or one for a small system.

    Two threads that share small products gain a few percent on a quiet machine; on a busy one they wait for
    each other and take several times as long. A setting in the environment is left alone.
    """
    threads = asked
    if asked is None and round_macs < SMALL_ROUND and not any(name in os.environ for name in SETTINGS):
        threads = 1
    return threadpool_limits(limits=threads, user_api="blas")


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
