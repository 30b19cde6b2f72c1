"""What hypothesis puts into each kind of text: JSON of any shape, lists of pairs, lists of digests, words."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**9, 2**63, -(2**31), 10**300, 10**400, 65536]),
        st.floats(),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4), st.lists(inner).map(list)
    ),
    max_leaves=8,
)
NAMES = st.one_of(
    st.sampled_from(["a.png", "b.png", "", " ", ".", "..", "../a.png", "/etc/passwd", "sub/../a.png", "sub/link.png"]),
    st.sampled_from(["x" * 300, "a.png/", "~", "a.png\x00", "con/" * 2000, "\x1b[31m", "//a.png", "folder", "fifo"]),
    st.sampled_from(
        ["A.PNG", ".\\a.png", "C:\\x\\a.png", "C:\\data\\sub\\a.png", "..\\..\\a.png", "\\\\host\\a\\b.png"]
    ),
    st.text(max_size=12),
)


def encode(text: str) -> bytes:
    """UTF-8, with lone surrogates as the bytes that no decoder takes."""
    return text.encode("utf-8", "surrogatepass")


def places(tree: Any, at: tuple = ()) -> list[tuple]:
    """Where the values of a JSON tree stand."""
    found = [at] if at else []
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return found + [place for key, value in pairs for place in places(value, (*at, key))]


def replaced(tree: Any, place: tuple, value: Any) -> Any:
    """A copy of a JSON tree with another value at one of its places."""
    tree = copy.deepcopy(tree)
    inside = tree
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return tree


def trees(tree: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The tree with one or two values replaced, or with a key of its own."""
    spots = places(tree)
    one = st.builds(lambda place, value: replaced(tree, place, value), st.sampled_from(spots), JSON)
    more = st.builds(lambda place, key, value: _added(tree, place, key, value), st.sampled_from(spots), st.text(), JSON)
    return st.one_of(one, one, more)


def _added(tree: Any, place: tuple, key: str, value: Any) -> Any:
    """A copy of the tree with one more key in the object that holds a place."""
    holder = tree
    for name in place[:-1]:
        holder = holder[name]
    return replaced(tree, (*place[:-1], key), value) if isinstance(holder, dict) else replaced(tree, place, value)


def json_bytes(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def csv_texts() -> st.SearchStrategy[bytes]:
    rows = st.lists(st.lists(NAMES, min_size=0, max_size=4), max_size=5)
    head = st.sampled_from(["source,target", "source,target,split", "target,source", "a,b", "", "source,source"])
    lines = st.builds(_table, head, rows, st.sampled_from([",", ",", ";", "\t"]), st.sampled_from(["", "", "sep=;\n"]))
    return st.one_of(lines.map(encode), st.binary(max_size=60), lines.map(lambda t: t.encode("utf-16", "replace")))


def _table(head: str, rows: Sequence[Sequence[str]], delimiter: str, first: str) -> str:
    return first + "\n".join([head.replace(",", delimiter), *map(delimiter.join, rows)])


def jsonl_texts() -> st.SearchStrategy[bytes]:
    keys = st.sampled_from(["source", "target", "split", "SOURCE", "x"])
    record = st.dictionaries(keys, st.one_of(NAMES, JSON), max_size=4)
    good = st.fixed_dictionaries({"source": NAMES, "target": NAMES}, optional={"split": st.one_of(NAMES, JSON)})
    return st.lists(st.one_of(record, good, JSON).map(json.dumps), max_size=4).map(lambda t: encode("\n".join(t)))


def sums_texts(lines: Sequence[str]) -> st.SearchStrategy[bytes]:
    odd = st.builds(lambda digest, sep, name: digest + sep + name, st.sampled_from([64 * "0", 64 * "g", "", "a" * 63]),
                    st.sampled_from(["  ", " *", " ", "\t"]), NAMES)  # fmt: skip
    return st.lists(st.one_of(st.sampled_from(lines), odd), max_size=8).map(lambda found: encode("\n".join(found)))


def argument_words(flags: Sequence[str], words: Sequence[str], start: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Words of a command line: flags, values, and what is neither; none holds a zero byte, as none can."""
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
    number = st.sampled_from(["0", "-1", "1", "2", "nan", "inf", "1e9", "99999999999999999999", "0x10", "1.5", "½"])
    value = st.one_of(st.sampled_from(list(words)), number, text, st.just("x" * 5000), st.just("\udcff"))
    pair = st.tuples(st.sampled_from(list(flags)), value).map(list)
    part = st.one_of(pair, pair, value.map(lambda word: [word]), st.sampled_from(list(flags)).map(lambda flag: [flag]))
    tail = st.lists(part, max_size=4).map(lambda parts: [word for part in parts for word in part])
    begin = st.sampled_from([list(start), list(start), list(start[:1]), []])
    return st.builds(lambda a, b: [*a, *b], begin, tail)
