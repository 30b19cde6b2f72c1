"""Two folders of pictures, matched by stem."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from export.edge.disk.names import as_text, partners
from export.edge.errors import UserError
from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import Locator, Pair
from jax_impl.data.sources.places import root_of, unread_hint
from jax_impl.data.sources.sides import SIDES, Sides, collect, describe_place, find_sides
from jax_impl.data.sources.source import Source, make_source
from jax_impl.data.splits import scene_of


class FolderLayout:
    """Recognised by the names of two folders."""

    def recognises(self, config: DataConfig) -> bool:
        """Whether there is a pair of folders; raises UserError where one of the two is missing."""
        root = root_of(config, file=True)
        return root.is_dir() and bool(find_sides(root, config.folders)[0])

    def open(self, config: DataConfig) -> Source:
        """The pairs in every split that `find_sides` finds."""
        root = root_of(config, "folders")
        used, notes = find_sides(root, config.folders)
        if not used and config.folders:
            a, b = config.folders
            raise UserError(f"data.folders: {root} has no {a}/ and {b}/; name two that are there{describe_place(root)}")
        if not used:
            names = " or ".join(f"{a}/ and {b}/" for a, b in SIDES)
            raise UserError(
                f"data.path {root} has no pair of folders; put the pictures into {names}{describe_place(root)}"
            )
        pairs: list[Pair] = []
        unmatched: list[Path] = []
        unread: list[Path] = []
        apart: list[tuple[Path, Path]] = []
        for sides in used:
            (left, left_unread), (right, right_unread) = collect(sides.left), collect(sides.right)
            matched = partners(left.keys(), right.keys())
            pairs += [
                Pair(_name(a), sides.split or "train", _scene(a), Locator(left[a]), Locator(right[b]))
                for a, b in sorted(matched.items())
            ]
            apart += [(left[a], right[b]) for a, b in sorted(matched.items()) if a != b]
            unmatched += [left[s] for s in sorted(left.keys() - matched.keys())]
            unmatched += [right[s] for s in sorted(right.keys() - set(matched.values()))]
            unread += [*left_unread, *right_unread]
        if not pairs:
            raise _no_pairs(root, used[0], unmatched)
        if apart:
            what = f"{len(apart)} pair{'s' if len(apart) > 1 else ''} matched, such as {apart[0][0]} and {apart[0][1]}"
            notes.append(f"{what}: their names differ in letter case, Unicode form or encoding alone")
        return replace(make_source("folders", pairs, config, unmatched=unmatched, notes=notes), unread=tuple(unread))


def _name(name: str) -> str:
    """What to call a pair: it has to be a name for a file too. Two underscores stand for each folder."""
    return as_text(name.replace("/", "__"))


def _scene(name: str) -> str:
    """The scene of a picture: its folder counts too, for names such as `harbour/01`."""
    folder, slash, stem = as_text(name).rpartition("/")
    return f"{folder}{slash}{scene_of(stem)}"


def _no_pairs(root: Path, used: Sides, unmatched: list[Path]) -> UserError:
    a, b = used.left, used.right
    if unmatched:
        return UserError(
            f"none of the {len(unmatched)} pictures in {root} has a partner, such as {unmatched[0]}; give both "
            f"pictures of a pair the same name in {a.name}/ and {b.name}/{unread_hint(a, b)}"
        )
    what = f"{a} and {b} hold no pictures; put the pairs there, both of a pair with the same name"
    return UserError(what + unread_hint(a, b))
