"""The CUDA sources: their compiler takes them without a word, and they are in the package."""

import ast
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest

from minigan.cuda import launch
from tests.cuda import nvrtc
from tests.strict_kernels import kernel_names

FILES = sorted(path.stem for path in launch.FOLDER.glob("*.cu") if kernel_names(path.read_text()))
# All but those that are for one precision are compiled for both.
EACH = [(file, real) for file in FILES for real in launch.REALS.values() if file != "implicit_gemm" or real == "float"]
# What is meant to be in registers is there: the compiler puts the rest into memory, many times as slow, and says nothing.
REGISTERS = ("--ptxas-options=-warn-spills", "--ptxas-options=-warn-lmem-usage")
every_source = pytest.mark.parametrize(("file", "real"), EACH)


@every_source
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc, the compiler of CUDA sources")
@pytest.mark.skipif(
    nvrtc.library() is not None, reason="CuPy's compiler, which is the same one without a process, is there"
)
def test_they_compile_for_an_h100(file, real, tmp_path):
    path = tmp_path / f"{file}.cu"
    path.write_text(launch.source(file))
    command = ["nvcc", "-arch=sm_90", *launch.options(real), *REGISTERS, "-Werror", "all-warnings", "-cubin"]
    done = subprocess.run([*command, "-o", tmp_path / "out", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@every_source
@pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC, the compiler that CuPy uses")
def test_cupys_compiler_takes_them_for_an_h100(file, real):
    """With CuPy's own options besides ours. What it gives is for the GPU itself, and has all kernels in it."""
    source = launch.source(file)
    options = (*launch.options(real), *REGISTERS, "-arch=sm_90", "-ftz=true", "--device-as-default-execution-space")
    code = nvrtc.compiled(source, options)
    assert all(name.encode() in code for name in kernel_names(source))


@pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC, the compiler that CuPy uses")
def test_cupys_compiler_refuses_a_mistake():
    with pytest.raises(ValueError, match='identifier "unknown" is undefined'):
        nvrtc.compiled('extern "C" __global__ void f(float* x) { x[0] = unknown; }', ("-arch=sm_90",))


MANY_NUMBERS = """
extern "C" __global__ void f(float* x, int n) {
    float many[48];
    for (int i = 0; i < 48; i++) many[i] = x[i * n];
    for (int i = 0; i < 48; i++) x[i] = many[WHERE] * many[47 - i];
}
"""


@pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC, the compiler that CuPy uses")
@pytest.mark.parametrize(
    ("where", "more", "said"),
    [
        ("i * n % 48", (), "Local memory"),  # the numbers of an array that is walked through have addresses
        ("i", ("-maxrregcount=24",), "spill"),
        ("i", (), None),
    ],
)
def test_what_does_not_stay_in_registers_is_told(where, more, said):
    source = MANY_NUMBERS.replace("WHERE", where)
    with pytest.raises(ValueError, match=said) if said else nullcontext():
        nvrtc.compiled(source, (*REGISTERS, *more, "-arch=sm_90"))


@pytest.mark.parametrize("file", FILES)
def test_every_kernel_is_launched(file):
    """By a string in the Python code beside it."""
    strings = {
        node.value
        for path in Path(launch.FOLDER).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    names = kernel_names(launch.source(file))
    assert names
    assert set(names) <= strings


def test_they_need_no_header():
    """The compiler that comes with CuPy has none."""
    assert not any("#include" in launch.source(file) for file in FILES)
