"""onnxruntime-web, at one pinned version: fetched from npm once, checked, and kept in the user's cache folder."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import urllib.request
from http.client import HTTPException
from pathlib import Path

from export.edge.disk.files import write_bytes
from export.edge.disk.home import caches, home
from export.edge.errors import UserError, describe_os_error

ORT_WEB = "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the package as npm's registry publishes it, in base64."""
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{ORT_WEB}.tgz"
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
"""What a page needs out of the package's dist folder, each with its SHA-256: three files for WebAssembly with threads,
and three that are loaded in their place where the browser has WebGPU."""
BACKENDS = {"wasm": tuple(FILES)[:3], "webgpu": tuple(FILES)[3:]}
"""Which of them each of the page's two ways to run a model takes."""
TIMEOUT = 60
"""Seconds without a byte before a download is given up."""


def read_runtime(source: Path | None = None) -> dict[str, bytes]:
    """The content of each of FILES.

    `source` is the package as a .tgz file or as a folder (node_modules/onnxruntime-web);
    None takes the copy in the cache, which is fetched from npm's registry the first time.
    Raises UserError when it cannot be had or is not, to the last byte, ORT_WEB.
    """
    if source is None:
        return _unpack(_cached(), cache_path() or URL)
    if source.is_dir():
        return _read_folder(source)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise UserError(f"--onnxruntime-web {source}: {describe_os_error(error)}") from error
    return _unpack(_checked(data, str(source)), source)


def cache_path() -> Path | None:
    """Where the package is kept between builds, by the habits of the operating system; None without a home folder."""
    known = home()
    if os.name == "nt":
        named = os.environ.get("LOCALAPPDATA")
        base = Path(named) if named else known and known / "AppData/Local"
    elif sys.platform == "darwin":
        base = known and known / "Library/Caches"
    else:
        base = caches()
    return base and base / "dawn2dusk" / f"onnxruntime-web-{ORT_WEB}.tgz"


def _cached() -> bytes:
    path = cache_path()
    if path is None:
        return _checked(_download(), URL)
    try:
        return _checked(path.read_bytes(), str(path))
    except (OSError, UserError):  # Not there, or cut short by an earlier accident.
        data = _checked(_download(), URL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
    except OSError:
        pass  # A cache that cannot be written costs the next build a download, no more.
    return data


def _download() -> bytes:
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT) as response:
            return response.read()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"onnxruntime-web {ORT_WEB} cannot be fetched from {URL} ({reason}); check the connection, or fetch it "
            "elsewhere with `npm pack` and give it with --onnxruntime-web FILE"
        ) from error


def _checked(data: bytes, where: str) -> bytes:
    """`data` when it is the package as npm publishes it."""
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != INTEGRITY:
        raise UserError(
            f"{where} is not the package onnxruntime-web {ORT_WEB}: its SHA-512 is another; get it with "
            f"`npm pack onnxruntime-web@{ORT_WEB}`"
        )
    return data


def _unpack(data: bytes, path: Path | str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:  # In the archive's own order: going back would unpack it from its start again.
            file = archive.extractfile(member)
            name = member.name.removeprefix("package/dist/")
            if file is not None and name in FILES:
                found[name] = file.read()
    return _complete(found, path)


def _read_folder(folder: Path) -> dict[str, bytes]:
    try:
        version = json.loads((folder / "package.json").read_bytes())["version"]
        if version != ORT_WEB:
            raise UserError(
                f"--onnxruntime-web {folder} is version {version}, the page is made for {ORT_WEB}; get it with "
                f"`npm pack onnxruntime-web@{ORT_WEB}`"
            )
        return _complete({name: (folder / "dist" / name).read_bytes() for name in FILES}, folder)
    except OSError as error:
        raise UserError(f"--onnxruntime-web {folder}: {describe_os_error(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--onnxruntime-web {folder} has no readable package.json; name the package's own folder"
        ) from error


def _complete(found: dict[str, bytes], path: Path | str) -> dict[str, bytes]:
    for name, digest in FILES.items():
        if hashlib.sha256(found.get(name, b"")).hexdigest() != digest:
            raise UserError(f"{path} holds another {name} than onnxruntime-web {ORT_WEB}; get a fresh copy of it")
    return found
