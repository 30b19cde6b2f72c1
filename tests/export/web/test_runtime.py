"""onnxruntime-web: only the very package that npm publishes is taken, from wherever it comes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from export.edge.errors import UserError
from export.web import runtime

CONTENT = {name: name.encode() for name in runtime.FILES}


def package(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small package that passes for the pinned one, and an empty cache."""
    data = package(CONTENT)
    monkeypatch.setattr(runtime, "INTEGRITY", base64.b64encode(hashlib.sha512(data).digest()).decode())
    monkeypatch.setattr(runtime, "FILES", {n: hashlib.sha256(d).hexdigest() for n, d in CONTENT.items()})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    return data


@pytest.fixture
def published(small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that stands where the registry would be."""
    path = tmp_path / "registry.tgz"
    path.write_bytes(small)
    monkeypatch.setattr(runtime, "URL", path.as_uri())
    return path


def test_the_package_is_fetched_once(published: Path) -> None:
    assert runtime.read_runtime() == CONTENT
    assert runtime.cache_path().read_bytes() == published.read_bytes()
    published.unlink()
    assert runtime.read_runtime() == CONTENT


@pytest.mark.usefixtures("homeless")
def test_without_a_home_it_is_fetched_and_not_kept(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    assert runtime.cache_path() is None
    assert runtime.read_runtime() == CONTENT
    published.unlink()
    with pytest.raises(UserError, match="--onnxruntime-web FILE"):
        runtime.read_runtime()


def test_a_damaged_copy_in_the_cache_is_fetched_again(published: Path) -> None:
    runtime.cache_path().parent.mkdir(parents=True)
    runtime.cache_path().write_bytes(published.read_bytes()[:-1])
    assert runtime.read_runtime() == CONTENT
    assert runtime.cache_path().read_bytes() == published.read_bytes()


def test_a_forged_package_is_refused_and_not_kept(published: Path) -> None:
    published.write_bytes(package(CONTENT | {"ort.wasm.min.mjs": b"import evil"}))
    with pytest.raises(UserError, match="SHA-512"):
        runtime.read_runtime()
    assert not runtime.cache_path().exists()


def test_without_a_network_the_remedy_is_named(published: Path) -> None:
    published.unlink()
    with pytest.raises(UserError, match=r"cannot be fetched .* --onnxruntime-web FILE"):
        runtime.read_runtime()


def test_a_package_on_disk_is_taken_packed_or_unpacked(small: bytes, tmp_path: Path) -> None:
    packed = tmp_path / "package.tgz"
    packed.write_bytes(small)
    assert runtime.read_runtime(packed) == CONTENT
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"version": runtime.ORT_WEB}))
    for name, data in CONTENT.items():
        (folder / "dist" / name).write_bytes(data)
    assert runtime.read_runtime(folder) == CONTENT


@pytest.mark.parametrize("mistake", ["missing", "text", "empty folder", "version", "changed"])
def test_anything_else_on_disk_is_one_line(small: bytes, tmp_path: Path, mistake: str) -> None:
    path = tmp_path / "given"
    if mistake == "text":
        path.write_text("not a package")
    elif mistake != "missing":
        (path / "dist").mkdir(parents=True)
        if mistake != "empty folder":
            version = "1.0.0" if mistake == "version" else runtime.ORT_WEB
            (path / "package.json").write_text(json.dumps({"version": version}))
            for name in CONTENT:
                (path / "dist" / name).write_bytes(b"changed")
    with pytest.raises(UserError, match="given"):
        runtime.read_runtime(path)
