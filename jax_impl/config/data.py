"""Kind of the data and of what is drawn at random about them; each is checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from export.edge.pictures.arrays import Fit
from jax_impl.config.checks import require, require_share
from jax_impl.config.fields import FREE_ON_RESUME, MOST_USED

Direction = Literal["forward", "reverse"]
Kind = TypeVar("Kind")
SYNTHETIC = "synthetic"
"""The `path` of the built-in scenes."""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes that both pictures of a pair share. Defaults are the seed's."""

    flip: float = 0.5
    """Probability of a horizontal flip, 0 to 1."""
    crop: float = 0.0
    """Largest share of each side that a random crop removes, 0 to 0.5."""
    rotation: float = 10.0
    """Largest rotation to either side, 0 to 180 degrees."""
    perspective: float = 0.2
    """Largest inward shift of a corner by the perspective change, as a share of half the side, 0 to 1."""
    perspective_probability: float = 0.5
    """Probability of a perspective change, 0 to 1."""
    brightness: float = 0.2
    """Range of the random brightness factor, 1 ± this; 0 to 1."""
    contrast: float = 0.2
    """Range of the random contrast factor, 1 ± this; 0 to 1."""
    saturation: float = 0.2
    """Range of the random saturation factor, 1 ± this; 0 to 1."""
    hue: float = 0.1
    """Largest hue rotation to either side, as a share of the full circle, 0 to 0.5."""
    jitter_probability: float = 0.8
    """Probability that brightness, contrast, saturation and hue change, 0 to 1."""

    def __post_init__(self) -> None:
        for name in ("flip", "perspective", "perspective_probability", "brightness", "contrast", "saturation"):
            require_share(f"data.augment.{name}", getattr(self, name))
        require_share("data.augment.jitter_probability", self.jitter_probability)
        require(0.0 <= self.crop <= 0.5, "data.augment.crop", self.crop, "choose a value from 0 to 0.5")
        require(0.0 <= self.rotation <= 180.0, "data.augment.rotation", self.rotation, "choose 0 to 180 degrees")
        require(0.0 <= self.hue <= 0.5, "data.augment.hue", self.hue, "choose a value from 0 to 0.5")


@dataclass(frozen=True)
class PlaceConfig:
    """Where the pairs are."""

    path: str = field(default=SYNTHETIC, metadata={**FREE_ON_RESUME, **MOST_USED})
    """Folder of pairs, CSV or JSONL manifest, or `synthetic` for the built-in scenes."""
    layout: str = "auto"
    """How the pairs are stored: `folders`, `side-by-side`, `manifest`, or a layout that a plugin adds; `auto`
    recognises it."""
    folders: tuple[str, ...] = field(default=(), metadata=FREE_ON_RESUME)
    """Names of the folder of inputs and of the folder of targets, such as `morning evening`, in any letter case; by
    default A and B, source and target, sunrise and sunset, or input and output."""
    val_share: float = 0.1
    """Share of the training pairs that is held out for validation, 0 to below 1, whole scenes at a time; only where the
    data has no validation split of its own."""


@dataclass(frozen=True)
class DirectionConfig:
    """Which picture of a pair guides."""

    direction: Direction = "forward"
    """`forward`: from A (or left, or source) to B; `reverse`: from B to A."""


@dataclass(frozen=True)
class SquareConfig:
    """How a picture becomes a square."""

    size: int = field(default=128, metadata=MOST_USED)
    """Side of a training picture, pixels, 8 to 4096."""
    fit: Fit = "crop"
    """How a picture becomes square: `crop` cuts the long side, `letterbox` adds grey bars, `stretch` distorts."""


@dataclass(frozen=True)
class SceneConfig:
    """How many built-in scenes there are."""

    synthetic_pairs: int = 256
    """Number of built-in training scenes, at least 1; used with path `synthetic`."""
    synthetic_val_pairs: int = 16
    """Number of built-in validation scenes, at least 1; used with path `synthetic`."""


@dataclass(frozen=True)
class TfdsConfig:
    """A prepared dataset of TensorFlow Datasets."""

    tfds: str = ""
    """Prepared dataset of TensorFlow Datasets to read in place of a path: NAME, NAME/CONFIG or NAME/CONFIG:VERSION."""
    tfds_dir: str = field(default="~/tensorflow_datasets", metadata=FREE_ON_RESUME)
    """Folder of the prepared datasets of TensorFlow Datasets."""
    tfds_features: tuple[str, ...] = ()
    """Names of two picture features of the TensorFlow dataset, input and target; by default its only two, by
    alphabet."""


@dataclass(frozen=True)
class DataConfig(TfdsConfig, SceneConfig, SquareConfig, DirectionConfig, PlaceConfig):
    """Where the pairs are and how they become square training pictures."""

    crop_size: int = 0
    """Side, in pixels, of the random window that each training step cuts out of every pair; 0 for whole pictures."""
    repeats: int = 20
    """How often each pair is seen in an epoch, at least 1."""
    max_bad_share: float = field(default=0.01, metadata=FREE_ON_RESUME)
    """Largest share of the training pairs, 0 to 1, that may hold a picture that cannot be decoded or has a side below
    8 pixels; another pair replaces each. Training refuses to start with more."""
    in_memory_mb: int = field(default=4096, metadata=FREE_ON_RESUME)
    """Largest training set that is decoded once and kept on the device, MiB of decoded pictures; a larger one is read
    from disk all the time."""
    threads: int = field(default=0, metadata=FREE_ON_RESUME)
    """Threads that read a training set that is not kept in memory, 0 to 256; 0 for one per core, at most 16."""
    max_val_pairs: int = 2000
    """Most validation pairs that training uses, spread evenly over the split; at least 1."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        require(self.path != "", "data.path", self.path, "name a folder, a manifest or `synthetic`")
        self._check_folders()
        require(8 <= self.size <= 4096, "data.size", self.size, "choose 8 to 4096 pixels")
        require(0.0 <= self.val_share < 1.0, "data.val_share", self.val_share, "choose a value from 0 to below 1")
        require_share("data.max_bad_share", self.max_bad_share)
        require(
            self.tfds == "" or self.path == SYNTHETIC,
            "data.tfds",
            self.tfds,
            f"data.path ({self.path}) is given as well; name one of them",
        )
        require(
            len(set(self.tfds_features)) == len(self.tfds_features) and len(self.tfds_features) in (0, 2),
            "data.tfds_features",
            self.tfds_features,
            "name two different features, such as cond x0, or none",
        )
        require(self.in_memory_mb >= 0, "data.in_memory_mb", self.in_memory_mb, "choose 0 or more")
        require(0 <= self.threads <= 256, "data.threads", self.threads, "choose 0 to 256")
        for name in ("repeats", "synthetic_pairs", "synthetic_val_pairs", "max_val_pairs"):
            require(getattr(self, name) >= 1, f"data.{name}", getattr(self, name), "choose at least 1")

    def _check_folders(self) -> None:
        shown = " ".join(self.folders)
        plain = all(name.strip(".") and Path(name).name == name for name in self.folders)
        require(
            len({name.lower() for name in self.folders}) == len(self.folders) and len(self.folders) in (0, 2) and plain,
            "data.folders",
            shown,
            "name two different folders inside data.path, inputs first, such as morning evening",
        )
        others = {"side-by-side": "two halves", "manifest": "a list"}
        if self.folders:
            known = others.get(self.layout)
            require(known is None, "data.folders", shown, f"data.layout {self.layout} reads {known}; leave one out")
            require(
                self.tfds == "" and self.path != SYNTHETIC,
                "data.folders",
                shown,
                "data.path has to name the folder that holds the two",
            )


def part_of(kind: type[Kind], settings: object, **changes: Any) -> Kind:
    """The `kind` with the values of the fields that `settings` has too, and these changes."""
    known = {each.name: getattr(settings, each.name) for each in fields(kind) if hasattr(settings, each.name)}  # pyright: ignore[reportArgumentType]
    return kind(**{**known, **changes})
