"""Check without running it that a source file asks CuPy only for what CuPy has.

Every attribute of a name ``xp`` (or of an attribute ``.xp``) must be in the snapshot ``cupy_api.json``,
and every call of one must pass arguments that CuPy takes. This reaches the branches that no test runs;
``strict_cupy`` checks the values that pass through the others.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

API = json.loads((Path(__file__).parent / "cupy_api.json").read_text())

Entry = dict[str, Any]


def check_source(path: str | Path) -> list[str]:
    """Return one line for each use of ``xp`` that CuPy would refuse, as ``path:line: what is wrong``."""
    tree = ast.parse(Path(path).read_text(), filename=str(path))
    return [f"{path}:{line}: {problem}" for line, problem in sorted(_problems(tree))]


def _problems(tree: ast.AST) -> Iterator[tuple[int, str]]:
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, problem) for problem in _check_call(node))
        elif isinstance(node, ast.Attribute) and id(node) not in inner:  # xp.linalg.norm once, not xp.linalg too
            names = _names_after_xp(node)
            if names and _find(names) is None:
                yield node.lineno, _missing(names)


def _names_after_xp(node: ast.expr) -> list[str]:
    """``xp.linalg.norm`` -> ['linalg', 'norm']; [] for anything that does not start with xp."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        if node.attr == "xp":
            return names
        names.insert(0, node.attr)
        node = node.value
    return names if isinstance(node, ast.Name) and node.id == "xp" else []


def _find(names: list[str]) -> Entry | None:
    """Return the snapshot's entry; one that takes anything where the snapshot does not go that deep."""
    if names[0] == "__version__":
        return {"is": "constant", "takes": None}
    entry = API["module"].get(names[0])
    if entry is None or len(names) == 1:
        return entry
    owner = entry["is"] if entry["is"] == "ufunc" else names[0]
    members = API.get(owner, API["module"]) if owner in ("ufunc", "ndarray", "fft", "linalg", "random") else None
    if members is not None:
        return members.get(names[1])
    if entry["is"] == "function":
        return None
    return {"is": "unknown", "takes": None}


def _missing(names: list[str]) -> str:
    return f"xp.{'.'.join(names)} does not exist in CuPy {API['version']}"


def _check_call(call: ast.Call) -> Iterator[str]:
    if isinstance(call.func, ast.Name) and call.func.id == "getattr":
        yield from _check_getattr(call)
    names = _names_after_xp(call.func)
    entry = _find(names) if names else None
    if entry is None or entry["takes"] is None:
        return
    takes: dict[str, str] = entry["takes"]
    for keyword in call.keywords:
        if keyword.arg is not None and not _takes_keyword(takes, keyword.arg):
            yield f"xp.{'.'.join(names)} does not take the argument {keyword.arg!r}"
    most = sum(kind[0] in "pa" for kind in takes.values())
    starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    if "*" not in takes.values() and not starred and len(call.args) > most:
        yield f"xp.{'.'.join(names)} takes at most {most} arguments by position, not {len(call.args)}"


def _takes_keyword(takes: dict[str, str], name: str) -> bool:
    return "**" in takes.values() or takes.get(name, "p")[0] in "ak"


def _check_getattr(call: ast.Call) -> Iterator[str]:
    """``getattr(xp, "name")`` is ``xp.name``."""
    match call.args:
        case [ast.Name(id="xp"), ast.Constant(value=str(name)), *_] if _find([name]) is None:
            yield _missing([name])
