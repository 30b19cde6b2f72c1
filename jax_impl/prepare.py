"""Prepare pairs as a data set of TensorFlow Datasets: `python -m jax_impl.prepare DIR`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from export.edge.disk.files import check_output_folder
from export.edge.disk.home import expand
from export.edge.disk.names import check_text
from export.edge.errors import UserError, run
from export.edge.pictures.arrays import LARGEST_SIZE
from jax_impl.config.command import parse
from jax_impl.config.data import DataConfig, PlaceConfig, SceneConfig, SquareConfig, part_of
from jax_impl.config.fields import POSITIONAL
from jax_impl.data.loader import MIN_PICTURE_SIDE
from jax_impl.data.sources.registry import open_source
from jax_impl.data.sources.tfds import library

if TYPE_CHECKING:
    from jax_impl.data.tfds_builder import Examples

SCENE_SIZE = 128
"""Side of built-in scenes where none is asked for, pixels."""


@dataclass(frozen=True)
class PrepareArgs(SceneConfig, SquareConfig, PlaceConfig):
    """Write pairs once as array_record files, to train on with `--data.tfds`."""

    path: str = field(metadata={POSITIONAL: "DIR"})
    """Folder of pairs, CSV or JSONL manifest, or `synthetic` for the built-in scenes."""
    output_dir: Path = Path(DataConfig.tfds_dir)
    """Folder of the prepared datasets of TensorFlow Datasets; made if it does not exist."""
    size: int = 0
    """Write squares of this side, pixels, 8 to 4096, which are quick to read; 0 keeps the files as they are."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, and write the data set unless the same content is there already."""
    args = parse(PrepareArgs, argv, "python -m jax_impl.prepare")
    if args.size != 0 and not MIN_PICTURE_SIDE <= args.size <= LARGEST_SIZE:
        raise UserError(f"--size is {args.size}: choose {MIN_PICTURE_SIDE} to {LARGEST_SIZE} pixels, or 0")
    output = check_text(expand(args.output_dir, "--output-dir"), "--output-dir")
    check_output_folder(output, "--output-dir")
    library()
    from jax_impl.data.tfds_builder import builder_of, write_dataset

    logging.getLogger("absl").setLevel(logging.ERROR)
    examples = find_examples(args)
    print(f"{args.path}: " + ", ".join(f"{len(names)} {split}" for split, names in examples.names.items()), flush=True)
    with _bar("writing", sum(map(len, examples.names.values()))) as shown:
        builder = builder_of(examples, output, shown.update)
        there = builder.data_path.exists()
        if not there:
            write_dataset(builder)
    print(f"{'there already' if there else 'written'}: {builder.data_path}")
    for left in sorted(builder.data_path.parent.glob("incomplete.*")):
        print(f"note: {left} is what an interrupted preparation left, unless one is at work; remove it")
    print(f"train on it with --data.tfds {builder.name}/{examples.name} --data.tfds-dir {output}")


def find_examples(args: PrepareArgs) -> Examples:
    """What is to be written, known by a digest of its content; of a folder, all files are read for it."""
    from jax_impl.data.tfds_builder import examples_of

    config = part_of(DataConfig, args, size=args.size or SCENE_SIZE)
    source = open_source(config)
    for remark in source.remarks():
        print(remark, flush=True)
    with _bar("digest", len(source.pairs)) as shown:
        return examples_of(source, config, args.size, shown.update)


def _bar(verb: str, count: int) -> tqdm:
    return tqdm(desc=verb, total=count, unit="pair", leave=False, disable=None)


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
