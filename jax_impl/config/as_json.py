"""The tree of settings as JSON, both ways."""

from __future__ import annotations

import dataclasses
import difflib
import json
import reprlib
import types
import typing
from typing import Any, Literal

from export.edge.disk.reading import parse_json
from export.edge.errors import UserError
from jax_impl.config.tree import Config, ModelConfig, SeedModelConfig, UNetModelConfig


def to_json(config: Config) -> str:
    """The whole tree as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str) -> Config:
    """A config from JSON text; a missing key takes its default.

    Raises UserError for text that is not JSON, an unknown key (with the nearest known
    one), a value of the wrong type, or a value that a field refuses.
    """
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise UserError(f"config is not JSON ({error}); restore the file that the run wrote") from None
    return from_tree(tree)


def from_tree(tree: object) -> Config:
    """As `from_json`, from what the text says."""
    return typing.cast(Config, _build(Config, tree, "config"))


def _build(kind: type, tree: object, where: str) -> object:
    if not isinstance(tree, dict):
        raise UserError(f"{where} is {reprlib.repr(tree)}: an object of settings belongs here")
    hints = typing.get_type_hints(kind)
    for key in tree:
        if key not in hints:
            near = difflib.get_close_matches(key[:80], hints, n=1, cutoff=0.0)
            raise UserError(f"{where}.{key[:80]} is not a setting; did you mean {where}.{near[0]}?")
    return kind(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in tree.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint` asks for, or UserError."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where)
    if hint == ModelConfig:
        kinds = {"seed": SeedModelConfig, "unet": UNetModelConfig}
        name = value.get("architecture") if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in kinds:
            raise UserError(f"{where}.architecture is {reprlib.repr(name)}: choose one of {', '.join(kinds)}")
        return _build(kinds[name], value, where)
    if origin is Literal:
        if value not in options:
            raise UserError(f"{where} is {reprlib.repr(value)}: choose one of {', '.join(map(str, options))}")
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_value(options[0], item, where) for item in value)
    if origin in (types.UnionType, typing.Union) and value is None and type(None) in options:
        return None
    wanted = next(o for o in options if o is not type(None)) if options and origin is not tuple else hint
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(wanted, type) and isinstance(value, wanted) and (wanted is bool) == isinstance(value, bool):
        return value
    raise UserError(
        f"{where} is {reprlib.repr(value)}: a value of type {getattr(wanted, '__name__', wanted)} belongs here"
    )
