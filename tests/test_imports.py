"""Who may import whom, read from the import statements; and what an import loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "minigan").rglob("*.py"))

# Every room, from the ground up, and the rooms of minigan that it may import. Itself is understood.
EVERYWHERE = {"errors", "typing"}
GROUND = EVERYWHERE | {"backend"}
ROOMS = {
    "errors": set(),
    "typing": set(),
    "backend": EVERYWHERE,
    "randomness": EVERYWHERE,
    "cli": EVERYWHERE | {"processor"},
    "functional": GROUND,
    "kernels": GROUND | {"functional", "processor"},
    "cuda": GROUND | {"functional"},
    "processor": EVERYWHERE,
    "ops": GROUND | {"functional", "kernels", "cuda"},
    "parallel": GROUND,
    "nn": GROUND | {"ops"},
    "optim": GROUND | {"ops", "nn.params"},
    "games": GROUND | {"randomness", "ops", "nn", "optim", "parallel"},
    "recipes": GROUND | {"ops", "nn", "games", "optim"},
    "data": GROUND | {"randomness"},
    "interchange": GROUND | {"ops", "nn"},
    "runs": GROUND
    | {"cli", "processor", "randomness", "ops", "nn", "optim", "parallel", "games", "recipes", "data", "evaluation"}
    | {"cuda.aside", "cuda.cublas", "cuda.pcg64"},
    "reports": GROUND | {"recipes", "runs"},
    "toys": GROUND | {"randomness", "ops", "nn", "optim", "games", "evaluation"},
    "gradcheck": GROUND | {"cli", "randomness", "ops", "nn", "parallel", "games", "optim", "recipes"},
    "evaluation": GROUND | {"cli", "randomness", "ops", "nn", "optim", "data", "interchange"},
}
COMMANDS = {"train", "sample", "export", "load", "evaluate", "report", "info", "toy", "gradcheck", "__main__"}  # on top


def imported(source):
    """The full names that the import statements of a source ask for, also those within functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def complaints(path, source):
    """What a file (named by its path within minigan/) imports and should not."""
    room = Path(path).parts[0].removesuffix(".py")
    on_top = room in COMMANDS - ROOMS.keys() or Path(path).name == "__main__.py"  # of a room that is a command, too
    allowed = None if on_top else ROOMS.get(room, set()) | {room}
    for name in imported(source):
        first, _, rest = name.partition(".")
        if first in ("cupy", "cupyx") and room != "backend":
            yield f"{path} imports {name}: only backend.py may"
        if first != "minigan" or rest in ("", "__version__"):
            continue
        target = rest.split(".")[0]
        if target in COMMANDS - {room}:
            yield f"{path} imports {name}: commands are on top"
        elif allowed is not None and not any(rest == place or rest.startswith(place + ".") for place in allowed):
            yield f"{path} imports {name}: {room} may import {', '.join(sorted(allowed))}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file):
    assert list(complaints(file.relative_to(ROOT / "minigan").as_posix(), file.read_text())) == []


def test_every_room_is_in_the_plan():
    found = {file.relative_to(ROOT / "minigan").parts[0].removesuffix(".py") for file in FILES}
    assert found <= ROOMS.keys() | COMMANDS | {"__init__"}


def test_the_plan_has_no_circle():
    """Taking away rooms that need nothing but rooms already taken away leaves none."""
    left = {room: {place.split(".")[0] for place in needs} for room, needs in ROOMS.items()}
    while left:
        free = {room for room, needs in left.items() if not needs & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        left = {room: needs for room, needs in left.items() if room not in free}


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("functional/dense.py", "from minigan.nn import Dense", "functional may import backend"),
        ("functional/dense.py", "import minigan.ops", "functional may import backend"),
        ("functional/dense.py", "def f():\n    from minigan import ops", "functional may import backend"),
        ("ops.py", "from minigan.nn.layer import Layer", "ops may import"),
        ("nn/dense.py", "from minigan.functional.dense import dense", "nn may import"),
        ("nn/dense.py", "from minigan.optim import SGD", "nn may import"),
        ("nn/dense.py", "from minigan import games", "nn may import"),
        ("optim/sgd.py", "from minigan.nn import Dense", "optim may import"),
        ("games/gan.py", "from minigan.recipes import MLP2014", "games may import"),
        ("recipes/mlp_2014.py", "from minigan.runs.state import State", "recipes may import"),
        ("runs/trainer.py", "from minigan.train import main", "commands are on top"),
        ("nn/dense.py", "import cupy as cp", "only backend.py may"),
        ("train.py", "from cupyx.scipy import special", "only backend.py may"),
        ("a_new_room/thing.py", "from minigan.nn import Dense", "a_new_room may import a_new_room"),
    ],
)
def test_a_planted_violation_is_found(path, source, complaint):
    (found,) = complaints(path, source)
    assert complaint in found


def test_the_backend_mentions_cupy_and_nothing_else_does():
    """backend.py imports it by name when asked for, which the statements do not show."""
    asking = [file.name for file in FILES if 'import_module("cupy")' in file.read_text()]
    assert asking == ["backend.py"]


def test_mpi4py_is_mentioned_in_one_file_and_loaded_only_under_mpiexec(monkeypatch):
    asking = [file.relative_to(ROOT).as_posix() for file in FILES if 'import_module("mpi4py' in file.read_text()]
    assert asking == ["minigan/parallel/mpi.py"]
    join = "from minigan.parallel.mpi import joined\nwith joined() as team: assert team.size == 1"
    assert "mpi4py" not in asked_for(join)
    monkeypatch.setenv("PMI_RANK", "0")
    assert "mpi4py" in asked_for(f"try:\n    exec({join!r})\nexcept Exception: pass")


def asked_for(statement):
    """The packages that a statement tries to import in a fresh Python, whether they are installed or not."""
    script = (
        "import sys\n"
        "class Watch:\n"
        "    names = set()\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        self.names.add(name.partition('.')[0])\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"{statement}\n"
        "print(*sorted(Watch.names))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_minigan_loads_nothing():
    """So that --help answers at once, and BLAS can be set up before NumPy loads it."""
    assert asked_for("import minigan") == {"minigan"}


HEAVY = {
    "cupy", "cupyx", "matplotlib", "scipy", "PIL", "torch", "tqdm", "tyro", "safetensors", "onnx", "jinja2", "mpi4py",
}  # fmt: skip


@pytest.mark.parametrize("module", ["minigan.nn", "minigan.optim", "minigan.games.gan", "minigan.recipes"])
def test_training_code_loads_numpy_and_nothing_heavier(module):
    loaded = asked_for(f"import {module}")
    assert "numpy" in loaded
    assert loaded & HEAVY == set()


def test_the_watch_would_notice():
    assert {"cupy", "scipy"} <= asked_for("try:\n    import scipy, cupy\nexcept ImportError:\n    pass")


def test_a_device_is_looked_for_only_when_one_is_selected():
    assert "cupy" not in asked_for("from minigan import backend; backend.select_device('cpu')")
    assert "cupy" in asked_for("from minigan import backend; backend.select_device('auto')")
