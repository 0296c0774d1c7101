"""Files, functions and parameter lists stay as small as docs and habits say."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE_LINES = 400
FUNCTION_LINES = 50
PARAMETERS = 6
COMMANDS = (
    "cli.py",
    "cli_bench.py",
    "cli_experiments.py",
    "cli_planner.py",
    "cli_push.py",
    "cli_training.py",
)
"""Their functions' parameters are options of commands, which nobody passes by position (as for ruff's PLR0913)."""

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


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_a_file_and_its_functions_are_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES, f"{path.name} has {lines} lines"
    for function in functions(path):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= FUNCTION_LINES, f"{function.name} has {length} lines"
        count = parameters(function)
        assert count <= PARAMETERS or path.name in COMMANDS, (
            f"{function.name} has {count} parameters"
        )


def test_package_markers_are_empty_and_nothing_is_called_utils() -> None:
    assert not [path for path in FILES if path.name == "__init__.py" and path.stat().st_size]
    assert not [path for path in FILES if path.stem in {"utils", "helpers", "common", "manager"}]
