"""The processor: what it can do, how many there are, which kernels of BLAS suit it; asked before NumPy is imported."""

import os

WIDE = "avx512f"
# All of them are needed by OpenBLAS's kernels for processors of the Skylake-X kind.
WIDE_FEATURES = {WIDE, "avx512dq", "avx512bw", "avx512vl", "avx512cd"}

SHARE = "/sys/fs/cgroup/cpu.max"  # microseconds of all processors in a period of so many, as Linux' cgroups (v2) tell


def choose_blas_kernels() -> None:
    """Make OpenBLAS take its AVX-512 kernels on an AMD processor that has them; settings of the user's stay.

    Older versions take such a processor for one without AVX-512, and are half as fast there; newer ones choose
    the same kernels by themselves. Has an effect only before NumPy is imported. What they compute is checked when a
    training starts (`minigan.runs.blas.check_products`).
    """
    # Accelerate, which NumPy has on macOS, tells nobody how to limit its threads; the fast kernels have their own.
    os.environ.setdefault("VECLIB_MAXIMUM_THREADS", "1")
    # The runtime of Intel's library ends a process on Windows at Ctrl-C, before Python hears of it.
    os.environ.setdefault("FOR_DISABLE_CONSOLE_CTRL_HANDLER", "1")
    vendor, features = cpuinfo()
    if vendor == "AuthenticAMD" and features >= WIDE_FEATURES:
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")


def processors() -> int:
    """How many this process may use at once: those it is allowed on, and no more than its container has a share of."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open(SHARE, encoding="ascii") as file:
            share, period = file.read().split()
        return allowed if share == "max" else min(allowed, max(1, int(share) // int(period)))
    except (OSError, ValueError):
        return allowed


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
