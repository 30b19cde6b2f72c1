"""The tree of settings as JSON, both ways."""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from export.edge import plugins
from export.edge.disk.reading import parse_json
from export.edge.errors import UserError
from jax_impl.config import tagged
from jax_impl.config.migrations import migrated

if typing.TYPE_CHECKING:
    from jax_impl.config.tree import Config

Base = typing.TypeVar("Base")


def to_json(config: Config) -> str:
    """The whole tree as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str, record: plugins.Record = ()) -> Config:
    """A config from JSON text; a missing key takes its default.

    `record`: which of its entries a user's modules registered, for messages. Raises UserError for text that is not
    JSON, an unknown key (with the nearest known one), an entry that no registry holds, a value of the wrong type, or a
    value that a field refuses.
    """
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise UserError(f"config is not JSON ({error}); restore the file that the run wrote") from None
    return from_tree(tree, record)


def from_tree(tree: object, record: plugins.Record = ()) -> Config:
    """As `from_json`, from what the text says."""
    # Only here: the tree needs JAX, and commands that have settings of their own do without it.
    from jax_impl.config.tree import Config

    return typing.cast(Config, _build(Config, migrated(tree), "config", record))


_BOUNDS = ("clamp", "threshold")
"""What stays when the kind of a process changes: it belongs to what is estimated, a picture or a codec's state."""


def with_settings(config: Config, changes: Mapping[str, Any]) -> Config:
    """The settings with some of them changed, each by its dotted name, such as {"train.epochs": 5}.

    Values are as in JSON; tuples and paths are taken too. A change of kind, such as {"diffusion.process": "flow"},
    comes first: all else below it is then that kind's default, apart from bounds of the clean estimate. Raises
    UserError for an unknown name, with the nearest known one, and for a value that the setting does not take.
    """
    tree = json.loads(to_json(config))
    changed = {name: json.loads(json.dumps(value, default=_plain)) for name, value in changes.items()}
    kinds = [name for name in changed if _is_tag(config, name)]
    for name in kinds:
        place, last = _place(tree, name)
        if place.get(last) != changed[name]:
            kept = {key: place[key] for key in _BOUNDS if key in place}
            place.clear()
            place.update(kept)
        place[last] = changed[name]
    for name, value in changed.items():
        place, last = _place(tree, name)
        place[last] = value
    return from_tree(tree)


def _is_tag(config: Config, name: str) -> bool:
    """Whether a dotted name says which kind a part of the settings is of."""
    *path, last = name.split(".")
    node: object = config
    for key in path:
        node = getattr(node, key, None)
    return any((kind := tagged.kind_of(base)) and kind[0] == last for base in type(node).__mro__)


def _place(tree: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The object that holds a setting of a dotted name, and the last part of the name."""
    *path, last = name.split(".")
    for key in path:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise UserError(f"{name} is not a setting: {key} has no parts")
    return tree, last


def _plain(value: object) -> object:
    """What JSON has no word for: settings as objects, all else as text, such as a path."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def entry(base: type[Base], text: str, where: str) -> Base:
    """An entry of a registry of `base` as it is typed: its name, or a JSON object with its name and settings.

    Raises UserError as `from_json` does.
    """
    tag, _ = tagged.kind_of(base) or ("", None)
    try:
        tree = parse_json(text) if text.lstrip().startswith("{") else {tag: text}
    except ValueError as error:
        raise UserError(f"{where} {plugins.shown(text)} is not JSON ({error})") from None
    return _value(base, tree, where, ())


def to_text(settings: Any) -> str:
    """What `entry` reads, as short as it can be: the name alone where all else is the default."""
    tree = dataclasses.asdict(settings)
    found = next(kind for base in type(settings).__mro__ if (kind := tagged.kind_of(base)))
    return tree[found[0]] if settings == type(settings)() else json.dumps(tree)


def _build(kind: type, tree: object, where: str, record: plugins.Record) -> object:
    if not isinstance(tree, dict):
        raise UserError(f"{where} is {plugins.shown(tree)}: an object of settings belongs here")
    hints = typing.get_type_hints(kind)
    for key in tree:
        if key not in hints:
            near = difflib.get_close_matches(key[:80], hints, n=1, cutoff=0.0)
            raise UserError(f"{where}.{key[:80]} is not a setting; did you mean {where}.{near[0]}?")
    return kind(**{key: _value(hints[key], value, f"{where}.{key}", record) for key, value in tree.items()})


def _value(hint: Any, value: Any, where: str, record: plugins.Record) -> Any:
    """`value` as the type `hint` asks for, or UserError."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if kind := tagged.kind_of(hint):
        tag, entries = kind
        value = {tag: value} if isinstance(value, str) else value
        name = value.get(tag) if isinstance(value, dict) else None
        hint = entries.find(name, f"{where}.{tag}", plugins.module_of(record, entries.kind, name))
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where, record)
    if origin is Literal:
        if value not in options:
            raise UserError(f"{where} is {plugins.shown(value)}: choose one of {', '.join(map(str, options))}")
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_value(options[0], item, where, record) for item in value)
    if origin in (types.UnionType, typing.Union) and value is None and type(None) in options:
        return None
    wanted = next(o for o in options if o is not type(None)) if options and origin is not tuple else hint
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(wanted, type) and isinstance(value, wanted) and (wanted is bool) == isinstance(value, bool):
        return value
    raise UserError(
        f"{where} is {plugins.shown(value)}: a value of type {getattr(wanted, '__name__', wanted)} belongs here"
    )
