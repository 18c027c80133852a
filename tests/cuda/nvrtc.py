"""The compiler that CuPy gives the CUDA sources to: NVRTC, which needs no GPU. Entry points: NVIDIA, "NVRTC" 13."""

import ctypes
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_WHEELS = ("cu13/lib", "cuda_nvrtc/lib")  # where packages of CUDA 13 and 12 put it, in the package `nvidia`


@cache
def library() -> ctypes.CDLL | None:
    """Of a package, or of a CUDA that is installed; None without one."""
    for name in _names():
        try:
            for needed in Path(name).parent.glob("libnvrtc-builtins.so.*"):  # which it looks for by its name alone
                ctypes.CDLL(str(needed), ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _names() -> Iterator[str]:
    package = importlib.util.find_spec("nvidia")
    for place in package.submodule_search_locations or () if package else ():
        for folder in _WHEELS:
            yield from (str(path) for path in sorted(Path(place, folder).glob("libnvrtc.so.*")))
    yield "libnvrtc.so"


def compiled(source: str, options: tuple[str, ...]) -> bytes:
    """The machine code. Raises ValueError with what the compiler says, be it only a warning."""
    nvrtc, program = library(), ctypes.c_void_p()
    assert nvrtc is not None
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None) == 0
    try:
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = nvrtc.nvrtcCompileProgram(program, len(options), given)
        if (words := _read(nvrtc, program, "ProgramLog").rstrip(b"\0").strip()) or status:
            raise ValueError(words.decode())
        return _read(nvrtc, program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _read(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    assert getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert getattr(nvrtc, f"nvrtcGet{what}")(program, text) == 0
    return text.raw
