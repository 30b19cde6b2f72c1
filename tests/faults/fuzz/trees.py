"""Folders of pictures with odd names and layouts: made from a list of paths, and opened as training opens them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import strategies as st

from export.edge.disk.folders import plan_jobs
from export.edge.disk.names import folded
from export.edge.errors import UserError
from jax_impl.config.data import DataConfig
from jax_impl.data.sources import open_source

SIDES = ["A", "B", "a", "source", "target", "sunrise", "morning", "evening", "trainA", "trainB", "train_B", "valA"]
INSIDE = ["train", "val", "test", "church", "caf\udce9", "K\u00fcste", "Ku\u0308ste", "~x", ".hidden", "x" * 200, "\n"]
STEMS = ["0", "1", "IMG_1", "img_1", "caf\udce9_0", "caf\u00e9_0", "cafe\u0301_0", "\ud800", "{}", "a b", "__", "%E9"]
SUFFIXES = [".png", ".PNG", ".jpg", ".jfif", ".HEIC", ".avif", ".CR2", ".txt", "", ".csv"]
WHOLE = [f"{side}/{stem}.png" for side in "AB" for stem in ("0", "1", "2")]


def lists() -> st.SearchStrategy[bytes]:
    """Lists of paths, as JSON."""
    file = st.builds("".join, st.tuples(st.sampled_from(STEMS), st.sampled_from(SUFFIXES)))
    folder = st.one_of(st.sampled_from(SIDES), st.tuples(st.sampled_from(SIDES), st.sampled_from(INSIDE)).map("/".join))
    path = st.one_of(st.builds("{}/{}".format, folder, file), file)
    both = st.builds(lambda inner, name: [f"A/{inner}{name}", f"B/{inner}{name}"], st.sampled_from(["", "x/"]), file)
    return st.lists(st.one_of(path.map(lambda one: [one]), both), max_size=8).map(
        lambda found: json.dumps([one for each in found for one in each]).encode()
    )


def walk(data: bytes, contents: Mapping[str, bytes]) -> str | None:
    """Make the folder, and open it; a complaint where two pictures of different names are a pair, or one is read twice.

    Args:
        data: the list of paths, as JSON.
        contents: what to put into a file, by suffix in small letters; others are empty.
    """
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "pairs")
        root.mkdir()
        for name in _paths(data):
            path = root / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(contents.get(path.suffix.lower(), b""))
            except (OSError, ValueError):  # No file can have such a name here.
                continue
        for folder in (root / "A", root):
            if folder.is_dir():
                _plan(folder, Path(place, "out"))
        source = open_source(DataConfig(path=str(root), layout="auto"))
        used = [each.path for pair in source.pairs for each in pair.locators if each is not None and each.half is None]
        alike = all(
            folded(pair.cond.path.stem) == folded(pair.x0.path.stem)
            for pair in source.pairs
            if pair.cond is not None and pair.x0 is not None and source.layout == "folders"
        )
        texts = all(pair.name.encode() and os.sep not in pair.name for pair in source.pairs)
        twice = source.layout == "folders" and len(set(used)) < len(used)
        source.remarks()
        return None if alike and texts and not twice else "silent wrong result"


def _plan(folder: Path, output: Path) -> None:
    try:
        plan_jobs([folder], output)
    except UserError:
        return


def _paths(data: bytes) -> list[str]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = []
    names = [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
    return [one for one in names if not one.startswith("/") and ".." not in one.split("/")]
