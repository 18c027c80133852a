"""Which inner loops there are: numba's, or NumPy's where numba will not do."""

import numpy as np
import pytest

from minigan import ops
from minigan.functional.patches import Geometry
from minigan.kernels import loops
from tests.commands import run
from tests.kernels.twins import fast
from tests.strategies import normal


@pytest.mark.parametrize(
    "failure", [ImportError("needs NumPy 2.4"), RuntimeError("no\nlocator"), ValueError("0 threads"), OSError()]
)
def test_a_numba_that_cannot_be_used_is_done_without(monkeypatch, failure):
    real = loops.import_module

    def import_module(name):
        if name.endswith("compiled"):
            raise failure
        return real(name)

    monkeypatch.setattr(loops, "import_module", import_module)
    monkeypatch.setattr(loops, "find_spec", lambda _: object())
    chosen, refused = loops.choose()
    assert chosen.__name__ == "minigan.kernels.blocks"
    assert refused == (" ".join(str(failure).split()) or "OSError")


def test_without_numba_there_is_nothing_to_tell(monkeypatch):
    monkeypatch.setattr(loops, "find_spec", lambda _: None)
    chosen, refused = loops.choose()
    assert (chosen.__name__, refused) == ("minigan.kernels.blocks", "")


def test_commands_say_why_it_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(loops, "REFUSED", "needs NumPy 2.4")
    words = "cannot be used (needs NumPy 2.4)"
    assert words in run(tmp_path, "minigan.train", "--steps", 1, "--out", "run", "--device", "cpu").stdout
    assert words not in run(tmp_path, "minigan.train", "--steps", 1, "--out", "plain", "--kernels", "plain").stdout
    assert "numba: cannot be used, so that training is slower: needs NumPy 2.4" in run(tmp_path, "minigan.info").stdout


@pytest.mark.skipif(not loops.COMPILED, reason="numba is not there")
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_few_channels_have_loops_of_their_own_that_agree(monkeypatch, dtype, bound):
    from minigan.kernels import compiled

    built, real = [], compiled._constants
    monkeypatch.setattr(compiled, "LANES", 4)  # 1 in the other tests: see conftest.py
    monkeypatch.setattr(compiled, "_constants", lambda *given: built.append(real(*given)) or built[-1])
    shapes = [(2, 8, 6, 3), (4, 4, 3, 2), (2, 4, 3, 2)]
    x, w, dy = (normal(seed, *shape).astype(dtype) for seed, shape in enumerate(shapes))
    geometry = Geometry((2, 2), (1, 1, 1, 1))
    calls = (lambda: ops.conv2d(x, w, geometry), lambda: ops.conv2d_input_grad(dy, w, (8, 6), geometry))
    plain = [call() for call in calls]
    with fast(2, compiled):
        found = [call() for call in calls]
    for ours, expected in zip(found, plain, strict=True):
        assert abs(ours - expected).max() <= bound * abs(expected).max()
    assert {constants.few for constants in built} == {2, 3}
