"""CuPy's RawModule for the stand-in: g++ compiles the CUDA sources (tests/cuda_on_cpu.h), and a launch runs on the CPU.

Stricter than a GPU. Refused: arguments of another type than the parameter's, Python's own numbers, arrays that are not
contiguous, grids and blocks of no thread or of too many, threads that wait at a barrier for others that have ended.
Noticed: writing outside the arrays. What is read outside them is NaN.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import strict_graph

HEADER, RUNTIME = (Path(__file__).parent / f"cuda_on_cpu.{ending}" for ending in ("h", "cpp"))
MOST_THREADS, MOST_BLOCKS = 1024, (2**31 - 1, 65535, 65535)
UNCHECKED = ("-U_FORTIFY_SOURCE",)  # which takes a jump from fiber to fiber for a mistake
QUICK_LINKER = ("-fuse-ld=gold",) if shutil.which("ld.gold") else ()  # a third of the usual one's time
UNASKED, MOST_SHARED = 48 << 10, 227 << 10  # bytes of shared memory without asking for more, and of an H100
GUARD = 4096  # bytes before and behind what a kernel may touch
NAN = 0xFFFFFFFF  # as a float, and twice as a double; so are the numbers a little below
ALIGNED = 256  # as CuPy's memory

Memory = Callable[[Any], np.ndarray]  # from an array of the stand-in to its memory


def compiler() -> str | None:
    """Where g++ is, if it is; what cuda_on_cpu.h asks of a library's sections, Linux has."""
    return shutil.which("g++") if sys.platform == "linux" else None


@cache
def compiled(code: str, options: tuple[str, ...]) -> ctypes.PyDLL:
    """The library with every kernel of the source; kept in the folder for temporary files."""
    if compiler() is None:
        pytest.skip("no g++, which stands in for the compiler of CUDA sources")
    kernels = "\n".join(f"CALLABLE({name})" for name in kernel_names(code))
    text = f'#include "{compiled_header()}"\n{code}\n{kernels}\n'
    how = ["-O1", "-shared", *QUICK_LINKER, *options, "-x", "c++", "-", "-x", "none", str(compiled_runtime())]
    return ctypes.PyDLL(str(made("so", text, how)))


@cache
def compiled_runtime() -> Path:
    """What runs kernels, the same for every library."""
    text = RUNTIME.read_text().replace(f'#include "{HEADER.name}"', HEADER.read_text())  # the compact form is for -O1
    return made("o", text, ["-O3", "-c", "-x", "c++", "-"])


@cache
def compiled_header() -> Path:
    """A copy of the header, with its compiled form beside it, which g++ takes instead: that is half of its work."""
    text = HEADER.read_text()
    header = kept("h", text, lambda fresh: fresh.write_text(text))
    compact = made("gch", text, ["-O1", "-x", "c++-header", str(header)])
    with contextlib.suppress(FileExistsError):
        header.with_suffix(".h.gch").symlink_to(compact)
    return header


def made(ending: str, text: str, how: list[str]) -> Path:
    """What g++ makes of the text. Raises CompileError."""
    command = ["g++", "-std=c++17", "-fPIC", "-w", *UNCHECKED, *how]

    def compile_into(fresh: Path) -> None:
        done = subprocess.run([*command, "-o", fresh], input=text, text=True, capture_output=True)
        if done.returncode:
            raise CompileError(done.stderr)

    return kept(ending, "\0".join([text, *command]), compile_into)


def kept(ending: str, key: str, make: Callable[[Path], object]) -> Path:
    """A file in the folder for temporary files, made once for each key."""
    folder = Path(tempfile.gettempdir()) / f"cuda-on-cpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} belongs to somebody else: remove it"
    file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.{ending}"
    if not file.exists():
        fresh = file.with_suffix(f".{os.getpid()}")
        make(fresh)
        fresh.rename(file)
    return file


class CompileError(Exception):
    """What the compiler said."""


def kernel_names(code: str) -> list[str]:
    """The kernels that a source defines."""
    return re.findall(r'extern "C" __global__ void (\w+)\(', code)


class RawModule:
    """A compiled source; of cupy.RawModule's parameters it takes these."""

    def __init__(self, memory: Memory, *, code: str, options: tuple[str, ...] = ()) -> None:
        self._memory, self._library = memory, compiled(code, options)

    def get_function(self, name: str) -> "RawKernel":
        return RawKernel(name, self._library, self._memory)


class RawKernel:
    """One kernel, called as CuPy's are: kernel(grid, block, arguments)."""

    def __init__(self, name: str, library: ctypes.PyDLL, memory: Memory) -> None:
        self.name, self._memory = name, memory
        self.max_dynamic_shared_size_bytes = UNASKED
        self._launch = getattr(library, f"launch_{name}")
        self._launch.restype = ctypes.c_bool
        self._shared_used = ctypes.c_uint.in_dll(library, "shared_used")
        self._outside = ctypes.c_bool.in_dll(library, "fetched_outside")
        self._spans = (ctypes.c_void_p * 64).in_dll(library, "spans")
        self._span_count = ctypes.c_uint.in_dll(library, "span_count")
        letters = ctypes.create_string_buffer(256)
        getattr(library, f"letters_{name}")(letters)
        # Such as *f, the address of a float32, and q, an int64.
        self.parameters = re.findall(r"\*?[^*]", letters.value.decode())

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared_mem: int = 0
    ) -> None:
        shape = self._shape(grid, block)
        if shared_mem > min(self.max_dynamic_shared_size_bytes, MOST_SHARED):
            raise BadLaunch(f"{self.name}: {shared_mem} bytes of shared memory are too much, or were not asked for")
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name} takes {len(self.parameters)} arguments, got {len(args)}")
        values = [
            self._array(letter[1:], value) if letter.startswith("*") else self._number(letter, value)
            for letter, value in zip(self.parameters, args, strict=True)
        ]
        run = partial(self._run, shape, values, shared_mem)
        if not strict_graph.record(run):
            run()

    def _run(self, shape: np.ndarray, values: list[np.ndarray], shared: int) -> None:
        """Launch on copies of the arrays; `values` are the arrays themselves, and numbers as arrays without axes."""
        pointers = [letter.startswith("*") for letter in self.parameters]
        arrays = [value for value, pointer in zip(values, pointers, strict=True) if pointer]
        with guarded(self.name, arrays) as (addresses, spans):
            left = iter(addresses)
            places = [np.array(next(left), np.uintp) if pointer else value
                      for value, pointer in zip(values, pointers, strict=True)]  # fmt: skip
            arguments = (ctypes.c_void_p * len(places))(*(place.ctypes.data for place in places))
            self._shared_used.value, self._outside.value = 0, False
            self._spans[: len(spans)], self._span_count.value = spans, len(spans) // 2
            if not self._launch(shape.ctypes.data_as(ctypes.c_void_p), arguments):
                raise BadLaunch(f"{self.name}: threads wait at a barrier for others that have ended")
            if self._outside.value:
                raise BadLaunch(f"{self.name} fetches from outside its arrays, or from no multiple of 16 bytes")
            if self._shared_used.value != shared:
                raise BadLaunch(f"{self.name} has {shared} bytes of shared memory, and uses {self._shared_used.value}")

    def _shape(self, grid: tuple[int, ...], block: tuple[int, ...]) -> np.ndarray:
        grid, block = (*grid, 1, 1)[:3], (*block, 1, 1)[:3]
        if not all(0 < size <= most for size, most in zip(grid, MOST_BLOCKS, strict=True)):
            raise BadLaunch(f"{self.name}: invalid grid {grid}")
        if min(block) < 1 or np.prod(block) > MOST_THREADS:
            raise BadLaunch(f"{self.name}: invalid block {block}")
        return np.array(grid + block, np.uint32)

    def _array(self, letter: str, value: Any) -> np.ndarray:
        memory = self._memory(value)  # a TypeError for what is no array of the stand-in
        if memory.dtype != np.dtype(letter):
            raise TypeError(f"{self.name} takes an array of {np.dtype(letter)} where it got one of {memory.dtype}")
        if not memory.flags.c_contiguous:
            raise TypeError(f"{self.name} would take a strided array of shape {memory.shape} for a contiguous one")
        return memory

    def _number(self, letter: str, value: Any) -> np.ndarray:
        if not isinstance(value, np.generic) or value.dtype != np.dtype(letter):
            raise TypeError(f"{self.name} takes a {np.dtype(letter)} where it got {value!r}, a {type(value).__name__}")
        return np.array(value)


class BadLaunch(Exception):
    """What a GPU would refuse, or never finish, or do to memory that is not the kernel's."""


@contextmanager
def guarded(name: str, arrays: list[np.ndarray]) -> Iterator[tuple[list[int], list[int]]]:
    """Where copies of the arrays lie, with guards around them; copied back at the end. Arrays that overlap still do.

    Also the first address of each stretch of memory, and the first one behind it.
    """
    spans = merged([(array.ctypes.data, array.ctypes.data + array.nbytes) for array in arrays])
    copies = [Copy(start, stop, number) for number, (start, stop) in enumerate(spans)]
    starts = [start for start, _ in spans]
    owners = [copies[bisect(starts, array.ctypes.data) - 1] for array in arrays]
    ends = [end for copy in copies for end in (copy.address, copy.address + copy.size)]
    yield [owner.address + array.ctypes.data - owner.start for owner, array in zip(owners, arrays, strict=True)], ends
    for copy in copies:
        copy.give_back(name)


class Copy:
    """Of the memory between two addresses. Every copy has guards of its own kind: one NaN moved to another is seen."""

    def __init__(self, start: int, stop: int, number: int) -> None:
        self.start, self.size = start, stop - start
        memory = np.full((2 * GUARD + self.size + ALIGNED) // 4 + 1, NAN - number, np.uint32)
        self.bytes, self.guards = memory.view(np.uint8), memory.view(np.uint8).copy()
        self.first = GUARD + -(memory.ctypes.data + GUARD) % ALIGNED
        self.address = memory.ctypes.data + self.first
        ctypes.memmove(self.address, start, self.size)

    def give_back(self, name: str) -> None:
        ctypes.memmove(self.start, self.address, self.size)
        mine = slice(self.first, self.first + self.size)
        self.bytes[mine] = self.guards[mine]
        if not np.array_equal(self.bytes, self.guards):
            raise BadLaunch(f"{name} writes outside its arrays")


def merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, those that overlap as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if found and start < found[-1][1]:
            start, stop = found[-1][0], max(stop, found.pop()[1])
        found.append((start, stop))
    return found
