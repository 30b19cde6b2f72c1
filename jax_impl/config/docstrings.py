"""What is written below the fields of a dataclass, as text."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap


def field_texts(kind: type) -> dict[str, str]:
    """The string below each field of a class, those of its base classes included; a class of its own text goes first.

    Fields without one, and those of classes whose source is not at hand, are left out.
    """
    texts: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        texts |= _own(each)
    return texts


@functools.cache
def _own(kind: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):  # Built in, typed at a prompt, or changed since it was imported.
        return {}
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    texts = {}
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                texts[name] = " ".join(words.split())
    return texts
