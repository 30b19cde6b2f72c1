"""Prepare pairs as a data set of TensorFlow Datasets: `python -m jax_impl.prepare DIR`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tqdm import tqdm

from export.edge.disk.files import check_output_folder
from export.edge.errors import UserError, run
from export.edge.pictures.arrays import LARGEST_SIZE
from jax_impl.config.command import parse
from jax_impl.config.data import DataConfig, Fit, Layout
from jax_impl.data.loader import SMALLEST_SIDE, SYNTHETIC, Split
from jax_impl.data.pairs import find_pairs
from jax_impl.data.tfds_source import library

if TYPE_CHECKING:
    from jax_impl.data.tfds_builder import Examples

SCENE_SIZE = 128
"""Side of built-in scenes where none is asked for, pixels."""


@dataclass(frozen=True)
class PrepareArgs:
    """Write pairs once as array_record files, to train on with `--data.tfds`."""

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DIR")]
    """A folder of pairs, a CSV or JSONL manifest, or `synthetic` for the built-in scenes."""
    output_dir: Path = Path("~/tensorflow_datasets")
    """Folder of prepared data sets; made if need be."""
    size: int = 0
    """Make squares of this side, pixels, which are quick to read; 0 keeps the files as they are."""
    fit: Fit = "crop"
    """How pictures become square."""
    layout: Layout = "auto"
    """How pairs lie on disk; `auto` finds out."""
    val_share: float = 0.1
    """Share of pairs held out where the data has no validation split of its own."""
    synthetic_pairs: int = 256
    """Number of built-in training scenes."""
    synthetic_val_pairs: int = 16
    """Number of built-in validation scenes."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, and write the data set unless the same content is there already."""
    args = parse(PrepareArgs, argv, "python -m jax_impl.prepare")
    if args.size != 0 and not SMALLEST_SIDE <= args.size <= LARGEST_SIZE:
        raise UserError(f"--size is {args.size}: choose {SMALLEST_SIDE} to {LARGEST_SIZE} pixels, or 0")
    output = args.output_dir.expanduser()
    check_output_folder(output, "--output-dir")
    library()
    from jax_impl.data.tfds_builder import builder_of, prepare

    logging.getLogger("absl").setLevel(logging.ERROR)
    examples = find_examples(args)
    print(f"{args.path}: " + ", ".join(f"{len(names)} {split}" for split, names in examples.names.items()), flush=True)
    with _bar("writing", sum(map(len, examples.names.values()))) as shown:
        builder = builder_of(examples, output, shown.update)
        there = builder.data_path.exists()
        if not there:
            prepare(builder)
    print(f"{'there already' if there else 'written'}: {builder.data_path}")
    for left in sorted(builder.data_path.parent.glob("incomplete.*")):
        print(f"note: {left} is what an interrupted preparation left, unless one is at work; remove it")
    print(f"train on it with --data.tfds {builder.name}/{examples.name} --data.tfds-dir {output}")


def find_examples(args: PrepareArgs) -> Examples:
    """What is to be written, known by a digest of its content; of a folder, all files are read for it."""
    from jax_impl.data import tfds_builder

    config = DataConfig(
        path=args.path,
        layout=args.layout,
        fit=args.fit,
        val_share=args.val_share,
        synthetic_pairs=args.synthetic_pairs,
        synthetic_val_pairs=args.synthetic_val_pairs,
    )
    if args.path == SYNTHETIC:
        counts: dict[Split, int] = {"train": config.synthetic_pairs, "val": config.synthetic_val_pairs}
        return tfds_builder.scenes(counts, args.size or SCENE_SIZE)
    source = find_pairs(config)
    for note in source.notes:
        print(note, flush=True)
    with _bar("digest", sum(map(len, source.splits.values()))) as shown:
        return tfds_builder.folder(source, Path(args.path), args.size, config.fit, shown.update)


def _bar(verb: str, count: int) -> tqdm:
    return tqdm(desc=verb, total=count, unit="pair", leave=False, disable=None)


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
