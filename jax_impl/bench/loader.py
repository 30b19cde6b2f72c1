"""Pairs a second from each kind of source, and how many a train step takes: `python -m jax_impl.bench.loader`."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
from PIL import Image

from export.edge.disk.files import check_output_file, write_json
from export.edge.errors import UserError, run
from jax_impl.config.command import parse
from jax_impl.config.data import DataConfig
from jax_impl.config.fields import POSITIONAL
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs, decode, lazy_pairs
from jax_impl.data.sources.registry import open_source
from jax_impl.data.synthetic import render_pair, scene_seed
from jax_impl.devices import memory_errors, start_devices
from jax_impl.training.dry_run import estimate
from jax_impl.training.feed import open_feed, source_threads
from jax_impl.training.mesh import make_mesh
from jax_impl.training.session import Session
from jax_impl.training.starting import enter


@dataclass(frozen=True)
class LoaderBenchArgs:
    """Time every kind of source on built-in scenes, and the train step."""

    preset: str = field(default="tiny", metadata={POSITIONAL: "PRESET"})
    """Preset whose training step is timed."""
    size: int = 128
    """Side of a training picture in pixels, 8 to 4096."""
    file_size: int = 256
    """Side of the pictures on disk, pixels."""
    batch_size: int = 16
    """Pairs in a training step."""
    pairs: int = 128
    """Number of built-in scenes that are written and read."""
    seconds: float = 5.0
    """Seconds for which each kind of data source is timed."""
    threads: int = 0
    """Threads that read pictures; 0 for one per core, at most 16."""
    output: Path | None = None
    """Also write the figures there, as JSON: pairs a second, by name."""


@memory_errors("choose a smaller --batch-size or --size")
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print a table."""
    args = parse(LoaderBenchArgs, argv, "python -m jax_impl.bench.loader")
    if args.pairs < args.batch_size or args.batch_size < 1:
        raise UserError(f"--pairs is {args.pairs}: choose at least --batch-size ({args.batch_size})")
    if args.output is not None:
        check_output_file(args.output, "--output")
    config = PRESETS.find(args.preset, "PRESET")()
    data = replace(config.data, size=args.size, synthetic_pairs=args.pairs, threads=args.threads)
    config = replace(config, data=data, train=replace(config.train, batch_size=args.batch_size))
    threads = source_threads(args.threads)
    start_devices()
    print(f"{args.size} × {args.size}, batch {args.batch_size}, {threads} threads, {jax.devices()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        memory = decode(_train(data))
        session = Session(config, Path(folder), memory, memory, make_mesh(config))
        eaten = args.batch_size / estimate(session, enter(session, 0, {}))[0].step_seconds
        print(f"{f'train step of {args.preset}':<40}{eaten:>10.1f} pairs/s")
        rates = {"train step": eaten}
        for name, pairs in sources(data, memory, args.file_size, Path(folder)):
            rates[name] = rate = pairs_per_second(config, pairs, args.seconds)
            print(f"{name:<40}{rate:>10.1f} pairs/s, {rate / eaten:.2f} × the training step's", flush=True)
            if args.output is not None:
                write_json(args.output, rates)


def sources(data: DataConfig, memory: Pairs, file_size: int, folder: Path) -> Iterator[tuple[str, Pairs | LazyPairs]]:
    """Each kind of source, by name, over the same number of scenes; files are written below `folder`."""
    yield "in memory", memory
    yield "built-in scenes, painted as needed", _train(data)
    photos = folder / "photos"
    for i in range(data.synthetic_pairs):
        for side, picture in zip("AB", render_pair(scene_seed("train", i), file_size), strict=True):
            (photos / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(photos / side / f"{i:05d}.jpg", quality=92)
    plain = replace(data, path=str(photos), folders=(), val_share=0.0)
    yield f"folder of JPEGs of {file_size} × {file_size}", _train(plain)
    if importlib.util.find_spec("tensorflow_datasets") is None:
        print("tensorflow-datasets is not installed: prepared datasets are left out")
        return
    from jax_impl.data import tfds_builder  # Imports tensorflow_datasets.

    for title, size in ((f"prepared, JPEGs of {file_size} × {file_size}", 0), ("prepared, squares of PNG", data.size)):
        place = folder / f"prepared_{size}"
        examples = tfds_builder.examples_of(open_source(plain), plain, size, lambda: None)
        tfds_builder.write_dataset(tfds_builder.builder_of(examples, place, lambda: None))
        stored = replace(plain, path="synthetic", tfds="paired_images", tfds_dir=str(place))
        yield title, _train(stored)


def _train(data: DataConfig) -> LazyPairs:
    return lazy_pairs(open_source(data), data, "train")


def pairs_per_second(config: Config, pairs: Pairs | LazyPairs, seconds: float) -> float:
    """Pairs a second that arrive on the device, over that time, once the first batches are there."""
    read_ahead = 4 + 2 * source_threads(config.data.threads)
    with open_feed(pairs, config) as feed:
        gather = jax.jit(lambda pairs, indices: [side if indices is None else side[indices] for side in pairs])
        for step in range(read_ahead):  # What was read while the gathering was compiled is not counted.
            jax.block_until_ready(gather(*feed.batch(step)))
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            jax.block_until_ready(gather(*feed.batch(read_ahead + count)))
            count += 1
        return count * config.train.batch_size / (time.perf_counter() - began)


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
