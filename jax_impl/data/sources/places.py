"""What the layouts of files have in common: the folder, its split folders, the pictures in each."""

from __future__ import annotations

from pathlib import Path

from export.edge.disk.home import expand
from export.edge.errors import UserError
from export.edge.pictures.kinds import describe_unread, pictures_in, unread_in
from jax_impl.config.data import DataConfig
from jax_impl.data.splits import SPLIT_NAMES


def root_of(config: DataConfig, layout: str = "", file: bool = False) -> Path:
    """The place that data.path names. Raises UserError where there is none, or a file where `layout` needs a folder."""
    root = expand(config.path, "data.path")
    if not root.exists():
        raise UserError(f"data.path {root} does not exist; name a folder of pairs, a manifest, or `synthetic`")
    if root.is_file() and not file:
        raise UserError(f"data.path {root} is a file, but layout {layout} reads a folder; name its folder")
    return root


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, by name."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def places(root: Path) -> list[tuple[str | None, Path]]:
    """The split folders in `root`, each with its split, and then `root` itself."""
    found: list[tuple[str | None, Path]] = []
    for folder in subfolders(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split is not None:
            if twin := next((other for known, other in found if known == split), None):
                raise UserError(f"{root} has both {twin.name}/ and {folder.name}/ for the {split} split; merge them")
            found.append((split, folder))
    return [*found, (None, root)]


def unread_hint(*folders: Path) -> str:
    """The end of a message on folders without pictures: those that are there and cannot be read; or nothing."""
    line = describe_unread([path for folder in folders for path in unread_in(folder)])
    return f" ({line})" if line else ""


def by_stem(folder: Path) -> dict[str, Path]:
    """The pictures in a folder by stem. Raises UserError where two have the same."""
    found: dict[str, Path] = {}
    for picture in pictures_in(folder):
        if (other := found.setdefault(picture.stem, picture)) != picture:
            raise UserError(f"{folder} holds both {other.name} and {picture.name}, so pairs are unclear; remove one")
    return found
