"""Files of others: limits that hold before anything is made of them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.edge.disk import reading
from export.edge.errors import UserError

numbers = st.one_of(st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False))
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


@given(plain)
def test_plain_json_is_read_as_the_library_reads_it(value: Any) -> None:
    assert reading.parse_json(json.dumps(value)) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("NaN", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("1e999", "1e999 is too large"),
        ("9" * 5000, "too large a number"),
        ("-" + "9" * 400, "too large a number"),
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ('{"b": {"a": 1, "a": 1}}', "'a' is given twice"),
        ("", "Expecting value"),
    ],
)
def test_what_is_no_plain_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        reading.parse_json(text)
    assert len(str(caught.value)) < 200


def test_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"12345678")
    assert reading.read_bytes(path, "list", 8) == b"12345678"
    with pytest.raises(UserError, match=r"list .*list\.txt has more than 7 bytes"):
        reading.read_bytes(path, "list", 7)
    path.write_bytes(b"\xef\xbb\xbfname")
    assert reading.read_text(path, "list") == "name"
    path.write_bytes("name".encode("utf-16"))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        reading.read_text(path, "list")


@pytest.mark.parametrize(
    ("head", "size", "reason"),
    [
        (b"", 0, "not a whole safetensors file: it has 0 bytes"),
        (struct.pack("<Q", 2**63), 100, "not a whole safetensors file"),
        (struct.pack("<Q", 9 * 2**20), 10 * 2**20, "a header of 9,437,184 bytes, more than 8,388,608"),
        (struct.pack("<Q", 2), 2**31 + 1, "more than 2,147,483,648 bytes"),
    ],
    ids=["empty", "endless header", "long header", "long file"],
)
def test_a_safetensors_file_that_promises_too_much_is_refused(
    head: bytes, size: int, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)  # A hole: it takes no space on the disk.
    with pytest.raises(UserError, match=reason):
        reading.check_tensor_file(path, "weights")
