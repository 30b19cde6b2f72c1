"""How large a piece of the product may be: files, functions, parameter lists, nesting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("export", "jax_impl", "torch_ref")
MOST_FILE_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS, MOST_NESTING = 300, 60, 7, 4
NESTING = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match, ast.AsyncFor, ast.AsyncWith)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def parameters(function: Function) -> int:
    """All that a call may give, without self or cls."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def nesting(node: ast.AST) -> int:
    """How many blocks lie inside one another in a function; an elif is no deeper than its if."""
    deepest = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
                continue
            same = isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If)
            deepest = max(deepest, nesting(child) + (isinstance(child, NESTING) and not same))
    return deepest


def excesses(source: str) -> Iterator[str]:
    """What in a file is larger than the rules allow, a line each."""
    if (lines := source.count("\n")) > MOST_FILE_LINES:
        yield f"{lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            found = ((length, MOST_FUNCTION_LINES, "lines"), (parameters(node), MOST_PARAMETERS, "parameters"))
            for count, most, what in (*found, (nesting(node), MOST_NESTING, "blocks inside one another")):
                if count > most:
                    yield f"{node.name} has {count} {what}"


def test_every_piece_is_small(root: Path) -> None:
    files = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    assert len(files) > 100
    found = [f"{path.relative_to(root)}: {line}" for path in files for line in excesses(path.read_text())]
    assert found == []


DEEP = "def f():\n" + "".join(f"{'    ' * i}if a:\n" for i in range(1, 6)) + "    " * 6 + "pass\n"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f(self, a, b, c, d, e, f, g): pass\n", 0),
        ("def f(a, b, c, d, e, f, *, g, h): pass\n", 1),
        ("def f():\n" + 59 * "    a\n", 0),
        ("def f():\n" + 60 * "    a\n", 1),
        (301 * "a\n", 1),
        (DEEP, 1),
        ("def f():\n    if a:\n        b\n" + 6 * "    elif a:\n        b\n", 0),
    ],
)
def test_what_is_too_large_is_found(source: str, count: int) -> None:
    assert len(list(excesses(source))) == count
