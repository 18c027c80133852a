"""Write tests/cupy_api.json: which names CuPy has and which arguments they take.

The tests use this snapshot to show, without a GPU and without CuPy, that the layers call nothing that
CuPy lacks. Run ``python -m reference.write_cupy_api`` where CuPy can be imported (no GPU needed) to
write it again for another release, or add ``--check`` to compare only (exit status 1: they differ,
3: no CuPy, or another release than the snapshot's).
"""

import argparse
import importlib
import inspect
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

SNAPSHOT = Path(__file__).resolve().parents[1] / "tests" / "cupy_api.json"

# One letter for each kind of parameter; a "?" after it marks one that may be left out.
KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "p",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "a",
    inspect.Parameter.KEYWORD_ONLY: "k",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}
NAMESPACES = ("fft", "linalg", "random")

Takes = dict[str, str] | None  # parameter name -> kind letter, in order; None: unknown
Entry = dict[str, Any]  # {"is": kind of thing, "takes": Takes}


def describe_module(module: ModuleType) -> dict[str, Entry]:
    """Return every public name of a module with what it is and takes."""
    return {name: _describe(value) for name, value in _public(module) if not _is_future_flag(value)}


def describe_class(cls: type) -> dict[str, Entry]:
    """Return the public methods and properties of a class; the parameter `self` is left out."""
    return {name: _member(value) for name, value in _public(cls)}


def _public(owner: Any) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(owner, name)) for name in sorted(dir(owner)) if not name.startswith("_"))


def _is_future_flag(value: object) -> bool:
    """``from __future__ import annotations`` leaves a name behind that is no part of the interface."""
    return type(value).__module__ == "__future__"


def _describe(value: Any) -> Entry:
    match type(value).__name__:
        case "ufunc":
            return {"is": "ufunc", "takes": parse_signature(value.__doc__)}
        case "_GUFunc":
            return {"is": "ufunc", "takes": _gufunc_takes(value)}
        case "module" | "_LazyModule":
            return {"is": "module", "takes": None}
        case "float" | "bool" | "NoneType":
            return {"is": "constant", "takes": None}
    if str(getattr(value, "__module__", "")).partition(".")[0] == "numpy":
        return {"is": "numpy", "takes": None}  # NumPy's own types and helpers, handed on by CuPy
    if isinstance(value, type):
        return {"is": "type", "takes": None}
    if callable(value):
        return {"is": "function", "takes": _takes(value)}
    return {"is": "object", "takes": None}


def _member(value: Any) -> Entry:
    if not callable(value):
        return {"is": "property", "takes": None}
    takes = _takes(value)
    return {"is": "method", "takes": takes and {name: kind for name, kind in takes.items() if name != "self"}}


def _takes(function: Callable[..., Any]) -> Takes:
    """Python code knows its signature; compiled code says it in the first line of its docstring."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return parse_signature(function.__doc__)
    return _from_signature(signature)


def _from_signature(signature: inspect.Signature) -> dict[str, str]:
    return {
        parameter.name: KINDS[parameter.kind] + ("?" if parameter.default is not parameter.empty else "")
        for parameter in signature.parameters.values()
    }


def _gufunc_takes(gufunc: Any) -> Takes:
    """Operands as the docstring has them, keywords as the call has them.

    ``out`` is listed among the keywords only: given by position it reaches CuPy's fast path twice
    and raises TypeError.
    """
    operands = parse_signature(gufunc.__doc__) or {}
    keywords = _from_signature(inspect.signature(gufunc))
    named = {name: "p" for name, kind in operands.items() if kind == "p"}
    return named | {name: kind for name, kind in keywords.items() if kind != "*"}


def parse_signature(docstring: str | None) -> Takes:
    """Parse ``ndarray.sum(self, axis=None, int dtype=0) -> ndarray`` and its like, types included.

    >>> parse_signature("exp(x, /, out=None, \\\\*, dtype=None)")
    {'x': 'p', 'out': 'a?', 'dtype': 'k?'}
    """
    first_line = (docstring or "").strip().partition("\n")[0]
    call = re.match(r"[\w.]+\((.*)\)(\s*->.*)?$", first_line.replace("\\", ""))
    if call is None:
        return None
    takes: dict[str, str] = {}
    letter = "a"
    for token in _split(_without_brackets(call[1])):
        if token == "/":
            takes = {name: kind.replace("a", "p") for name, kind in takes.items()}
        elif token == "*":
            letter = "k"
        elif token.startswith("*"):
            stars, name = re.fullmatch(r"(\*+)(\w+)", token).groups()  # type: ignore[union-attr]
            takes[name], letter = stars, "k"
        else:
            declaration, equals, _ = token.partition("=")
            takes[declaration.split()[-1]] = letter + ("?" if equals else "")
    return takes


def _without_brackets(parameters: str) -> str:
    """Turn the old notation for optional parameters, ``x[, y], / [, out=(None, None)]``, into today's."""

    def with_defaults(optional: re.Match[str]) -> str:
        names = [name if "=" in name else f"{name}=None" for name in _split(optional[1])]
        return "".join(f", {name}" for name in names)

    return re.sub(r"\s*\[,\s*([^\]]*)\]", with_defaults, parameters)


def _split(parameters: str) -> list[str]:
    """Split at the commas that are not inside parentheses."""
    return [token.strip() for token in re.split(r",(?![^(]*\))", parameters) if token.strip()]


def snapshot(cupy: ModuleType) -> dict[str, Any]:
    """Return the whole snapshot: module, array class, ufunc class, some namespaces, operators."""
    return {
        "version": cupy.__version__,
        "module": describe_module(cupy),
        "ndarray": describe_class(cupy.ndarray),
        "ufunc": describe_class(cupy.ufunc),
        **{name: describe_module(getattr(cupy, name)) for name in NAMESPACES},
        "operators": sorted(name for name in dir(cupy.ndarray) if name.startswith("__")),
    }


def to_text(data: dict[str, Any]) -> str:
    """JSON with one name a line, so that a new release shows up as a readable difference."""
    sections = []
    for key, value in data.items():
        if isinstance(value, dict):
            lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items())
            sections.append(f"{json.dumps(key)}: {{\n{lines}\n}}")
        elif isinstance(value, list):
            sections.append(f"{json.dumps(key)}: [\n" + ",\n".join(map(json.dumps, value)) + "\n]")
        else:
            sections.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def import_cupy() -> ModuleType | None:
    """Import CuPy if it is there; without a GPU it may warn about missing CUDA files, which do not matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("cupy")
        except ImportError:
            return None


def main() -> int:
    """Write the snapshot, or compare it with the CuPy that is installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    cupy = import_cupy()
    if cupy is None:
        print("CuPy cannot be imported: pip install cupy-cuda12x", file=sys.stderr)
        return 3
    text = to_text(snapshot(cupy))
    if not check:
        SNAPSHOT.write_text(text)
        return 0
    if json.loads(SNAPSHOT.read_text())["version"] != cupy.__version__:
        print(f"the snapshot is of another release than the installed CuPy {cupy.__version__}", file=sys.stderr)
        return 3
    if SNAPSHOT.read_text() != text:
        print(f"{SNAPSHOT.name} differs from CuPy {cupy.__version__}: write it again", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
