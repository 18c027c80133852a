"""Make a virtual environment in which CuPy computes on a GPU made of C++, where there is none.

    python -m tests.emulator FOLDER [12 | 13]
    FOLDER/run python -m pytest -m gpu
    EMULATOR_ORDER=7 FOLDER/run python -m minigan.train --device gpu

It is slow, and as strict as a GPU about what CuPy calls, captures and waits for, and about where it writes. docs/gpu.md
tells what it finds that tests/strict_cupy.py cannot. The number is CUDA's version, 12 without one. Variables of the
environment, all numbers:

    EMULATOR_ORDER   0, the default: each operation at once. Else hardly any before somebody waits for it, and graphs in
                     orders that their edges allow, others for each number: the results must be the same
    EMULATOR_MEMORY  bytes of the device
    EMULATOR_REFUSE  of a capture, operations after so many are refused
    EMULATOR_ALONE   1: a capture of more than one stream is refused
    EMULATOR_FAIL    after so many operations nothing works, as on a GPU that is gone
    EMULATOR_SKIP    1: graphs are launched and not executed; what is left is the host's time
    EMULATOR_TELL    1: tells what is refused, and what a capture consists of

Needs g++, and pip that finds packages: CuPy's, its source, and CUDA's headers. A file of CuPy's is compiled anew, since
the one in its wheel contains CUDA's runtime.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import NamedTuple

from minigan import cli
from minigan.errors import UsageError, UserError

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
LIBRARIES = ("libcudart", "libnvrtc", "libcublas", "libcublasLt")
RUNTIME = "cupy_backends/cuda/api/runtime"
PROFILER = "#include <driver_types.h>\n" + "".join(
    f'extern "C" cudaError_t cudaProfiler{what}(void);\n' for what in ("Start", "Stop")
)


class Cuda(NamedTuple):
    """A version of CUDA, and what PyPI has for it."""

    version: int  # 1000 for each major one, 10 for each minor one
    cupy: str
    packages: tuple[str, ...]  # with CUDA's headers
    headers: tuple[str, ...]  # where they are

    @property
    def major(self) -> int:
        return self.version // 1000


VERSIONS = {
    "12": Cuda(
        12090,
        "cupy-cuda12x",
        ("nvidia-cuda-runtime-cu12", "nvidia-cuda-nvcc-cu12"),
        ("nvidia/cuda_runtime/include", "nvidia/cuda_nvcc/include"),
    ),
    "13": Cuda(
        13000,
        "cupy-cuda13x",
        ("nvidia-cuda-runtime==13.0.*", "nvidia-cuda-crt==13.0.*"),
        ("nvidia/cu13/include",),
    ),
}


def main(argv: list[str]) -> int:
    if len(argv) not in (1, 2) or argv[0].startswith("-") or argv[1:] not in ([], *([name] for name in VERSIONS)):
        raise UsageError("python -m tests.emulator FOLDER [12 | 13]: a folder for the environment, CUDA's version")
    folder, cuda = Path(argv[0]).resolve(), VERSIONS[argv[1] if argv[1:] else "12"]
    if sys.platform != "linux" or shutil.which("g++") is None:
        raise UserError("the emulated GPU needs Linux and g++")
    shutil.rmtree(folder / "cache", ignore_errors=True)  # kernels that an earlier emulator has compiled
    python = make_environment(folder / "env", cuda)
    packages = Path(output(python, "-c", "import cupy_backends; print(*cupy_backends.__path__)")).parent
    compile_runtime(python, get_source(python, folder, cuda), packages, folder, cuda)
    for library in packages.glob(f"nvidia/*/lib/libcudart.so.{cuda.major}"):
        library.unlink()  # or it would be found first
    run = folder / "run"
    run.write_text(script(folder, python), encoding="utf-8")
    run.chmod(0o755)
    print(f"{run} COMMAND runs a command with the emulated GPU; for instance: {run} python -m pytest -m gpu")
    return 0


def make_environment(place: Path, cuda: Cuda) -> Path:
    """A virtual environment with this checkout, CuPy and what compiles it; returns its Python."""
    if not place.exists():
        venv.create(place, with_pip=True)
    python = place / "bin/python"
    packages = (f"{CHECKOUT}[test]", "cython>=3.1", "setuptools", cuda.cupy, *cuda.packages)
    call(python, "-m", "pip", "install", "-q", "-e", *packages)
    return python


def get_source(python: Path, folder: Path, cuda: Cuda) -> Path:
    """CuPy's source of the version that is installed, without what belongs to its own way of compiling."""
    version = output(python, "-c", f"from importlib.metadata import version; print(version('{cuda.cupy}'))")
    source = folder / f"cupy-{version}"
    if not source.exists():
        options = ["--no-deps", "--no-binary", "cupy", "-d", str(folder)]
        call(python, "-m", "pip", "download", "-q", f"cupy=={version}", *options, CUPY_INSTALL_USE_STUB="1")
        with tarfile.open(folder / f"cupy-{version}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        for name in ("pyproject.toml", "setup.cfg", "setup.py"):
            (source / name).unlink()
    return source


def compile_runtime(python: Path, source: Path, packages: Path, folder: Path, cuda: Cuda) -> None:
    """The emulator's library under the names of CUDA's, and CuPy's runtime module on top of it."""
    place = folder / "lib"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in ("libcuda.so.1", "libcudart.so", *(f"{name}.so.{cuda.major}" for name in LIBRARIES)):
        (place / name).symlink_to("libemulator.so")
    objects = compile_library(folder, cuda)
    link(objects, place, cuda, missing=set())
    (folder / "cuda_profiler_api.h").write_text(PROFILER, encoding="utf-8")
    headers = [packages / name for name in cuda.headers]
    call(python, HERE / "compile_runtime.py", str(cuda.version), folder, place, *headers, cwd=source)
    made = next((folder / "built" / RUNTIME).parent.glob("runtime.*.so"))
    needed = [made, *(packages / "cupy_backends/cuda/libs").glob("cublas.*.so")]
    link(objects, place, cuda, missing=set().union(*map(undefined, needed)))
    shutil.copy(made, packages / RUNTIME.rpartition("/")[0])


def compile_library(folder: Path, cuda: Cuda) -> list[Path]:
    """The object files of the emulator."""
    objects = []
    for source in sorted(HERE.glob("*.cpp")):
        objects.append(folder / f"{source.stem}.o")
        options = ("-std=c++17", "-O3", "-march=native", "-Wall", "-fPIC", f"-DCUDA_VERSION={cuda.version}")
        call("g++", *options, "-c", source, "-o", objects[-1])
    return objects


def link(objects: list[Path], place: Path, cuda: Cuda, missing: set[str]) -> None:
    """The library; functions that CuPy can call, and the emulator does not have, give cudaErrorNotSupported."""
    library, stubs = place / "libemulator.so", place / "stubs.cpp"
    there = set().union(*map(defined, objects))
    functions = [f'extern "C" int {name}() {{ return 801; }}\n' for name in sorted(missing - there)]
    stubs.write_text("".join(functions), encoding="utf-8")
    name = f"-Wl,-soname,libcudart.so.{cuda.major}"
    call("g++", "-shared", "-fPIC", name, *objects, stubs, "-o", library, "-ldl")


def undefined(library: Path) -> set[str]:
    """The functions of CUDA that a library expects from others."""
    return symbols("-D", "--undefined-only", library)


def defined(file: Path) -> set[str]:
    return symbols("--defined-only", file)


def symbols(*arguments: str | Path) -> set[str]:
    return set(re.findall(r"\b[TU] (cu(?:da|blas)\w+)", output("nm", *arguments)))


def script(folder: Path, python: Path) -> str:
    """What runs a command with the emulated GPU. CuPy's CUB is compiled for GPUs only."""
    headers = " ".join(f"-I{shlex.quote(str(place))}" for place in (HERE, HERE / "include", HERE.parent))
    variables = {
        "LD_LIBRARY_PATH": str(folder / "lib"),
        "EMULATOR_HEADERS": headers,
        "CUPY_CACHE_DIR": str(folder / "cache"),
        "CUPY_ACCELERATORS": "",
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join(["#!/bin/sh", *lines, f"export PATH={shlex.quote(str(python.parent))}:$PATH", 'exec "$@"', ""])


def call(*words: str | Path, cwd: Path | None = None, **variables: str) -> None:
    """Run a program. Raises UserError where it fails."""
    if subprocess.run(words, cwd=cwd, env=os.environ | variables).returncode:
        raise UserError(f"failed: {' '.join(map(str, words))}")


def output(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"failed: {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(cli.run(main))
