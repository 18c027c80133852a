"""Freed memory is kept while fast kernels are in use, and only then."""

import ctypes
import os
import subprocess
import sys

import pytest

from minigan.kernels import memory

GLIBC = hasattr(ctypes.CDLL(None), "gnu_get_libc_version") if os.name == "posix" else False
only_glibc = pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")

# Pages that the system has to hand out for eight arrays of 16 MiB after as many were freed, in and out of fast kernels.
PAGES = """
import resource
import numpy as np
from minigan import ops

def pages():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        arrays = [np.full(1 << 21, 1.0) for _ in range(8)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = pages()
with ops.fast_kernels(1):
    with ops.fast_kernels(1):
        pass
    print(first, pages(), end=" ")
print(pages())
"""


def pages(**settings):
    environment = {name: value for name, value in os.environ.items() if name not in memory.SETTINGS} | settings
    printed = subprocess.run([sys.executable, "-c", PAGES], env=environment, capture_output=True, text=True, check=True)
    return [int(number) for number in printed.stdout.split()]


@only_glibc
def test_arrays_take_the_pages_of_earlier_ones():
    before, within, after = pages()
    assert within < min(before, after) / 2, (before, within, after)


@only_glibc
def test_a_setting_of_the_user_stays():
    before, within, after = pages(MALLOC_TRIM_THRESHOLD_="131072")
    assert within > before / 2, (before, within, after)


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_kept", False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    monkeypatch.setattr(memory, "_glibc", memory._glibc.__wrapped__)
    assert memory.keep_freed(True) is False
    assert memory.keep_freed(True) is False  # still not
