"""A manifest says what was there, and no changed bit of it passes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_impl.training.manifest import FileFacts, Manifest, find_fault_in, of_folder, read_manifest, to_bytes

manifests = st.builds(
    Manifest,
    st.integers(0, 10**9),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 1e6),
    st.dictionaries(st.text(min_size=1), st.builds(FileFacts, st.integers(0, 2**60), st.text("0123456789abcdef"))),
)


@given(manifests)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> None:
    path = tmp_path_factory.getbasetemp() / "manifest.json"
    path.write_bytes(to_bytes(manifest))
    assert read_manifest(path) == manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "step_00000012"
    (folder / "d").mkdir(parents=True)
    (folder / "d" / "weights").write_bytes(bytes(range(256)))
    (folder / "note").write_bytes(b"")
    return folder


def test_every_byte_of_it_counts(folder: Path, tmp_path: Path) -> None:
    data = to_bytes(of_folder(folder, 12, 1.5, 0.25))
    path = tmp_path / "step_00000012.json"
    for place in range(len(data)):
        for changed in (bytes([data[place] ^ 1 << place % 8]), b""):
            path.write_bytes(data[:place] + changed + data[place + 1 :])
            with pytest.raises(ValueError, match="damaged"):
                read_manifest(path)


@pytest.mark.parametrize("tree", ["[" * 100_000, "[]", "7", '{"files": {"a": 1}}', "\udce9", ""])
def test_what_is_no_manifest_is_damaged(tmp_path: Path, tree: str) -> None:
    (tmp_path / "m").write_bytes(tree.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match="damaged"):
        read_manifest(tmp_path / "m")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "d/weights").write_bytes(bytes(256)), "d/weights is damaged"),
        (lambda f: os.truncate(f / "d/weights", 255), "d/weights is damaged"),
        (lambda f: (f / "note").unlink(), "note is missing"),
        (lambda f: (f / "more").touch(), "more is not part of it"),
        (lambda f: (f / "link").symlink_to(f / "note"), "link is not part of it"),
        (lambda f: f.rename(f.with_name("elsewhere")), "is missing"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, harm: Callable[[Path], object], said: str) -> None:
    manifest = of_folder(folder, 12, 1.0, None)
    assert find_fault_in(manifest, folder) is None
    harm(folder)
    assert said in (find_fault_in(manifest, folder) or "")
