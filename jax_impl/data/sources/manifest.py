"""A CSV or JSON list of pairs: `source,target[,split]`, paths relative to the list's own folder."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from export.edge.disk.names import Spelling, as_text
from export.edge.errors import UserError
from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import Locator, Pair
from jax_impl.data.sources.places import root_of
from jax_impl.data.sources.records import read_records
from jax_impl.data.sources.source import Source, make_source
from jax_impl.data.splits import scene_of, split_name

MANIFEST_SUFFIXES = (".csv", ".jsonl")
OTHER_SUFFIXES = (".tsv", ".json")
"""Those of a manifest that data.path names itself; in a folder such files may be anything."""
MANIFEST_NAMES = ("pairs.csv", "pairs.jsonl", "manifest.csv", "manifest.jsonl", "pairs.tsv", "pairs.json")
"""A manifest of one of these names is found by itself."""

MOST_ROWS = 1_000_000
_WINDOWS_ROOT = re.compile(r"[A-Za-z]:|\\\\")
_COLUMNS = ("source", "target")


class ManifestLayout:
    """Recognised by a file of one of MANIFEST_NAMES, or by data.path being one."""

    def recognises(self, config: DataConfig) -> bool:
        """Whether there is a manifest; raises UserError where there are several."""
        return find_manifest(root_of(config, file=True), any_name=False) is not None

    def open(self, config: DataConfig) -> Source:
        """The pairs in the order of the list."""
        root = root_of(config, file=True)
        path = find_manifest(root, any_name=True)
        if path is None:
            raise UserError(
                f"data.path {root} holds no manifest; write {MANIFEST_NAMES[0]} with the columns source,target"
            )
        rows = read_rows(path)
        folder = path.parent.resolve()
        places = [(row.source.relative_to(folder), row.target.relative_to(folder)) for row in rows]
        pairs = [
            Pair(name, row.split or "train", _scene(place[0]), Locator(row.source), Locator(row.target))
            for name, row, place in zip(map(as_text, _unique_names(places)), rows, places, strict=True)
        ]
        return make_source("manifest", pairs, config)


def _unique_names(places: Sequence[tuple[Path, Path]]) -> list[str]:
    """The shortest kind of name that tells all rows of a manifest apart."""
    kinds: tuple[Callable[[Path, Path], str], ...] = (
        lambda source, target: source.stem,
        lambda source, target: f"{source.stem}--{target.stem}",
        lambda source, target: f"{source.as_posix()}--{target.as_posix()}".replace("/", "_"),
    )
    candidates = [[kind(*place) for place in places] for kind in kinds]
    return next((names for names in candidates if len(set(names)) == len(names)), candidates[-1])


def _scene(source: Path) -> str:
    """The scene of a picture: its folder counts too, for lists such as `harbour/01.jpg`."""
    scene, folder = scene_of(as_text(source.stem)), as_text(source.parent.as_posix())
    return scene if folder == "." else f"{folder}/{scene}"


@dataclass(frozen=True)
class Row:
    """One line of a manifest; the files exist and lie inside the manifest's folder."""

    line: int
    source: Path
    target: Path
    split: str | None


def find_manifest(root: Path, any_name: bool) -> Path | None:
    """The manifest at `root`: the file itself, or the only one in the folder; None where there is none.

    With `any_name` any .csv or .jsonl file in the folder counts, else only those in MANIFEST_NAMES.
    Raises UserError where there are several.
    """
    if root.is_file():
        return root if root.suffix.lower() in (*MANIFEST_SUFFIXES, *OTHER_SUFFIXES) else None
    found = [root / name for name in MANIFEST_NAMES if (root / name).is_file()]
    if not found and any_name:
        found = sorted(p for p in root.iterdir() if p.suffix.lower() in MANIFEST_SUFFIXES and p.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"data.path {root} holds several manifests ({names}); name one of them as data.path")
    return found[0] if found else None


def read_rows(path: Path) -> tuple[Row, ...]:
    """All rows of a manifest, checked; `read_records` says what it may be written in.

    Its paths count from its own folder and must stay inside it, links followed; an absolute
    one may be written where it leads there. Backslashes are read as Windows writes them where no file has such a name;
    of an absolute path of Windows the longest end that is there counts, if it names a folder too.

    Raises UserError, with the line, for a missing column or file, a path that leaves the
    manifest's folder, an unknown split or a pair that is listed twice.
    """
    records = read_records(path)
    folder = path.parent.resolve()
    rows: list[Row] = []
    spelling = Spelling()
    seen: dict[tuple[Path, Path], int] = {}
    missing: list[str] = []
    for line, record in records:
        where = f"{path} line {line}"
        if len(rows) == MOST_ROWS:
            raise UserError(f"{where}: a manifest may list {MOST_ROWS:,} pairs, no more; split it")
        source, target = (_inside(folder, record[column], f"{where}: {column}", spelling) for column in _COLUMNS)
        split = record.get("split") or ""
        if not isinstance(split, str):
            raise UserError(f"{where}: split is {reprlib.repr(split)}; write train, val or test")
        row = Row(line, source, target, split_name(split, where) if split.strip() else None)
        missing += [f"line {line}: {file}" for file in (source, target) if not _is_file(file)]
        if (earlier := seen.setdefault((source, target), line)) != line:
            raise UserError(f"{where} repeats the pair of line {earlier}; remove one of them")
        rows.append(row)
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(f"manifest {path} names a file that does not exist, {missing[0]}{more}; correct or remove it")
    if not rows:
        raise UserError(f"manifest {path} lists no pairs; write one line per pair below the column names")
    return tuple(rows)


def _inside(folder: Path, value: object, where: str, spelling: Spelling) -> Path:
    """`value` as a path inside `folder`, as the disk spells it, links resolved."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where} is {reprlib.repr(value)}; write the path of a picture")
    try:
        written = value.strip()
        file = (folder / written).resolve()
        if "\\" in written and not _is_file(file):
            file = _from_windows(folder, written, spelling)
        elif file.is_relative_to(folder) and not _is_file(file):
            file = spelling.find(folder, file.relative_to(folder)).resolve()
    except (ValueError, OSError, RuntimeError):
        raise UserError(f"{where} {value!r} is not a path; write the path of a picture") from None
    if not file.is_relative_to(folder):
        raise UserError(f"{where} {value!r} lies outside {folder}; move the picture into that folder")
    return file


def _from_windows(folder: Path, written: str, spelling: Spelling) -> Path:
    """The file that a path with backslashes names; where there is none, what it would be."""
    path = PurePosixPath(written.replace("\\", "/"))
    absolute = _WINDOWS_ROOT.match(written) is not None
    parts = path.parts[1:] if absolute else path.parts
    for start in range(max(len(parts) - 1, 1) if absolute else 1):
        file = spelling.find(folder, Path(*parts[start:])).resolve()
        if _is_file(file):
            return file
    return (folder / path).resolve()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # Such as a name that is too long for any file.
        return False
