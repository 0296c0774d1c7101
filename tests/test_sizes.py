"""Files, functions and parameter lists stay as small as docs and habits say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE_LINES = 400
FUNCTION_LINES = 50
PARAMETERS = 6
COMMANDS = ROOT / "app" / "cli"
"""Its functions' parameters are options of commands, which nobody passes by position."""

FILES = sorted(
    path
    for folder in ("app", "planner", "specialists", "reports", "tests")
    for path in (ROOT / folder).rglob("*.py")
    if path.parent.name != "versions"
)
"""All code but the migrations, which list a schema as it once was and are never changed again."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def parameters(function: Function) -> int:
    """How many a caller sees: `self`, `cls`, `*args` and `**kwargs` are not counted."""
    given = function.args
    named = [arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(named) - (named[:1] in (["self"], ["cls"]))


def lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_a_file_and_its_functions_are_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES, f"{path.name} has {lines} lines"
    for function in functions(path):
        length = lines_of(function) - (
            lines_of(function.body[0]) if ast.get_docstring(function) else 0
        )
        assert length <= FUNCTION_LINES, f"{function.name} has {length} lines without its docstring"
        count = parameters(function)
        assert count <= PARAMETERS or path.parent == COMMANDS, (
            f"{function.name} has {count} parameters"
        )


def test_each_package_says_in_one_line_what_it_is_for_and_nothing_is_called_utils() -> None:
    for path in FILES:
        if path.name == "__init__.py":
            assert re.fullmatch(r'"""[A-Z][^"\n]+\."""\n', path.read_text(encoding="utf-8")), path
    assert not [path for path in FILES if path.stem in {"utils", "helpers", "common", "manager"}]
    folders = {path.parent for path in FILES if path.relative_to(ROOT).parts[0] != "tests"}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_no_docstring_begins_with_nothing() -> None:
    """Neither of a module, class or function, nor below an attribute or a constant."""
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(text := node.value.value, str)
        and re.match(r"\s*Nothing\b", text)
    ]
    assert not found
