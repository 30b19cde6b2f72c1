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
from export.edge.errors import UserError
from export.edge.pictures.arrays import fit_square
from jax_impl.data.pairs import PairSource, read_pair
from jax_impl.data.synthetic import Split, render_pair, scene_seed

Encoded = tuple[bytes, bytes]
SPLITS = ("train", "val", "test")
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
        # The order of the pairs stays that of their source, so that a run draws the same batches from either.
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


def scenes(counts: Mapping[Split, int], size: int) -> Examples:
    """The built-in scenes, `counts` of each split, as PNG files of `size` × `size` pixels."""
    first = render_pair(scene_seed("train", 0), size)[0].tobytes()
    # The first scene's pixels stand for the painter: when it paints otherwise, the name changes.
    digest = _digest([f"{size} {sorted(counts.items())}".encode(), first])
    names = {split: tuple(f"{split}_{i:06d}" for i in range(counts.get(split, 0))) for split in SPLITS}

    def encoded(split: Any, i: int) -> Encoded:
        cond, x0 = render_pair(scene_seed(split, i), size)
        return png(cond), png(x0)

    return Examples(f"scenes_{size}px_{counts.get('train', 0)}_{digest}", names, encoded)


def folder(source: PairSource, root: Path, side: int, fit: str, progress: Callable[[], object]) -> Examples:
    """The pairs that were found at `root`, with their splits.

    Args:
        source: what `find_pairs` found there.
        root: gives the configuration its name.
        side: 0 to keep the files' own bytes (a half of a side-by-side picture becomes a PNG), or the
            side in pixels of the squares that pictures become, by `fit`, as PNG.
        fit: crop, letterbox or stretch.
        progress: called for each pair whose files were read for the digest.
    """
    parts: list[bytes] = [f"{side} {fit if side else ''}".encode()]
    for split in SPLITS:
        for pair in source.splits[split]:
            files = [(sha256_file(each.path), each.half) for each in (pair.cond, pair.x0)]
            parts.append(f"{split}\0{pair.name}\0{files}".encode())
            progress()
    names = {split: tuple(pair.name for pair in source.splits[split]) for split in SPLITS}

    def encoded(split: str, i: int) -> Encoded:
        pair = source.splits[split][i]
        if side:
            cond, x0 = (png(fit_square(picture, side, fit)) for picture in read_pair(pair))
            return cond, x0
        # Read as pictures too: what cannot be read is named now, not in the middle of a training.
        pictures = read_pair(pair)
        whole = pair.cond.half is None and pair.x0.half is None
        cond, x0 = (
            (each.path.read_bytes() for each in (pair.cond, pair.x0)) if whole else (png(each) for each in pictures)
        )
        return cond, x0

    stem = re.sub(r"[^a-z0-9]+", "_", root.expanduser().resolve().stem.lower()).strip("_") or "folder"
    size = f"_{side}px" if side else ""
    return Examples(f"{stem}{size}_{_digest(parts)}", names, encoded)


def builder_of(examples: Examples, data_dir: Path, progress: Callable[[], object]) -> PairedImages:
    """The builder that writes `examples` below `data_dir`, or has done so; raises UserError without training pairs."""
    if not examples.names["train"]:
        raise UserError(f"{examples.name} has no pairs for train; add some, or drop the split")
    config = PairedImagesConfig(name=examples.name, examples=examples, progress=progress)
    return PairedImages(data_dir=str(data_dir), config=config, file_format="array_record")


def prepare(builder: PairedImages) -> None:
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
