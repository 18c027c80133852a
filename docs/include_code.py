"""Keep the code shown in the documentation equal to the code that runs.

    python docs/include_code.py            refresh every block
    python docs/include_code.py --check    change nothing, exit with 1 if a block is out of date

A marker line names a file and what to show of it; the block under it is written by this script:

    <!-- code: minigan/functional/dense.py dense_weight_grad -->
    ```python
    ...
    ```

Functions, classes, ``Class.method`` and constants can be named; docstrings are left out, comments stay.
"""

import ast
import re
import sys
import textwrap
from pathlib import Path

DOCS = Path(__file__).resolve().parent
MARKER = re.compile(r"^<!-- code: (?P<path>\S+) (?P<names>.+?) -->$", re.MULTILINE)
BLOCK = re.compile(MARKER.pattern + r"\n```python\n.*?^```$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """All Markdown files of the documentation."""
    return sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)


def refresh(text: str, root: Path = DOCS.parent) -> str:
    """The page with every block as the source is now. Raises ValueError for a marker that cannot be filled."""
    filled = {match.start() for match in BLOCK.finditer(text)}
    for marker in MARKER.finditer(text):
        if marker.start() not in filled:
            raise ValueError(f"no ```python block directly under {marker[0]}")

    def fill(match: re.Match[str]) -> str:
        source = (root / match["path"]).read_text(encoding="utf-8")
        code = "\n\n".join(extract(source, name) for name in match["names"].split())
        return f"<!-- code: {match['path']} {match['names']} -->\n```python\n{code}```"

    return BLOCK.sub(fill, text)


def extract(source: str, name: str) -> str:
    """The source of one function, class, method (Class.method) or constant, without its docstring."""
    node: ast.AST = ast.parse(source)
    for part in name.split("."):
        inside = [child for child in getattr(node, "body", []) if part in _names(child)]
        if not inside:
            raise ValueError(f"nothing called {name!r} in the source")
        node = inside[0]
    first = min(item.lineno for item in [node, *getattr(node, "decorator_list", [])])
    lines = source.splitlines(keepends=True)[: node.end_lineno]
    if hasattr(node, "body") and ast.get_docstring(node) is not None:
        start, end = node.body[0].lineno - 1, node.body[0].end_lineno
        while end < len(lines) and not lines[end].strip():
            end += 1
        del lines[start:end]
    return textwrap.dedent("".join(lines[first - 1 :]))


def _names(node: ast.AST) -> list[str]:
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [getattr(node, "name", ""), *(target.id for target in targets if isinstance(target, ast.Name))]


def main(check: bool) -> int:
    stale = [page for page in pages() if refresh(text := page.read_text(encoding="utf-8")) != text]
    for page in stale:
        print(f"{'out of date' if check else 'refreshed'}: {page.relative_to(DOCS.parent)}")
        if not check:
            page.write_text(refresh(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
