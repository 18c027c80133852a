"""The documentation: its code is the code that runs, its commands exist, its links lead somewhere."""

import ast
import importlib.util
import re
import shlex
from pathlib import Path
from unittest.mock import patch

import pytest

from minigan.gradcheck import all_problems
from minigan.recipes import RECIPES
from tests.commands import run

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def load_include_code():
    spec = importlib.util.spec_from_file_location("include_code", DOCS / "include_code.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


include_code = load_include_code()
PAGES = include_code.pages()
TEXT = {page.relative_to(DOCS).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
DERIVATIONS = [name for name in TEXT if name.startswith("derivations/")]
HEADINGS = ["Definition", "Shapes", "Differential", "Gradient", "The code", "Check it", "Common mistakes"]

FENCE = re.compile(r"^```(?P<language>.*?)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
MATH = re.compile(r"\$\$.+?\$\$|(?<![\\$])\$[^$]+\$", re.DOTALL)


def without_code(text):
    """A page without fenced blocks, where a `#` or a `[x](y)` means something else."""
    return FENCE.sub("", text)


def section(text, heading):
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", without_code(text), re.MULTILINE | re.DOTALL)[1]


# Included code --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", TEXT)
def test_shown_code_is_the_code_that_runs(page):
    assert include_code.refresh(TEXT[page]) == TEXT[page], "run: python docs/include_code.py"


def test_a_drifted_block_is_noticed_and_repaired():
    drifted = TEXT["derivations/dense.md"].replace("cache.x.T @ dy", "dy.T @ cache.x")
    assert drifted != TEXT["derivations/dense.md"]
    assert include_code.refresh(drifted) == TEXT["derivations/dense.md"]


def test_the_command_fails_on_a_drifted_page_and_repairs_it(tmp_path, monkeypatch, capsys):
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    (tmp_path / "source.py").write_text('def f():\n    """Doc."""\n    return 1  # kept\n')
    page.write_text("<!-- code: source.py f -->\n```python\nold\n```\n")
    monkeypatch.setattr(include_code, "DOCS", page.parent)
    monkeypatch.setattr(include_code.refresh, "__defaults__", (tmp_path,))
    assert include_code.main(check=True) == 1
    assert "out of date: docs/page.md" in capsys.readouterr().out
    assert include_code.main(check=False) == 0
    assert page.read_text() == "<!-- code: source.py f -->\n```python\ndef f():\n    return 1  # kept\n```\n"
    assert include_code.main(check=True) == 0


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("<!-- code: minigan/functional/dense.py dense -->\n\n```python\n```\n", "directly under"),
        ("<!-- code: minigan/functional/dense.py denes -->\n```python\n```\n", "denes"),
    ],
)
def test_a_marker_that_cannot_be_filled_is_an_error(page, complaint):
    with pytest.raises(ValueError, match=complaint):
        include_code.refresh(page)


def test_methods_classes_constants_and_decorators_can_be_shown():
    source = (
        '@mark\nclass A:\n    """Doc."""\n\n    x: int  # (N,)\n    @once\n    def f(self):\n        pass\n\n\nB = 2\n'
    )
    assert include_code.extract(source, "A.f") == "@once\ndef f(self):\n    pass\n"
    assert include_code.extract(source, "A").startswith("@mark\nclass A:\n    x: int  # (N,)\n")
    assert include_code.extract(source, "B") == "B = 2\n"


def test_every_operation_has_a_derivation():
    shown = set()
    for page in (*DERIVATIONS, "batchnorm-variants.md"):
        for marker in include_code.MARKER.finditer(TEXT[page]):
            shown |= {(marker["path"], name) for name in marker["names"].split()}
    for path in sorted((ROOT / "minigan" / "functional").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                where = path.relative_to(ROOT).as_posix()
                assert (where, node.name) in shown, f"no derivation shows {node.name} of {where}"


# Code to run ----------------------------------------------------------------------------------------


def free_blocks():
    """The Python blocks that are no copies of source: examples and checks of what a page claims."""
    for page, text in TEXT.items():
        for number, block in enumerate(FENCE.finditer(include_code.BLOCK.sub("", text))):
            if block["language"] == "python":
                yield pytest.param(block["body"], id=f"{page}-{number}")


@pytest.mark.parametrize("code", list(free_blocks()))
def test_examples_run_and_their_claims_hold(code):
    with patch.dict(RECIPES):  # of which an example registers one
        exec(compile(code, "example", "exec"), {"__name__": "example"})


def shown_commands():
    """(module, arguments) of every ``python -m minigan...`` on any page."""
    commands = set()
    for text in TEXT.values():
        for line in re.findall(r"python -m minigan[^`\n]*", text):
            _, _, module, *arguments = shlex.split(line, comments=True)
            commands.add((module, *arguments))
    return sorted(commands)


@pytest.fixture(scope="module")
def options_of():
    """The long options of a command, from its own --help; asked once for each command."""
    answers = {}

    def ask(module, words):
        if (module, words) not in answers:
            done = run(ROOT, module, *words, "--help")
            assert done.returncode == 0, done.stderr
            answers[module, words] = set(re.findall(r"--[a-z][a-z0-9-]*", done.stdout))
        return answers[module, words]

    return ask


@pytest.mark.parametrize("command", shown_commands(), ids=" ".join)
def test_shown_commands_and_their_options_exist(command, options_of):
    module, *arguments = command
    first_option = next((i for i, word in enumerate(arguments) if word.startswith("--")), len(arguments))
    used = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    assert used <= options_of(module, tuple(arguments[:first_option]))


def test_what_pages_ask_gradcheck_for_exists():
    names = [problem.name for problem in all_problems()]
    for module, *arguments in shown_commands():
        if module == "minigan.gradcheck" and "--layer" in arguments:
            wanted = arguments[arguments.index("--layer") + 1]
            assert wanted == "NAME" or any(wanted in name for name in names), wanted


# Form -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", DERIVATIONS)
def test_every_derivation_has_the_same_sections(page):
    assert re.findall(r"^## (.*)$", without_code(TEXT[page]), re.MULTILINE) == HEADINGS
    assert r"\boxed{" in section(TEXT[page], "Gradient")
    assert include_code.BLOCK.search(TEXT[page])
    assert "python -m minigan." in TEXT[page]


@pytest.mark.parametrize("page", TEXT)
def test_links_between_pages_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", MATH.sub("", without_code(TEXT[page]))):
        if not re.match(r"https?:", target):
            assert ((DOCS / page).parent / target.partition("#")[0]).exists(), target


def test_every_page_is_in_the_table_of_contents():
    listed = {
        f"{line}.md"
        for block in FENCE.finditer(TEXT["index.md"])
        if block["language"] == "{toctree}"
        for line in block["body"].split()
        if not line.startswith(":")
    }
    linked = set(re.findall(r"\]\(([^)\s]+\.md)\)", TEXT["index.md"]))
    pages = set(TEXT) - {"index.md"}
    assert pages <= listed
    assert pages <= linked


@pytest.mark.parametrize("page", TEXT)
def test_formulas_survive_a_plain_markdown_viewer(page):
    r"""Markdown eats a backslash before punctuation (``\,`` ``\{``) and may read ``}_`` and ``*`` as emphasis."""
    text = re.sub(r"`[^`\n]*`", "", without_code(TEXT[page]))
    assert text.count("$") % 2 == 0
    for formula in MATH.findall(text):
        assert not re.search(r"\\[^A-Za-z\s]|[})\]'|]_|\*|\|", formula), formula
        assert formula.startswith("$$") or "\n" not in formula, formula
