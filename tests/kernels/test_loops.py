"""Which inner loops there are: numba's, or NumPy's where numba will not do."""

import pytest

from minigan.kernels import loops


@pytest.mark.parametrize("failure", [ImportError("needs NumPy 2.4"), RuntimeError("no locator"), OSError()])
def test_a_numba_that_cannot_be_used_is_done_without(monkeypatch, failure):
    real = loops.import_module

    def import_module(name):
        if name.endswith("compiled"):
            raise failure
        return real(name)

    monkeypatch.setattr(loops, "import_module", import_module)
    monkeypatch.setattr(loops, "find_spec", lambda _: object())
    assert loops.choose().__name__ == "minigan.kernels.blocks"
