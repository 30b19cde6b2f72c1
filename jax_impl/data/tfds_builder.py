"""Pairs as a data set of TensorFlow Datasets, in array_record files, without TensorFlow.

Imports tensorflow_datasets; nothing else in the package does so before it has to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from export.edge.disk.files import sha256_file
from export.edge.disk.home import expand
from export.edge.errors import UserError
from export.edge.pictures.arrays import fit_square
from export.edge.pictures.kinds import PLAIN
from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import Locator, Pair
from jax_impl.data.sources.source import Source
from jax_impl.data.splits import SPLITS

Encoded = tuple[bytes, bytes]
_KEY_SPACE = 2**128
"""Keys of examples: the range of the hashes that tfds sorts by."""


@dataclasses.dataclass(frozen=True, repr=False)
class Examples:
    """What a data set is made of: for each split its pairs' names, and how to get the bytes of one."""

    name: str
    """Of the configuration; ends in a digest of the content."""
    names: Mapping[str, tuple[str, ...]]
    encoded: Callable[[str, int], Encoded]
    """(split, position) -> the two pictures as the bytes of PNG, JPEG and so on."""


@dataclasses.dataclass(kw_only=True, repr=False)
class PairedImagesConfig(tfds.core.BuilderConfig):
    """A configuration of `paired_images` that can be written."""

    examples: Examples
    progress: Callable[[], object]
    """Called once for each pair written."""


class PairedImages(tfds.core.GeneratorBasedBuilder):
    """Two pictures of each scene, `cond` and `x0`, and the pair's name."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (the library's attribute)

    def _info(self) -> tfds.core.DatasetInfo:
        cond, x0 = (tfds.features.Image(shape=(None, None, 3)) for _ in range(2))
        # The order of the pairs stays that of their source, so that a run gets the same batches from either.
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"cond": cond, "x0": x0, "name": tfds.features.Text()}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        examples = self._config.examples
        return {split: self._generate_examples(split) for split in SPLITS if examples.names[split]}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self._config
        names = config.examples.names[split]
        for i, name in enumerate(names):
            cond, x0 = config.examples.encoded(split, i)
            # Evenly over the whole range: beyond a gigabyte tfds sorts bucket by bucket, by the leading digits of keys.
            yield i * (_KEY_SPACE // len(names)), {"cond": cond, "x0": x0, "name": name}
            config.progress()

    @property
    def _config(self) -> PairedImagesConfig:
        config = self.builder_config
        if not isinstance(config, PairedImagesConfig):
            raise UserError(f"{self.name} is written by `python -m jax_impl.prepare` alone, from given pairs")
        return config


def examples_of(source: Source, config: DataConfig, side: int, progress: Callable[[], object]) -> Examples:
    """What a dataset of these pairs is made of, with their splits.

    Args:
        source: the pairs.
        config: the settings that `source` was opened with; `fit` makes squares.
        side: 0 to keep the files' own bytes (a half of a side-by-side picture becomes a PNG), or the side in pixels
            of the squares that pictures become, as PNG; no matter where the source renders squares of `config.size`.
        progress: called for each pair whose files were read for the digest.
    """
    if source.rendered:
        # The test split can be rendered at any time.
        splits: dict[str, tuple[Pair, ...]] = {split: source.splits[split] for split in ("train", "val")}
        counts = sorted((split, len(members)) for split, members in splits.items())
        # The first pixels represent the painter: when it paints otherwise, the name changes.
        parts = [f"{config.size} {counts}".encode(), source.read(splits["train"][0])[0].tobytes()]
        name = f"{source.layout}_{config.size}px_{len(splits['train'])}"
    else:
        splits = dict(source.splits)
        parts = [f"{side} {config.fit if side else ''}".encode()]
        for split in SPLITS:
            for pair in splits[split]:
                parts.append(f"{split}\0{pair.name}\0{_contents(source, pair)}".encode())
                progress()
        stem = expand(source.place, "data.path").resolve().stem.lower()
        name = (re.sub(r"[^a-z0-9]+", "_", stem).strip("_") or "folder") + (f"_{side}px" if side else "")
    names = {split: tuple(pair.name for pair in splits.get(split, ())) for split in SPLITS}

    def encoded(split: str, i: int) -> Encoded:
        pair = splits[split][i]
        # Read as pictures always: what cannot be read is named now, not in the middle of a training.
        cond, x0 = source.read(pair)
        if side and not source.rendered:
            cond, x0 = (fit_square(picture, side, config.fit) for picture in (cond, x0))
        elif pair.cond is not None and pair.x0 is not None and _are_plain(pair.cond, pair.x0):
            return pair.cond.path.read_bytes(), pair.x0.path.read_bytes()
        return png(cond), png(x0)

    return Examples(f"{name}_{_digest(parts)}", names, encoded)


def _are_plain(*files: Locator) -> bool:
    """Whether the files are whole pictures of kinds that every reader of a dataset knows."""
    return all(each.half is None and each.path.suffix.lower() in PLAIN for each in files)


def _contents(source: Source, pair: Pair) -> list[tuple[str, str | None]]:
    """Digests of both files of a pair, or of its pixels where it has none."""
    if pair.cond is None or pair.x0 is None:
        return [(hashlib.sha256(picture.tobytes()).hexdigest(), None) for picture in source.read(pair)]
    return [(sha256_file(each.path), each.half) for each in (pair.cond, pair.x0)]


def builder_of(examples: Examples, data_dir: Path, progress: Callable[[], object]) -> PairedImages:
    """The builder that writes `examples` below `data_dir`, or has done so; raises UserError without training pairs."""
    if not examples.names["train"]:
        raise UserError(f"{examples.name} has no pairs for train; add some, or drop the split")
    config = PairedImagesConfig(name=examples.name, examples=examples, progress=progress)
    return PairedImages(data_dir=str(data_dir), config=config, file_format="array_record")


def write_dataset(builder: PairedImages) -> None:
    """Write the data set, whole or not at all: in a folder of its own that is renamed at the end.

    At most about a gigabyte of it is in memory at a time. Raises UserError for a picture that cannot be used.
    """
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as downloads:
            builder.download_and_prepare(download_dir=downloads)
    finally:
        tfds.enable_progress_bar()
        with contextlib.suppress(OSError):  # Not empty after a success.
            Path(builder.data_path).parent.rmdir()


def png(picture: np.ndarray) -> bytes:
    """A picture, uint8 (height, width, 3), as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:12]
