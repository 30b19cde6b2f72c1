"""A prepared dataset of TensorFlow Datasets, read by position, without TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.disk.home import expand
from export.edge.errors import UserError
from export.edge.pictures.files import decode_picture
from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import Pair, Pictures
from jax_impl.data.sources.source import Source
from jax_impl.data.splits import SPLIT_NAMES, SPLITS, hold_out

INSTALL = "tensorflow-datasets array-record importlib-resources"
OURS = ("cond", "x0")


def library() -> Any:
    """The module tensorflow_datasets; UserError with what to install where it is missing."""
    try:
        import array_record.python.array_record_data_source  # noqa: F401
        import importlib_resources  # noqa: F401
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(f"data.tfds needs {error.name or error}; `pip install {INSTALL}`") from None
    return tfds


class TfdsLayout:
    """Recognised by data.tfds."""

    def recognises(self, config: DataConfig) -> bool:
        """Whether the settings name a prepared dataset."""
        return config.tfds != ""

    def open(self, config: DataConfig) -> Source:
        """The dataset `config.tfds` in `config.tfds_dir`.

        A val split is `validation`, `val` or `valid`; where there is none, `config.val_share`
        of the training pairs is held out by hash of position. Raises UserError where nothing
        of that name is prepared, it has no train split, is not in array_record files, or does
        not have two pictures to an example.
        """
        tfds, name = library(), config.tfds
        folder = find_folder(name, expand(config.tfds_dir, "data.tfds_dir"))
        builder = tfds.builder_from_directory(str(folder))
        sides = _features(tfds, builder.info.features, config.tfds_features, name)
        cond, x0 = sides if config.direction == "forward" else reversed(sides)
        splits = {known: split for split in builder.info.splits if (known := SPLIT_NAMES.get(split)) is not None}
        if "train" not in splits:
            have = ", ".join(builder.info.splits) or "none"
            raise UserError(f"data.tfds {name} has no train split (it has {have}); name another data set")
        stored = _stored(tfds, builder, splits, name, folder)
        pairs, held_out = _pairs({split: len(data) for split, data in stored.items()}, config.val_share)
        notes = [f"{name}: {cond} to {x0}, from {folder}"]
        if held_out:
            notes.append(f"{name} has no validation split: held out {held_out} of {len(stored['train'])} pairs")
        sizes = {
            known: [builder.info.splits[s].num_bytes, *builder.info.splits[s].shard_lengths]
            for known, s in splits.items()
        }
        return Source(
            "tfds",
            name,
            pairs,
            notes=tuple(notes),
            origin=json.dumps([builder.info.full_name, cond, x0, sizes], sort_keys=True),
            read=_reader(tfds, builder, stored, (cond, x0), folder),
        )


def _stored(tfds: Any, builder: Any, splits: Mapping[str, str], name: str, folder: Path) -> dict[str, Any]:
    """The examples of each split, by position, still encoded."""
    bare = tfds.decode.DeserializeMethod.RAW_BYTES
    try:
        return {known: builder.as_data_source(split, deserialize_method=bare) for known, split in splits.items()}
    except NotImplementedError:
        raise UserError(
            f"data.tfds {name} in {folder} is not in array_record files, which random access needs; prepare it with "
            "file_format='array_record'"
        ) from None
    except ValueError as error:  # what the library says of a folder that lacks files, or does not say their format
        raise UserError(f"data.tfds {name} in {folder} is incomplete ({error}); prepare it again") from error


def _pairs(counts: Mapping[str, int], val_share: float) -> tuple[dict[str, tuple[Pair, ...]], int]:
    """The pairs of each split, with (the split that they are stored in, position) for keys; how many were held out."""
    home: dict[str, str] = {split: split for split in SPLITS}
    positions = {split: np.arange(counts.get(split, 0)) for split in SPLITS}
    held_out = 0
    if not counts.get("val") and val_share > 0.0:
        count = counts["train"]
        choice = hold_out(
            [f"train_{i:06d}" for i in range(count)], [""] * count, [(i,) for i in range(count)], val_share
        )
        held = np.isin(np.arange(count), list(choice.held))
        positions |= {"train": np.flatnonzero(~held), "val": np.flatnonzero(held)}
        home["val"], held_out = "train", len(choice.held)
    pairs = {
        split: tuple(Pair(f"{split}_{i:06d}", split, key=(home[split], i)) for i in positions[split].tolist())
        for split in SPLITS
    }
    return pairs, held_out


def _reader(
    tfds: Any, builder: Any, stored: Mapping[str, Any], sides: tuple[str, str], folder: Path
) -> Callable[[Pair], Pictures]:
    """Decodes the two pictures of an example alone: other features may need decoders of their own."""
    encoded = {side: tfds.decode.SkipDecoding() for side in sides}
    wanted = tfds.features.FeaturesDict({side: builder.info.features[side] for side in sides})

    def read(pair: Pair) -> Pictures:
        home, position = pair.key
        example = wanted.deserialize_example_np(stored[home][position], decoders=encoded)
        cond, x0 = (decode_picture(example[side], f"{side} {position} of {pair.split} in {folder}") for side in sides)
        return cond, x0

    return read


def find_folder(name: str, data_dir: Path) -> Path:
    """The folder of `NAME[/CONFIG][:VERSION]` below `data_dir`: the newest version, where none is named.

    Raises UserError, with what there is, where that is nothing or more than one configuration.
    """
    words, _, version = name.partition(":")
    there = sorted(file.parent.relative_to(data_dir) for file in data_dir.glob("**/dataset_info.json"))
    found = [
        folder
        for folder in there
        if not folder.name.startswith("incomplete.")
        and folder.parent.as_posix() in (words, *(f"{words}/{folder.parent.name}" for _ in folder.parts[2:]))
        and version in ("", folder.name)
    ]
    configs = {folder.parent for folder in found}
    if len(configs) == 1:
        return data_dir / max(found, key=_version)
    if configs:
        shown = ", ".join(sorted(folder.as_posix() for folder in configs)[:5])
        raise UserError(f"data.tfds {name} has {len(configs)} configurations in {data_dir}; name one of {shown}")
    shown = ", ".join(f"{folder.parent.as_posix()}:{folder.name}" for folder in there[:5]) or "nothing"
    raise UserError(
        f"data.tfds {name} is not prepared in {data_dir} ({shown} is); prepare it with `python -m jax_impl.prepare`, "
        "or name its folder with --data.tfds-dir"
    )


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in folder.name.split("."))


def _features(tfds: Any, features: Any, wanted: tuple[str, ...], name: str) -> tuple[str, str]:
    """The names of the two picture features: those wanted, ours, or the only two by alphabet."""
    known = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    # Sorted: read back from disk, features come in another order in every process.
    pictures = sorted(
        key
        for key, feature in known.items()
        if type(feature) is tfds.features.Image and feature.np_dtype in (np.uint8, np.uint16)
    )
    if not wanted:
        wanted = OURS if set(OURS) <= set(pictures) else tuple(pictures)
    if len(wanted) == 2 and set(wanted) <= set(pictures):
        return wanted[0], wanted[1]
    have = ", ".join(pictures) or "none"
    raise UserError(
        f"data.tfds {name} has these pictures in each example: {have}; name the guiding one and the target with "
        "--data.tfds-features"
    )
