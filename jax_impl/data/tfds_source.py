"""Pairs from a prepared data set of TensorFlow Datasets, by position, without TensorFlow."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.errors import UserError
from export.edge.pictures.files import decode_picture
from jax_impl.config.data import DataConfig
from jax_impl.data.splits import SPLIT_NAMES, hold_out

INSTALL = "tensorflow-datasets array-record importlib-resources"
OURS = ("cond", "x0")


@dataclass(frozen=True)
class Prepared:
    """A prepared data set, ready for random access from any thread."""

    positions: Mapping[str, np.ndarray]
    """Where the pairs of train, val and test lie, each in the split that it comes from."""
    read: Callable[[str, int], tuple[np.ndarray, np.ndarray]]
    """(split, position) -> cond and x0, each uint8 (height, width, 3), at their own sizes."""
    origin: str
    """Name, configuration, version and the sizes of its parts."""
    notes: tuple[str, ...]


def library() -> Any:
    """The module tensorflow_datasets; UserError with what to install where it is missing."""
    try:
        import array_record.python.array_record_data_source  # noqa: F401
        import importlib_resources  # noqa: F401
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(f"data.tfds needs {error.name or error}; `pip install {INSTALL}`") from None
    return tfds


def open_tfds(config: DataConfig) -> Prepared:
    """The data set `config.tfds` in `config.tfds_dir`.

    A val split is `validation`, `val` or `valid`; where there is none, `config.val_share`
    of the training pairs is held out by hash of position. Raises UserError where nothing
    of that name is prepared, it has no train split, is not in array_record files, or does
    not have two pictures to an example.
    """
    return _open(config.tfds, config.tfds_dir, config.tfds_features, config.direction, config.val_share)


@functools.lru_cache(maxsize=4)
def _open(name: str, data_dir: str, features: tuple[str, ...], direction: str, val_share: float) -> Prepared:
    tfds = library()
    folder = find_folder(name, Path(data_dir).expanduser())
    builder = tfds.builder_from_directory(str(folder))
    cond, x0 = _features(tfds, builder.info.features, features, name)
    if direction == "reverse":
        cond, x0 = x0, cond
    splits = {known: split for split in builder.info.splits if (known := SPLIT_NAMES.get(split)) is not None}
    if "train" not in splits:
        have = ", ".join(builder.info.splits) or "none"
        raise UserError(f"data.tfds {name} has no train split (it has {have}); name another data set")
    # Of an example only the two pictures, as the bytes of their files: other features may need decoders of their own.
    encoded = {cond: tfds.decode.SkipDecoding(), x0: tfds.decode.SkipDecoding()}
    wanted = tfds.features.FeaturesDict({key: builder.info.features[key] for key in (cond, x0)})
    bare = tfds.decode.DeserializeMethod.RAW_BYTES
    try:
        stored = {known: builder.as_data_source(split, deserialize_method=bare) for known, split in splits.items()}
    except NotImplementedError:
        raise UserError(
            f"data.tfds {name} in {folder} is not in array_record files, which random access needs; prepare it with "
            "file_format='array_record'"
        ) from None
    except ValueError as error:  # what the library says of a folder that lacks files, or does not say their format
        raise UserError(f"data.tfds {name} in {folder} is incomplete ({error}); prepare it again") from error
    positions = {split: np.arange(len(stored.get(split, ()))) for split in ("train", "val", "test")}
    notes = [f"{name}: {cond} to {x0}, from {folder}"]
    home = {split: split for split in positions}
    if not len(positions["val"]) and val_share > 0.0:
        count = len(positions["train"])
        names = [f"train_{i:06d}" for i in range(count)]
        choice = hold_out(names, [""] * count, [(i,) for i in range(count)], val_share)
        held = np.isin(np.arange(count), list(choice.held))
        positions |= {"train": np.flatnonzero(~held), "val": np.flatnonzero(held)}
        home["val"] = "train"
        notes.append(f"{name} has no validation split: held out {len(choice.held)} of {count} pairs")

    def read(split: str, position: int) -> tuple[np.ndarray, np.ndarray]:
        example = wanted.deserialize_example_np(stored[home[split]][position], decoders=encoded)
        where = f"{position} of {split} in {folder}"
        return decode_picture(example[cond], f"{cond} {where}"), decode_picture(example[x0], f"{x0} {where}")

    sizes = {
        known: [builder.info.splits[s].num_bytes, *builder.info.splits[s].shard_lengths] for known, s in splits.items()
    }
    origin = json.dumps([builder.info.full_name, cond, x0, sizes], sort_keys=True)
    return Prepared(positions, read, origin, tuple(notes))


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
