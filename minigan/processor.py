"""What the processor can do, and the linear algebra library's choice of kernels; asked before NumPy is imported."""

import os

WIDE = "avx512f"
# All of them are needed by OpenBLAS's kernels for processors of the Skylake-X kind.
WIDE_FEATURES = {WIDE, "avx512dq", "avx512bw", "avx512vl", "avx512cd"}


def choose_blas_kernels() -> None:
    """Make OpenBLAS take its AVX-512 kernels on an AMD processor that has them; a setting of the user's stays.

    Older versions take such a processor for one without AVX-512, and are half as fast there; newer ones choose
    the same kernels by themselves. Has an effect only before NumPy is imported. What they compute is checked when a
    training starts (`minigan.runs.blas.check_products`).
    """
    vendor, features = cpuinfo()
    if vendor == "AuthenticAMD" and features >= WIDE_FEATURES:
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")


def cpuinfo() -> tuple[str, set[str]]:
    """(vendor, feature flags) of the processor as Linux tells them; nothing elsewhere."""
    found: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                found.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    return found.get("vendor_id", ""), set(found.get("flags", "").split())
