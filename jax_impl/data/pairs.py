"""Pairs of pictures on disk: two folders, side-by-side pictures, or a manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from export.edge.errors import UserError
from export.edge.pictures.files import SUFFIXES, open_picture
from jax_impl.config.data import DataConfig
from jax_impl.data.manifest import NAMES, find_manifest, read_manifest
from jax_impl.data.splits import SPLIT_NAMES, hold_out, scene_of

Half = Literal["left", "right"]
LAYOUTS = ("folders", "side-by-side", "manifest")
SIDES = (("a", "b"), ("source", "target"), ("sunrise", "sunset"), ("input", "output"))
"""Names of the two folders, in any letter case."""
_LOOK_AT = 8
_SEAM = 2.0
"""How much sharper than its surroundings the border between two halves is."""


@dataclass(frozen=True)
class Locator:
    """Where one picture is: a file, or one half of it."""

    path: Path
    half: Half | None = None


@dataclass(frozen=True)
class Pair:
    """Two pictures of one scene; `name` is unique within its split."""

    name: str
    cond: Locator
    x0: Locator
    split: str
    scene: str
    """What the names of this scene's frames have in common; empty where names do not tell."""


@dataclass(frozen=True)
class PairSource:
    """Everything found at one place."""

    layout: str
    splits: dict[str, tuple[Pair, ...]]
    """The pairs of `train`, `val` and `test`; a split without pairs is empty."""
    unmatched: tuple[Path, ...]
    """Pictures that have no partner."""
    notes: tuple[str, ...]
    """One line each about choices that were made, such as the pairs held out."""


_Found = tuple[list[Pair], list[Path], list[str]]


def find_pairs(config: DataConfig) -> PairSource:
    """All pairs at `config.path`, split into train, val and test.

    The data's own split counts; without a val split, `config.val_share` of the training
    pairs is held out by hash of name, whole scenes at a time (see `splits.hold_out`).

    Raises UserError where the place is missing, holds no pairs, or does not fit the layout.
    """
    root = Path(config.path).expanduser()
    if not root.exists():
        raise UserError(f"data.path {root} does not exist; name a folder of pairs, a manifest, or `synthetic`")
    layout = _detect(root) if config.layout == "auto" else config.layout
    readers: dict[str, Callable[[Path], _Found]] = {
        "folders": _folders,
        "side-by-side": _side_by_side,
        "manifest": _manifest,
    }
    if layout not in readers:
        raise UserError(f"data.layout is {layout!r}; choose auto, {', '.join(LAYOUTS)}")
    if root.is_file() and layout != "manifest":
        raise UserError(f"data.path {root} is a file, but layout {layout} reads a folder; name its folder")
    pairs, unmatched, notes = readers[layout](root)
    splits = {split: [p for p in pairs if p.split == split] for split in ("train", "val", "test")}
    train = splits["train"]
    if train and not splits["val"] and config.val_share > 0.0:
        files = [(pair.cond.path, pair.x0.path) for pair in train]
        choice = hold_out([p.name for p in train], [p.scene for p in train], files, config.val_share)
        splits["train"] = [pair for i, pair in enumerate(train) if i not in choice.held]
        splits["val"] = [replace(pair, split="val") for i, pair in enumerate(train) if i in choice.held]
        notes = [*notes, choice.note]
    if config.direction == "reverse":
        splits = {split: [replace(p, cond=p.x0, x0=p.cond) for p in members] for split, members in splits.items()}
    return PairSource(layout, {s: tuple(members) for s, members in splits.items()}, tuple(unmatched), tuple(notes))


def read_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The two pictures of a pair, each uint8 (height, width, 3), at their own sizes.

    Raises UserError naming a file that cannot be read.
    """
    picture = open_picture(pair.cond.path)
    other = picture if pair.x0.path == pair.cond.path else open_picture(pair.x0.path)
    return _part(picture, pair.cond), _part(other, pair.x0)


def _part(picture: np.ndarray, locator: Locator) -> np.ndarray:
    """The half of a picture that `locator` names; the middle column of an odd width belongs to neither."""
    if locator.half is None:
        return picture
    half = picture.shape[1] // 2
    if half < 1:
        raise UserError(f"{locator.path} is 1 pixel wide and has no two halves; remove it or choose another layout")
    return picture[:, :half] if locator.half == "left" else picture[:, -half:]


def _pictures(folder: Path) -> list[Path]:
    files = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    return sorted(p for p in files if p.is_file())


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _places(root: Path) -> list[tuple[str | None, Path]]:
    """The split folders below `root`, each with its split, and then `root` itself."""
    places: list[tuple[str | None, Path]] = []
    for folder in _subfolders(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split is not None:
            if twin := next((other for known, other in places if known == split), None):
                raise UserError(f"{root} has both {twin.name}/ and {folder.name}/ for the {split} split; merge them")
            places.append((split, folder))
    return [*places, (None, root)]


def _sides(place: Path) -> tuple[Path, Path] | None:
    """The two folders of pairs in `place`, or None; raises UserError where only one is there."""
    folders = _subfolders(place)
    complete: list[tuple[Path, Path]] = []
    lonely: list[tuple[Path, str]] = []
    for names in SIDES:
        found = [[folder for folder in folders if folder.name.lower() == name] for name in names]
        if twice := next((each for each in found if len(each) > 1), None):
            raise UserError(f"{place} has both {twice[0].name}/ and {twice[1].name}/; keep one of them")
        if all(found):
            complete.append((found[0][0], found[1][0]))
        elif any(found):
            lonely.append((found[0][0], names[1]) if found[0] else (found[1][0], names[0]))
    if len(complete) > 1:
        several = ", ".join(f"{a.name}/{b.name}" for a, b in complete)
        raise UserError(f"{place} has several pairs of folders ({several}); keep one, or write a manifest")
    if not complete and lonely:
        folder, partner = lonely[0]
        partner = partner.upper() if folder.name.isupper() else partner
        raise UserError(f"{place} has {folder.name}/ but no {partner}/; put the other picture of each pair there")
    return complete[0] if complete else None


def _detect(root: Path) -> str:
    """The layout of the pairs at `root`, from what lies there."""
    if find_manifest(root, any_name=False) is not None:
        return "manifest"
    if root.is_file():
        raise UserError(f"data.path {root} is a file but no manifest; name a folder, or a .csv or .jsonl file")
    places = _places(root)
    if any(_sides(place) for _, place in places):
        return "folders"
    pictures = [picture for _, place in places for picture in _pictures(place)]
    if not pictures:
        raise UserError(
            f"data.path {root} holds no pairs; put pictures of the same stem into A/ and B/ (or sunrise/ and sunset/), "
            f"put side-by-side pictures there, or write {NAMES[0]} with the columns source,target"
        )
    looked = pictures[:: -(-len(pictures) // _LOOK_AT)]
    if 2 * sum(_has_two_halves(picture) for picture in looked) >= len(looked):
        return "side-by-side"
    raise UserError(
        f"data.path {root} holds pictures that do not look like two halves side by side, such as {pictures[0].name}; "
        "sort them into A/ and B/, write a manifest, or insist with layout side-by-side"
    )


def _has_two_halves(path: Path) -> bool:
    """Whether a picture is two squares wide, or is wide and has a seam down its middle."""
    try:
        picture = open_picture(path).astype(np.float32)
    except UserError:
        return False
    height, width = picture.shape[:2]
    if width == 2 * height:
        return True
    if width <= height:
        return False
    steps = np.abs(np.diff(picture, axis=1)).mean(axis=(0, 2))
    middle, reach = (width - 1) // 2, max(4, width // 8)
    first = middle - width % 2  # an odd width has a spare column between the halves
    near = np.concatenate([steps[max(0, first - reach) : first], steps[middle + 1 : middle + 1 + reach]])
    seam, usual = steps[first : middle + 1].max(), np.quantile(near, 0.9) if near.size else 0.0
    return bool(seam > _SEAM * max(float(usual), 1.0))


def _folders(root: Path) -> _Found:
    """Two folders matched by stem."""
    sides = [(split, place, _sides(place)) for split, place in _places(root)]
    used = [(split, place, both) for split, place, both in sides if both is not None]
    notes = []
    if len(used) > 1 and used[-1][0] is None:
        notes.append(f"{root} has split folders; the pairs beside them are left out")
        used.pop()
    if not used:
        names = " or ".join(f"{a}/ and {b}/" for a, b in SIDES)
        raise UserError(f"data.path {root} has no pair of folders; put the pictures into {names}")
    pairs: list[Pair] = []
    unmatched: list[Path] = []
    for split, _, both in used:
        left, right = (_by_stem(folder) for folder in both)
        pairs += [
            Pair(stem, Locator(left[stem]), Locator(right[stem]), split or "train", scene_of(stem))
            for stem in sorted(left.keys() & right.keys())
        ]
        unmatched += [left[s] for s in sorted(left.keys() - right.keys())]
        unmatched += [right[s] for s in sorted(right.keys() - left.keys())]
    if not pairs:
        a, b = used[0][2]
        if unmatched:
            raise UserError(
                f"none of the {len(unmatched)} pictures in {root} has a partner, such as {unmatched[0]}; give both "
                f"pictures of a pair the same name in {a.name}/ and {b.name}/"
            )
        raise UserError(f"{a} and {b} hold no pictures; put the pairs there, both of a pair with the same name")
    return pairs, unmatched, notes


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for picture in _pictures(folder):
        if (other := found.setdefault(picture.stem, picture)) != picture:
            raise UserError(f"{folder} holds both {other.name} and {picture.name}, so pairs are unclear; remove one")
    return found


def _side_by_side(root: Path) -> _Found:
    """Pictures whose left half is the source and whose right half is the target."""
    used = [(split, place, _pictures(place)) for split, place in _places(root)]
    used = [(split, place, pictures) for split, place, pictures in used if pictures]
    notes = []
    if len(used) > 1 and used[-1][0] is None:
        notes.append(f"{root} has split folders; the {len(used[-1][2])} pictures beside them are left out")
        used.pop()
    if not used:
        raise UserError(f"data.path {root} holds no pictures; put side-by-side pictures there or into train/ and val/")
    pairs: list[Pair] = []
    for split, place, _ in used:
        for stem, path in _by_stem(place).items():
            pairs.append(Pair(stem, Locator(path, "left"), Locator(path, "right"), split or "train", scene_of(stem)))
    return pairs, [], notes


def _manifest(root: Path) -> _Found:
    """Pairs listed in a CSV or JSONL file."""
    path = find_manifest(root, any_name=True)
    if path is None:
        raise UserError(f"data.path {root} holds no manifest; write {NAMES[0]} with the columns source,target")
    rows = read_manifest(path)
    folder = path.parent.resolve()
    places = [(row.source.relative_to(folder), row.target.relative_to(folder)) for row in rows]
    names = _unique_names(places)
    pairs = [
        Pair(name, Locator(row.source), Locator(row.target), row.split or "train", _scene_of_path(place[0]))
        for name, row, place in zip(names, rows, places, strict=True)
    ]
    return pairs, [], []


def _unique_names(places: Sequence[tuple[Path, Path]]) -> list[str]:
    """The shortest kind of name that tells all rows of a manifest apart."""
    kinds: tuple[Callable[[Path, Path], str], ...] = (
        lambda source, target: source.stem,
        lambda source, target: f"{source.stem}--{target.stem}",
        lambda source, target: f"{source.as_posix()}--{target.as_posix()}".replace("/", "_"),
    )
    candidates = [[kind(*place) for place in places] for kind in kinds]
    return next((names for names in candidates if len(set(names)) == len(names)), candidates[-1])


def _scene_of_path(source: Path) -> str:
    """The scene of a manifest's picture: its folder counts too, for lists such as `harbour/01.jpg`."""
    scene, folder = scene_of(source.stem), source.parent.as_posix()
    return scene if folder == "." else f"{folder}/{scene}"
