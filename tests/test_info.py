"""What `minigan.info` tells of a GPU; the rest is in test_commands."""

import pytest

from minigan import info
from minigan.backend import GPUUnavailable
from minigan.cuda import cublas
from tests.strict_cublas import PATH


@pytest.mark.usefixtures("strict")
def test_a_gpu_is_told_with_the_cublas_that_was_found(capsys):
    assert info.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("GPU: stand-in for a GPU, CuPy 1")
    assert lines[-2:] == [f"cuBLAS: 13.1.0, {PATH}", "--device auto takes: gpu:0"]


@pytest.mark.usefixtures("strict")
def test_why_there_is_no_cublas_is_told(monkeypatch):
    def missing(_xp):
        raise GPUUnavailable("no cuBLAS (libcublas.so.13: cannot open); install it with: pip install nvidia-cublas")

    monkeypatch.setattr(cublas, "load", missing)
    assert info.gpu_lines()[1] == (
        "cuBLAS: none; (libcublas.so.13: cannot open); install it with: pip install nvidia-cublas; "
        "--kernels plain does without"
    )
