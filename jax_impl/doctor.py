"""Look over a folder of pairs before training on it: `python -m jax_impl.doctor DIR`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from export.edge.disk.files import check_output_file, write_json
from export.edge.disk.home import expand
from export.edge.errors import UserError, run
from export.edge.pictures.arrays import fit_square, resize
from export.edge.pictures.files import save_picture
from export.edge.pictures.kinds import check_output_picture
from export.edge.pictures.sheets import BACKGROUND, grid
from jax_impl.config.command import parse
from jax_impl.config.data import DataConfig, DirectionConfig, PlaceConfig, SquareConfig, part_of
from jax_impl.config.fields import POSITIONAL
from jax_impl.data.aligned import as_json, check_copy, left_alone, overlays, summary, write_aligned
from jax_impl.data.checkup import Inspected, inspect
from jax_impl.data.findings import Finding, boxes, check_pairs, smallest_side
from jax_impl.data.loader import MIN_PICTURE_SIDE
from jax_impl.data.pairs import Pair, where
from jax_impl.data.sources.registry import open_source
from jax_impl.data.sources.source import Source

_SHEET_PAIRS, _SHEET_ROW, _SHEET_SIDE, _SHEET_LABEL = 12, 3, 144, 22
_NAMED = 5
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class DoctorArgs(SquareConfig, DirectionConfig, PlaceConfig):
    """Report on a folder of pairs: what is found, what cannot be read, what would spoil training."""

    path: str = field(metadata={POSITIONAL: "DIR"})
    """Folder of pairs, or CSV or JSONL manifest."""
    output: Path = Path("doctor.png")
    """Picture file for the contact sheet of pairs: .png, .jpg or .webp."""
    json: Path | None = None
    """File for the report as JSON."""
    align: Path | None = None
    """New folder for an aligned copy of the pairs, in which the second picture of each lies on the first."""


def main(argv: Sequence[str] | None = None) -> None:
    """Examine the pairs, print the report, write the contact sheet, the JSON and, if asked to, the aligned copy.

    Returns normally, warnings or not; raises UserError where nothing can be trained on.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    args = parse(DoctorArgs, words, "python -m jax_impl.doctor")
    check_output_picture(args.output)
    if args.json is not None:
        check_output_file(args.json, "json")
    if args.align is not None:
        check_copy(args.align, expand(args.path, "data.path"))
    config = part_of(DataConfig, args)
    source = open_source(config)
    if source.rendered:
        raise UserError(f"data.path {args.path} is rendered, not read, and needs no check; name a folder of pairs")
    seen = examine(source, config.fit)
    findings = check_pairs(source, seen, config)
    print("\n".join(_summary(args.path, args.direction, source, seen)))
    print("\n".join(_lines(findings)))
    good = [each for each in seen if each.looks and smallest_side(each) >= MIN_PICTURE_SIDE]
    result = _as_json(args, source, seen, findings, good)
    trainable = any(each.pair.split == "train" for each in good)
    if args.align is not None and trainable:
        result["alignment"] = _align(args.align, args, source, [each for each in seen if each.looks])
    if args.json is not None:
        write_json(args.json, result)
    if not trainable:
        raise UserError(f"nothing in {args.path} can be trained on; mend or replace the pictures named above")
    save_picture(args.output, sheet_of_pairs(source, [each.pair for each in good], config))
    warnings = sum(finding.level == "warn" for finding in findings)
    print(f"\n{warnings or 'no'} warning{'s' if warnings != 1 else ''}; contact sheet: {args.output}")


def _align(folder: Path, args: DoctorArgs, source: Source, seen: Sequence[Inspected]) -> dict[str, object]:
    """Write the aligned copy, say what was done, draw the pairs that moved most; returns the JSON."""
    done = write_aligned(folder, source, seen, args.direction, lambda work: _on_two_threads(work, seen, "aligning"))
    print("\n".join([f"\n{folder}: {summary(done)}", *_items(left_alone(done))]))
    sheet = overlays(source, done)
    if sheet is not None:
        path = args.output.with_stem(f"{args.output.stem}-aligned")
        save_picture(path, sheet)
        print(f"  edges before and after: {path}")
    print(f"  train on it with --data.path {folder}" + (" --data.direction reverse" * (args.direction == "reverse")))
    return as_json(folder, done)


def examine(source: Source, fit: str) -> list[Inspected]:
    """Open every pair of every split, on two threads."""
    return _on_two_threads(lambda pair: inspect(source, pair, fit), source.pairs, "reading")


def _on_two_threads(work: Callable[[Item], Result], items: Sequence[Item], verb: str) -> list[Result]:
    with ThreadPoolExecutor(2) as pool:
        quiet = not sys.stderr.isatty()
        return list(tqdm(pool.map(work, items), verb, len(items), disable=quiet, unit="pair", leave=False))


def _sizes(seen: Sequence[Inspected]) -> list[tuple[tuple[int, int], int]]:
    """((width, height), number of different pictures), the most frequent first."""
    sizes: dict[object, tuple[int, int]] = {}
    for each in seen:
        # A manifest may name one file several times.
        names = [locator or (each.pair, side) for side, locator in enumerate(each.pair.locators)]
        sizes.update(zip(names, boxes(each), strict=False))
    return Counter(sizes.values()).most_common()


def _summary(path: str, direction: str, source: Source, seen: Sequence[Inspected]) -> list[str]:
    first = source.pairs[0]
    counts = ", ".join(f"{len(members)} {split}" for split, members in source.splits.items())
    sizes = _sizes(seen)
    shown = ", ".join(f"{w} × {h} ({count})" for (w, h), count in sizes[:_NAMED])
    more = f" and {len(sizes) - _NAMED} more" if len(sizes) > _NAMED else ""
    return [
        path,
        f"  layout     {source.layout}, {direction}",
        f"  such as    {where(first, 0, Path(path))}  ->  {where(first, 1, Path(path))}",
        f"  pairs      {counts}",
        f"  pictures   {sum(count for _, count in sizes)}: {shown or 'none that can be read'}{more}",
        *(f"  note       {note}" for note in source.notes),
        "",
    ]


def _lines(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"  {finding.level:<5}{finding.message}")
        lines += _items(finding.items)
    return lines


def _items(items: Sequence[str]) -> list[str]:
    more = [f"and {len(items) - _NAMED} more (all of them with --json report.json)"] if len(items) > _NAMED else []
    return [f"         {item}" for item in (*items[:_NAMED], *more)]


def _as_json(
    args: DoctorArgs, source: Source, seen: Sequence[Inspected], findings: Sequence[Finding], good: Sequence[Inspected]
) -> dict[str, object]:
    return {
        "path": args.path,
        "layout": source.layout,
        "direction": args.direction,
        "pairs": {split: len(members) for split, members in source.splits.items()},
        "usable_pairs": {split: sum(each.pair.split == split for each in good) for split in source.splits},
        "sizes": [{"width": width, "height": height, "pictures": count} for (width, height), count in _sizes(seen)],
        "notes": list(source.notes),
        "findings": [asdict(finding) for finding in findings],
    }


def sheet_of_pairs(source: Source, pairs: Sequence[Pair], config: DataConfig) -> np.ndarray:
    """Up to twelve pairs, spread over the list, as training sees them; uint8 (height, width, 3)."""
    chosen = sorted({round(i) for i in np.linspace(0, len(pairs) - 1, min(_SHEET_PAIRS, len(pairs)))})
    cells = []
    for pair in (pairs[i] for i in chosen):
        pictures = [fit_square(picture, config.size, config.fit) for picture in source.read(pair)]
        titles = [_short(pair, side, Path(source.place)) for side in (0, 1)]
        cells.append(grid([[resize(picture, _SHEET_SIDE, _SHEET_SIDE) for picture in pictures]], titles))
    height, width = (max(cell.shape[axis] for cell in cells) for axis in (0, 1))
    cells = [_on_background(cell, height, width) for cell in cells]
    return grid([cells[i : i + _SHEET_ROW] for i in range(0, len(cells), _SHEET_ROW)])


def _short(pair: Pair, side: int, root: Path) -> str:
    """The longest name of a picture that fits over it."""
    locator = pair.locators[side]
    half = f" ({locator.half})" if locator is not None and locator.half else ""
    name = where(pair, side, root).removesuffix(f" ({locator.half} half)" if locator is not None else "")
    names = [name] if locator is None else [name, locator.path.name, locator.path.stem]
    room = _SHEET_LABEL - len(half)
    return next((name for name in names if len(name) <= room), f"..{names[-1][2 - room :]}") + half


def _on_background(cell: np.ndarray, height: int, width: int) -> np.ndarray:
    """`cell` at the bottom of a larger sheet: titles with and without descenders differ in height."""
    sheet = np.full((height, width, 3), BACKGROUND, np.uint8)
    left = (width - cell.shape[1]) // 2
    sheet[height - cell.shape[0] :, left : left + cell.shape[1]] = cell
    return sheet


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
