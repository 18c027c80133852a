"""The command for GPU machines runs through, on the stand-in and with small systems."""

import sys

import pytest

from benchmarks import gpu_check
from minigan.backend import GPUUnavailable
from minigan.recipes import DCGAN28, MLPMnist

SMALL = {
    "mlp-mnist": lambda: MLPMnist(batch_size=4, hidden_g=(8,), hidden_d=(8,)),
    "dcgan-28": lambda: DCGAN28(batch_size=4, latent=5, width=4, width_d=3, units=16),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "RECIPES", SMALL)


@pytest.mark.usefixtures("small", "strict")
def test_it_ends_with_a_table_in_which_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(["--quick"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("stand-in for a GPU, CuPy")
    assert all(line.startswith("ok ") for line in lines[1:])
    assert len(lines) == 1 + 1 + 3 * len(SMALL)


@pytest.mark.usefixtures("small", "strict")
def test_a_difference_between_the_processors_is_a_failure(monkeypatch, capsys) -> None:
    plain = gpu_check.to_host
    monkeypatch.setattr(gpu_check, "to_host", lambda array: plain(array) * (1 + 0.1 * (array is not plain(array))))
    monkeypatch.setattr(gpu_check, "check_gradients", lambda _gpu: gpu_check.Result("gradcheck", "0", True))
    assert gpu_check.main(["--quick"]) == 1
    assert "FAILED  mlp-mnist, float64: CPU against GPU" in capsys.readouterr().out


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(GPUUnavailable, match="pip install cupy"):
        gpu_check.main(["--quick"])
