"""`photo.onnx`: a whole translation as one graph, from a photo's bytes to those of its translation.

Inputs: `photo`, uint8 (height, width, 3); and `noise`, float32 (n), standard normal numbers in the order (rows,
columns, channels) of the state that the sampler starts from, or n = 0 for those of seed 0. A model with a slider has a
third, `realism`, float32 (1), from 0 to 1. Output: `picture`, uint8, of the photo's shape. All else is fixed in the
graph, such as the steps and the size at which the model works. Its metadata are those of the model's file that say how
it samples, and `reduction` and `detail`: how the photo is brought to the model's size, and the result to the photo's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.errors import UserError
from export.edge.model.codec import Codec, read_codec
from export.edge.model.layout import DENOISER, FOLDER, networks, photo_file
from export.edge.model.sealed import check_graph, open_sealed
from export.edge.model.variants import REFERENCE
from export.edge.pictures.arrays import FITS, LARGEST_SIZE, working_sides
from export.edge.sampling.noise import start_noise
from export.edge.sampling.table import check_realism

FORMAT = "dawn2dusk-photo"
FORMAT_VERSION = "1"
INPUTS = {"photo": ("tensor(uint8)", 3), "noise": ("tensor(float)", 1)}
REALISM = {"realism": ("tensor(float)", 1)}
"""The input that a model with a slider has too."""
OUTPUTS = {"picture": ("tensor(uint8)", 3)}
FIXED = {
    **dict.fromkeys(
        ("steps", "sampler", "spacing", "guidance", "size", "tile", "film", "invented", "save_intermediate")
    ),
    "eta": 0.0,
    "detail": "transfer",
}
"""Options of `python -m export.edge` that the graph cannot take, and their values where they are not given."""


@dataclass(frozen=True)
class PhotoGraph:
    """An opened file."""

    session: Any
    path: Path
    size: int
    """Side in pixels of the squares the model was trained on."""
    size_multiple: int
    fit: str
    """How the photo is brought to that size: "crop", "letterbox" or "stretch"."""
    codec: Codec
    """Without what runs it: that is in the graph."""
    steps: int
    sampler: str
    spacing: str
    weights_digest: str
    slider: bool
    """Whether it takes a realism."""

    def translate(self, photo: np.ndarray, seed: int = 0, realism: float | None = None) -> np.ndarray:
        """uint8 (height, width, 3) to uint8 of the same size, with the noise of a seed, 0 ... 2^64 - 1.

        `realism`: see `export.edge.translate.Options`. Raises UserError for one that the graph does not take, and where
        the graph fails.
        """
        given = {"realism": np.array([1.0 if realism is None else realism], np.float32)} if self.slider else {}
        check_realism(realism, self.slider)
        noise = np.zeros(0, np.float32)
        if seed != 0:
            height, width = photo.shape[:2]
            sides = working_sides(height, width, self.size, self.size_multiple, self.fit)
            noise = start_noise(seed, self.codec.state_shape((1, *sides))).reshape(-1)
        feeds = {"photo": np.ascontiguousarray(photo), "noise": noise, **given}
        try:
            (picture,) = self.session.run(["picture"], feeds)
        except Exception as error:  # onnxruntime's exceptions share no base class of their own.
            raise UserError(
                f"model {self.path} failed on a photo of {photo.shape[1]} x {photo.shape[0]} ({error}); free some "
                "memory, give a smaller photo or export the model again"
            ) from error
        if picture.shape != photo.shape:
            raise UserError(f"model {self.path} made {picture.shape} of {photo.shape}; export the model again")
        return picture


def photo_path(path: Path, variant: str | None = None) -> Path:
    """The file that is meant by its own path, or by an artifact folder and a variant (None: the reference).

    Raises UserError for a folder without that file, and for a variant of a file.
    """
    if not path.is_dir():
        if variant is not None:
            raise UserError(f"--variant {variant} chooses from an artifact folder, and {path} is none; name the folder")
        return path
    wanted = variant or REFERENCE
    there = [name for name in networks(path)[DENOISER] if (path / FOLDER / photo_file(name)).is_file()]
    if wanted not in there:
        have = f"it has {', '.join(there)}" if there else "it has none"
        raise UserError(
            f"model folder {path} has no {FOLDER}/{photo_file(wanted)} for --graph: {have}; choose another variant, or "
            f"export it with --photo {wanted}"
        )
    return path / FOLDER / photo_file(wanted)


def open_photo_graph(
    path: Path, threads: int | None = None, expect_sha256: str | None = None, variant: str | None = None
) -> PhotoGraph:
    """Open the file at `path`, or that of an artifact folder's `variant`, on the CPU.

    `threads` and `expect_sha256` as in `export.edge.model.artifact.open_artifact`. Raises UserError when onnxruntime is
    not installed, and when the file is missing, too large, another one than expected, not one of ours, or damaged.
    """
    file = photo_path(path, variant)
    session, metadata = open_sealed(file, threads, expect_sha256)
    found = (metadata.get("format", ""), metadata.get("format_version", ""))
    if found != (FORMAT, FORMAT_VERSION):
        raise UserError(
            f"model {file} has the format {' '.join(found).strip()[:60]!r}, expected {FORMAT} {FORMAT_VERSION}; give a "
            "file photo*.onnx, or leave out --graph"
        )
    slider = any(found.name in REALISM for found in session.get_inputs())
    check_graph(session, file, INPUTS | (REALISM if slider else {}), OUTPUTS)
    try:
        size, multiple, steps = (int(metadata[key]) for key in ("size", "size_multiple", "steps"))
        fit, sampler, spacing, digest = (metadata[key] for key in ("fit", "sampler", "spacing", "weights_digest"))
        if not (0 < size <= LARGEST_SIZE and 0 < multiple <= LARGEST_SIZE and steps > 0 and fit in FITS):
            raise ValueError("its sizes make no sense")
    except (KeyError, ValueError) as error:
        raise UserError(f"model {file} lacks or mangles metadata ({str(error)[:60]}); export it again") from error
    codec = read_codec(metadata.get("codec", ""), f"model {file}: codec")
    return PhotoGraph(session, file, size, multiple, fit, codec, steps, sampler, spacing, digest, slider)
