"""The manifest of a checkpoint: what it is of, and size and SHA-256 of each of its files.

Written in one canonical form with a digest of its own content, so that any change of
it is found: a manifest that parses but is not, byte for byte, what would be written for
what it says is damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.edge.disk.files import sha256_file

MOST_BYTES = 16 * 2**20
"""A manifest larger than this was not written here."""


@dataclass(frozen=True)
class FileFacts:
    """Size in bytes, and SHA-256 as 64 hexadecimal digits."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds."""

    step: int
    """Steps taken."""
    epoch: float
    """Epochs done, a whole number where the checkpoint ends one."""
    val_loss: float | None
    """Validation loss at that step, where there is one."""
    files: Mapping[str, FileFacts]
    """By path relative to the checkpoint's folder, with forward slashes."""
    stage: int = 0
    """The stage of the run, from 0; a manifest of the first one does not mention it."""


def of_folder(folder: Path, step: int, epoch: float, val_loss: float | None, stage: int = 0) -> Manifest:
    """The manifest of the files that lie in `folder` now."""
    files = {name: FileFacts(path.stat().st_size, sha256_file(path)) for name, path in files_of(folder).items()}
    return Manifest(step, epoch, val_loss, files, stage)


def to_bytes(manifest: Manifest) -> bytes:
    """The manifest's one form on disk."""
    content = {
        **({"stage": manifest.stage} if manifest.stage else {}),
        "step": manifest.step,
        "epoch": manifest.epoch,
        "val_loss": manifest.val_loss,
        "files": {name: {"size": f.size, "sha256": f.sha256} for name, f in sorted(manifest.files.items())},
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
    return (json.dumps({**content, "digest": digest}, indent=2, allow_nan=False) + "\n").encode()


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file. Raises ValueError when it is damaged, OSError when it cannot be read."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError("the manifest is too large")
    data = path.read_bytes()
    try:
        tree = json.loads(data)
        files = {name: FileFacts(facts["size"], facts["sha256"]) for name, facts in tree["files"].items()}
        manifest = Manifest(tree["step"], tree["epoch"], tree["val_loss"], files, tree.get("stage", 0))
        whole = to_bytes(manifest) == data
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("the manifest is damaged") from error
    if not whole:
        raise ValueError("the manifest is damaged")
    return manifest


def find_fault_in(manifest: Manifest, folder: Path) -> str | None:
    """What is wrong with the files in `folder`, or None when they are those of the manifest."""
    present = files_of(folder)
    if odd := sorted(present.keys() ^ manifest.files.keys()):
        return f"{odd[0]} is {'missing' if odd[0] in manifest.files else 'not part of it'}"
    for name, facts in manifest.files.items():
        if facts.size != present[name].stat().st_size or sha256_file(present[name]) != facts.sha256:
            return f"{name} is damaged"
    return None


def files_of(folder: Path) -> dict[str, Path]:
    """Everything in a folder but the folders themselves, by relative path; links are not followed."""
    found = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in found}
