"""Writes the page of refusals from the code's own messages: `python -m tests.messages docs/messages.md`."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GAP = "…"
"""Where a message holds a name, a value or words that are chosen in a run."""
DEEPEST = 3
"""Names that are looked up within names."""
PACKAGES = ("jax_impl", "torch_ref", "export")
TOP = f"""# If something is refused

Every mistake ends a command with one line that names the thing, its value and the remedy, and with exit status 2.
Nothing is left half written. Lines that begin with `note:` or `WARNING` do not end a command.

| exit status | meaning |
|---|---|
| 0 | done |
| 2 | bad input, bad setting, missing file or device: read the line |
| 128 + n | ended by signal n (130: Ctrl-C, 143: SIGTERM); training wrote a checkpoint first |

Below are all refusals of all commands, by what was being done. `{GAP}` stands for a name or a value. The page is
written from the code by `python -m tests.messages docs/messages.md`. What libraries say is not listed.
"""
GROUPS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "Naming settings": (
        "`python -m jax_impl.train --help` says the range of each setting; so does the page of [flags](reference.md).",
        "choose another value",
        ("jax_impl/config", "jax_impl/diffusion", "jax_impl/model", "jax_impl/training/stages"),
    ),
    "Reading pairs": (
        "See [layouts](data.md#layouts) and [folders of pairs](data.md#folders-of-pairs). `doctor` looks at all pairs.",
        "run `python -m jax_impl.doctor` on the pairs",
        ("jax_impl/data", "jax_impl/doctor.py", "jax_impl/prepare.py", "jax_impl/bench"),
    ),
    "Reading and writing pictures and files": (
        "See [kinds of pictures](data.md#kinds-of-pictures).",
        "name another file",
        ("export/edge/pictures", "export/edge/disk", "export/edge/progress.py"),
    ),
    "Training and resuming": (
        "See [out of memory](tuning.md#out-of-memory) and [going on with a run](data.md#going-on-with-a-run).",
        "see [out of memory](tuning.md#out-of-memory)",
        ("jax_impl/training", "jax_impl/train.py", "jax_impl/devices.py", "jax_impl/shapes.py"),
    ),
    "Bundling and sampling from a run": (
        "",
        "name the folder that training wrote",
        ("jax_impl/runs", "jax_impl/bundle.py", "jax_impl/sample.py"),
    ),
    "Evaluating": ("See [evaluating](evaluating.md).", "name another set", ("jax_impl/evaluat", "export/edge/metrics")),
    "Bringing checkpoints of PyTorch in and out": (
        "See [the original script](original-script.md).",
        "take another checkpoint, or bundle the run again",
        ("torch_ref",),
    ),
    "Translating on the device": (
        "See [deploying](deploying.md). A model that is damaged is exported again, or copied again.",
        "export the model again",
        ("export/edge",),
    ),
    "Exporting, checking and building the page": ("", "export the bundle again", ("export",)),
}
"""By heading: a line above the table, the remedy of messages without one, whose messages they are. The first counts."""

Known = Mapping[str, ast.expr]


def page() -> str:
    """The whole page."""
    parts = [TOP]
    for heading, (line, remedy, _) in GROUPS.items():
        parts += [f"## {heading}", *([line] if line else []), ""]
        parts += ["| message | what to do |", "|---|---|"]
        parts += [f"| {_cell(cause, True)} | {_cell(todo or remedy)} |" for cause, todo in rows(heading)]
        parts.append("")
    return "\n".join(parts)


@functools.cache
def rows(heading: str) -> tuple[tuple[str, str], ...]:
    """The causes and remedies of a group, without those that are nothing but words chosen in a run."""
    found: set[tuple[str, str]] = set()
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        name = path.relative_to(ROOT).as_posix()
        if next((key for key, group in GROUPS.items() if name.startswith(group[2])), None) == heading:
            for text in messages(path.read_text(encoding="utf-8")):
                cause, remedy = split(text)
                if len(re.findall(r"[A-Za-z]{2,}", cause)) > 1:
                    found.add((cause, remedy))
    return tuple(sorted(found, key=lambda row: (row[0].lstrip(f"{GAP}:- ").lower(), row)))


def split(message: str) -> tuple[str, str]:
    """Cause and remedy: a message has them in this order, parted by a semicolon, or by a colon before an order."""
    parts = re.split(r"; |: (?=(?:choose|give|name|use|write|add|make)\b)", message, maxsplit=1)
    remedy = parts[1].strip(f" {GAP}") if len(parts) > 1 else ""
    return parts[0], parts[1] if remedy else ""


def messages(source: str) -> Iterator[str]:
    """What the module can refuse with: the texts of UserError and of the rules that `require` sets."""
    tree = ast.parse(source)
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef | ast.Module):
            known = _texts(scope)
            for node in _inside(scope):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    yield from _message(node.func.id, node.args, known)


def _message(name: str, args: Sequence[ast.expr], known: Known) -> Iterator[str]:
    if name == "UserError":
        yield _clean(_template(args[0], known))
    elif name == "require":
        yield _clean(f"{_template(args[1], known)} is {GAP}; {_template(args[3], known)}")


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a function or module but those of functions inside it."""
    todo = list(ast.iter_child_nodes(scope))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef):
            todo += ast.iter_child_nodes(node)


def _texts(scope: ast.AST) -> Known:
    """Texts that a function gives a name to, each once."""
    found: dict[str, ast.expr] = {}
    for node in _inside(scope):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            found[name] = ast.Constant(GAP) if name in found else node.value
    kinds = (ast.Constant, ast.JoinedStr, ast.BinOp, ast.IfExp)
    return {name: value for name, value in found.items() if isinstance(value, kinds)}


def _template(node: ast.expr, known: Known, depth: int = 0) -> str:
    """The text that an expression makes, with GAP for what a run decides; of two texts the first."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(value, known, depth) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return _template(node.value, known, depth) if isinstance(node.value, ast.Name | ast.IfExp) else GAP
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left, known, depth) + _template(node.right, known, depth)
    if isinstance(node, ast.IfExp):
        return _template(node.body, known, depth)
    if isinstance(node, ast.Name) and node.id in known and depth < DEEPEST:
        return _template(known[node.id], known, depth + 1)
    return GAP


def _clean(text: str) -> str:
    """One line, with one GAP in place of several that follow each other."""
    return re.sub(rf"{GAP}(\s*{GAP})+", GAP, " ".join(text.split()))


def _cell(text: str, code: bool = False) -> str:
    text = text.replace("|", "\\|")
    if code and "`" not in text:
        return f"`{text}`"
    return text.replace("<", "&lt;").replace("*", "\\*")


def main(words: Sequence[str]) -> None:
    """Write the page to the file that the words name."""
    (target,) = words
    Path(target).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
