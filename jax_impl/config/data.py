"""Settings of the data and of what is drawn at random about them; each is checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from export.edge.pictures.arrays import Fit
from jax_impl.config.checks import require, require_share
from jax_impl.config.fields import FREE_ON_RESUME

Layout = Literal["auto", "folders", "side-by-side", "manifest"]
Direction = Literal["forward", "reverse"]


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes that both pictures of a pair share. Defaults are the seed's."""

    flip: float = 0.5
    """Probability of a horizontal flip."""
    crop: float = 0.0
    """Largest share of each side that a random crop cuts away."""
    rotation: float = 10.0
    """Largest rotation either way, degrees."""
    perspective: float = 0.2
    """Largest inward shift of a corner, as a share of half the side."""
    perspective_probability: float = 0.5
    """Probability of a perspective change."""
    brightness: float = 0.2
    """Brightness factor is drawn from 1 ± this."""
    contrast: float = 0.2
    """Contrast factor is drawn from 1 ± this."""
    saturation: float = 0.2
    """Saturation factor is drawn from 1 ± this."""
    hue: float = 0.1
    """Largest turn of the hue either way, as a share of the full circle."""
    jitter_probability: float = 0.8
    """Probability that the colours change at all."""

    def __post_init__(self) -> None:
        for name in ("flip", "perspective", "perspective_probability", "brightness", "contrast", "saturation"):
            require_share(f"data.augment.{name}", getattr(self, name))
        require_share("data.augment.jitter_probability", self.jitter_probability)
        require(0.0 <= self.crop <= 0.5, "data.augment.crop", self.crop, "choose a value from 0 to 0.5")
        require(0.0 <= self.rotation <= 180.0, "data.augment.rotation", self.rotation, "choose 0 to 180 degrees")
        require(0.0 <= self.hue <= 0.5, "data.augment.hue", self.hue, "choose a value from 0 to 0.5")


@dataclass(frozen=True)
class DataConfig:
    """Where the pairs are and how they become square training pictures."""

    path: str = field(default="synthetic", metadata=FREE_ON_RESUME)
    """A folder, a CSV or JSONL manifest, or `synthetic` for the built-in scenes."""
    layout: Layout = "auto"
    """How pairs lie on disk; `auto` finds out."""
    direction: Direction = "forward"
    """`forward`: from A (or left, or source) to B; `reverse`: the other way."""
    size: int = 128
    """Side of a training picture, pixels."""
    crop_size: int = 0
    """Side of the random window that each training step cuts out of every pair, pixels; 0 for whole pictures."""
    fit: Fit = "crop"
    """How a picture becomes square: cut the long side, pad the short one, or stretch."""
    val_share: float = 0.1
    """Share of pairs held out where the data has no validation split of its own."""
    repeats: int = 20
    """How often each pair is seen in an epoch."""
    synthetic_pairs: int = 256
    """Number of built-in training scenes."""
    synthetic_val_pairs: int = 16
    """Number of built-in validation scenes."""
    max_bad_share: float = field(default=0.01, metadata=FREE_ON_RESUME)
    """Largest share of training pairs that may hold a picture that cannot be decoded or is too small to learn from;
    another pair stands in for each."""
    tfds: str = ""
    """Train on this prepared data set of TensorFlow Datasets instead: NAME, NAME/CONFIG or NAME/CONFIG:VERSION."""
    tfds_dir: str = field(default="~/tensorflow_datasets", metadata=FREE_ON_RESUME)
    """Folder of prepared data sets."""
    tfds_features: tuple[str, ...] = ()
    """Its features with the guiding picture and with the target; by default its only two, by alphabet."""
    in_memory_mb: int = field(default=4096, metadata=FREE_ON_RESUME)
    """A training set that takes more than this, decoded, is read as it is needed; others stay on the device."""
    threads: int = field(default=0, metadata=FREE_ON_RESUME)
    """Threads that read such a set; 0 for one per core, at most 16."""
    max_val_pairs: int = 2000
    """Most held-out pairs that training looks at, spread over their split."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        require(self.path != "", "data.path", self.path, "name a folder, a manifest or `synthetic`")
        require(8 <= self.size <= 4096, "data.size", self.size, "choose 8 to 4096 pixels")
        require(0.0 <= self.val_share < 1.0, "data.val_share", self.val_share, "choose a value from 0 to below 1")
        require_share("data.max_bad_share", self.max_bad_share)
        require(
            self.tfds == "" or self.path == "synthetic",
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
