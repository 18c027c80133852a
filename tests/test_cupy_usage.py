"""Every ``xp.`` in minigan exists in CuPy, the checker notices what does not, and the snapshot is CuPy's."""

import subprocess
import sys
from pathlib import Path

import pytest

from reference.write_cupy_api import parse_signature
from tests.cupy_usage import API, check_source

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "minigan").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_asks_cupy_only_for_what_it_has(path):
    assert check_source(path) == []


def test_there_is_something_to_check():
    uses = [path for path in SOURCES if "xp." in path.read_text()]
    assert len(uses) >= 3


def problems(tmp_path, source):
    path = tmp_path / "planted.py"
    path.write_text(source)
    return check_source(path)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("xp.softplus(x)", "xp.softplus does not exist"),
        ("f = xp.block", "xp.block does not exist"),
        ("xp.__config__", "xp.__config__ does not exist"),
        ("with xp.errstate(all='ignore'): pass", "xp.errstate does not exist"),
        ("device.xp.softplus(x)", "xp.softplus does not exist"),
        ("self.xp.softplus(x)", "xp.softplus does not exist"),
        ("xp.linalg.logm(x)", "xp.linalg.logm does not exist"),
        ("xp.random.default_generator()", "xp.random.default_generator does not exist"),
        ("xp.add.fold(x)", "xp.add.fold does not exist"),
        ("xp.ndarray.resize(x, 2)", "xp.ndarray.resize does not exist"),
        ("xp.sum.at(x)", "xp.sum.at does not exist"),
        ("getattr(xp, 'softplus')(x)", "xp.softplus does not exist"),
        ("xp.exp(x, where=m)", "xp.exp does not take the argument 'where'"),
        ("xp.exp(x=x)", "xp.exp does not take the argument 'x'"),
        ("xp.sum(x, initial=0.0)", "xp.sum does not take the argument 'initial'"),
        ("xp.mean(x, where=m)", "xp.mean does not take the argument 'where'"),
        ("xp.clip(x, min=0)", "xp.clip does not take the argument 'min'"),
        ("xp.reshape(x, shape=(2,))", "xp.reshape does not take the argument 'shape'"),
        ("xp.add.reduce(x, initial=0)", "xp.add.reduce does not take the argument 'initial'"),
        ("xp.linalg.norm(x, where=m)", "xp.linalg.norm does not take the argument 'where'"),
        ("xp.matmul(x, y, out)", "xp.matmul takes at most 2 arguments by position, not 3"),
        ("xp.exp(x, out, m)", "xp.exp takes at most 2 arguments by position, not 3"),
        ("y = xp.exp(xp.softplus(x))", "xp.softplus does not exist"),
        ("def f(x):\n    if x:\n        return lambda xp: xp.softplus", "planted.py:3: xp.softplus does not exist"),
    ],
)
def test_planted_mistake_is_found(tmp_path, source, complaint):
    (found,) = problems(tmp_path, source)
    assert complaint in found


@pytest.mark.parametrize(
    "source",
    [
        "xp.exp(x, out=y)",
        "xp.exp(x, y)",
        "xp.sum(x, axis=0, keepdims=True)",
        "xp.stack([x, y], axis=1)",
        "xp.broadcast_arrays(x, y, z, u, v)",
        "xp.exp(x, y, *rest)",
        "xp.sum(x, **options)",
        "xp.einsum('ij->i', x, optimize=True)",
        "xp.add.at(x, i, y)",
        "xp.linalg.norm(x, axis=0)",
        "xp.cuda.get_current_stream().synchronize()",
        "xp.float32(1.0)",
        "xp.__version__",
        "xp.finfo(x.dtype).tiny",
        "x.softplus(where=m)",
        "np.sum(x, where=m)",
    ],
)
def test_good_use_is_left_alone(tmp_path, source):
    assert problems(tmp_path, source) == []


def test_two_mistakes_in_one_file_are_both_found(tmp_path):
    assert len(problems(tmp_path, "xp.softplus(xp.exp(x, where=m))")) == 2


@pytest.mark.parametrize(
    ("docstring", "takes"),
    [
        ("exp(x, /, out=None, \\*, casting='same_kind')\n\nText.", {"x": "p", "out": "a?", "casting": "k?"}),
        ("modf(x[, out1, out2], / [, out=(None, None)], \\*, dtype=None)",
         {"x": "p", "out1": "p?", "out2": "p?", "out": "a?", "dtype": "k?"}),
        ("nd.sum(self, int axis=-1, str order='C') -> nd", {"self": "a", "axis": "a?", "order": "a?"}),
        ("nd.reshape(self, *shape, order='C', **rest)",
         {"self": "a", "shape": "*", "order": "k?", "rest": "**"}),
        ("Returns something.", None),
        (None, None),
    ],
)  # fmt: skip
def test_signature_is_read_from_a_docstring(docstring, takes):
    assert parse_signature(docstring) == takes


def test_snapshot_knows_the_arguments_of_every_function():
    unknown = [
        name for name, entry in API["module"].items() if entry["is"] in ("function", "ufunc") and not entry["takes"]
    ]
    assert unknown == ["clear_memo", "get_default_memory_pool", "get_default_pinned_memory_pool", "is_available"]


def test_snapshot_is_that_of_the_installed_cupy():
    """In a process of its own, which keeps the real CuPy out of this one."""
    command = [sys.executable, "-m", "reference.write_cupy_api", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
