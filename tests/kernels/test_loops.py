"""Which inner loops there are: numba's, or NumPy's where numba will not do."""

import pytest

from minigan.kernels import loops
from tests.commands import run


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
