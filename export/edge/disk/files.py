"""Files that appear whole or not at all, and digests to know them by."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.edge.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def check_output_file(path: Path, what: str = "output") -> Path:
    """Return `path` when a file can be put there.

    Raises UserError when its folder does not exist or when it is a folder itself, so
    that a command can say so before it starts hours of work.
    """
    if path.is_dir():
        raise UserError(f"{what} {path} is a folder; name a file inside it")
    if not path.parent.is_dir():
        raise UserError(
            f"{what} {path}: the folder {path.parent} does not exist; create it with `mkdir -p {path.parent}`"
        )
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{what} {path}: nothing can be written in {path.parent}; choose another folder")
    return path


def check_output_folder(path: Path, what: str = "output folder") -> Path:
    """Return `path` when it is a folder or can become one, else raise UserError."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{what} {path} is a file; name a folder")
    if not path.parent.is_dir():
        raise UserError(
            f"{what} {path}: the folder {path.parent} does not exist; create it with `mkdir -p {path.parent}`"
        )
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{what} {path}: nothing can be written in {path.parent}; choose another folder")
    return path


def check_input_file(path: Path, what: str = "input") -> Path:
    """Return `path` when it is an existing file, else raise UserError."""
    if path.is_dir():
        raise UserError(f"{what} {path} is a folder; name a file")
    if not path.is_file():
        raise UserError(f"{what} {path} does not exist; check the path")
    return path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, else it is removed.

    The bytes are flushed to disk before the rename, so `path` holds either its old
    content or all of the new one, whenever the power goes.
    """
    with _named(path):
        import tempfile  # Here, and other modules below, because they take long to load and not every command writes.

        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix or ".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.filename in (None, name):  # a failed write names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it becomes `path`, else it is removed.

    Raises UserError when `path` exists already: a folder is never merged into another.
    """
    if path.exists():
        raise UserError(f"{path} exists already; remove it or name another folder")
    import shutil
    import tempfile

    with _named(path):
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        sync_tree(temporary)
        temporary.chmod(0o755)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let the system's errors name the file that is to be, not the temporary one."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries to disk, where the system allows it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(a: Path, b: Path) -> bool:
    """Let two files or folders of one file system change places in one step; False where the system cannot do that."""
    if sys.platform != "linux":
        return False
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # another C library, or an old one
        return False
    here, both = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fcntl.h and linux/fs.h
    return call(here, os.fsencode(a), here, os.fsencode(b), both) == 0


def sync_tree(folder: Path) -> None:
    """Flush all files below a folder, and the folders themselves, to disk: what a rename of it then publishes."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically; lone surrogates, such as of file names, become escapes."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as readable JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(tensors: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of named arrays: names, dtypes, shapes and bytes, in the order of the names."""
    import numpy as np

    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
