"""What a model file says of itself, in its ONNX metadata, checked: whoever wrote it may have meant harm."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from export.edge.choices import PREDICTIONS, SAMPLERS, SPACINGS
from export.edge.errors import UserError
from export.edge.model.codec import IDENTITY_CODEC, Codec, read_codec
from export.edge.model.entries import clamp_entry, number_entry, schedule_entry, tables_entry
from export.edge.model.layout import DENOISER
from export.edge.model.likeness import Likeness, read_likeness
from export.edge.model.words import NO_WORDS, Words, read_words
from export.edge.pictures.arrays import FITS, LARGEST_SIZE, working
from export.edge.sampling.coordinates import placed
from export.edge.sampling.guidance import check_guidance
from export.edge.sampling.loop import Denoise
from export.edge.sampling.table import COND, Plan, coefficients
from export.edge.sampling.tables import LONGEST_NAME, MOST_TIMESTEPS, Tables, choose, timesteps_of

FORMAT = "dawn2dusk"
FORMAT_VERSION = "2"
FORMAT_VERSIONS = ("1", FORMAT_VERSION)
"""Those that can be read; 2 added `tables`."""
VALUE_RANGE = "[-1, 1]"
METADATA_KEYS = (
    "format",
    "format_version",
    "prediction",
    "clamp",
    "size",
    "size_multiple",
    "fit",
    "value_range",
    "steps",
    "sampler",
    "weights_digest",
    "config",
    "file_digest",
)
LATER_KEYS = {
    "spacing": "trailing",
    "threshold": "0",
    "guidance": "1",
    "cond_dropout": "0",
    "coordinates": "false",
    "plugins": "[]",
    "codec": IDENTITY_CODEC.to_json(),
}
"""Keys that older files lack, with what they mean by that. Running a model needs none of its `plugins`, those that it
was trained with, see `export.edge.plugins.Record`."""
PROCESS_KEYS = ("alphas_cumprod", "tables")
"""Exactly one of them is there: the schedule of gaussian diffusion, or the samplers' tables of another process."""
LIKENESS = "likeness"
"""May be there or not: what the training inputs look like."""
MOST_TEXT = 64 * MOST_TIMESTEPS
"""Characters of one entry; a number of the schedule takes 25."""


@dataclass(frozen=True)
class Artifact:
    """An opened model file."""

    denoise: Denoise
    """denoise(x_t, cond, t): float32 (batch, height, width, 3) twice and int64 (batch,) to the prediction,
    float32 (batch, height, width, 3). Height and width must be multiples of size_multiple. With coordinates, cond
    may have 5 channels, see `export.edge.sampling.coordinates`."""
    alphas_cumprod: np.ndarray | None
    """float64 (T,), falling inside (0, 1); None where there are tables."""
    prediction: str
    """What denoise returns: "eps", "x0" or "v", or what another process calls it."""
    clamp: float | None
    """x0_hat is clamped to [-clamp, clamp] at every step; None leaves it alone."""
    threshold: float
    """Share of a picture's values that dynamic thresholding shrinks into the clamp; 0 for none of it."""
    size: int
    """Side in pixels of the squares the model was trained on."""
    size_multiple: int
    fit: str
    """How training brought pictures to squares: "crop", "letterbox" or "stretch"."""
    steps: int
    """Recommended number of sampler steps."""
    sampler: str
    """Recommended sampler, one of `export.edge.choices.SAMPLERS` or of the tables."""
    spacing: str
    """Recommended choice of timesteps, one of `export.edge.choices.SPACINGS`."""
    guidance: float
    """Recommended guidance scale, see `export.edge.sampling.guidance`; 1 is none."""
    cond_dropout: float
    """Share of guiding pictures that training hid; without any, no other guidance than 1 makes sense."""
    coordinates: bool
    """Whether the model takes the place of each pixel as input."""
    weights_digest: str
    """64 hexadecimal digits, the same for every file made from the same weights."""
    codec: Codec = IDENTITY_CODEC
    """What stands around the denoiser, which works on its states."""
    format_version: str = FORMAT_VERSION
    """Of the file."""
    tables: Tables | None = None
    """The samplers of a process that is not gaussian diffusion."""
    likeness: Likeness | None = None
    """What the training inputs look like; None where the file does not say."""
    words: Words = NO_WORDS
    """What the model is called, and what it turns into what."""

    threads: int | None = None
    """Processor threads that it may use; None for one for each physical core."""
    others: Mapping[str, Denoise] = field(default_factory=dict)
    """The networks of `sources` by name, of the same form as denoise."""

    @property
    def sources(self) -> list[str]:
        """Names of the networks, other than the denoiser, from which the tables start."""
        return sources_of(self.tables)

    @property
    def networks(self) -> dict[str, Denoise]:
        """All networks by name, the denoiser first."""
        return {DENOISER: self.denoise, **self.others}

    @property
    def timesteps(self) -> int:
        """T: timesteps are 0 ... T-1."""
        if self.tables is not None:
            return timesteps_of(self.tables)
        return 0 if self.alphas_cumprod is None else len(self.alphas_cumprod)

    @property
    def samplers(self) -> tuple[str, ...]:
        """Names of the samplers that can run it."""
        return SAMPLERS if self.tables is None else tuple(self.tables)

    def unlikeness(self, picture: np.ndarray | Image.Image) -> float | None:
        """How far a picture is from the training inputs; above 1 is unlike them. None where the file does not say.

        `picture`: uint8 (height, width, 3), or an image of mode RGB, of any size.
        """
        if self.likeness is None:
            return None
        return self.likeness.distance(working(picture, self.size, self.fit, self.size_multiple))

    @property
    def slider(self) -> bool:
        """Whether there is a choice of a realism."""
        return self.tables is not None and self.plan().mean_t is not None

    def plan(
        self,
        steps: int | None = None,
        sampler: str | None = None,
        eta: float = 0.0,
        *,
        spacing: str | None = None,
        realism: float | None = None,
    ) -> Plan:
        """The table of a sampler; None is what the model recommends. Raises UserError for one that cannot be made.

        With tables there is no choice of a spacing: each has its own timesteps. `realism`: see `Plan.at`.
        """
        steps, sampler = self.steps if steps is None else steps, self.sampler if sampler is None else sampler
        if self.tables is not None:
            return choose(self.tables, sampler, steps, eta).at(realism)
        assert self.alphas_cumprod is not None
        spacing = self.spacing if spacing is None else spacing
        plan = coefficients(self.alphas_cumprod, steps, sampler, eta, prediction=self.prediction, spacing=spacing)
        return plan.at(realism)


def sources_of(tables: Tables | None) -> list[str]:
    """Names of the networks, other than the denoiser, from which tables start."""
    plans = (plan for plans in (tables or {}).values() for plan in plans.values())
    return sorted({plan.source for plan in plans} - {COND, DENOISER})


def check_format(metadata: Mapping[str, str], path: Path) -> None:
    """Raise UserError for the metadata of another kind of file, or of another version."""
    found = metadata.get("format", "")
    if found != FORMAT:
        raise UserError(
            f"model {path} has the format {found!r}, expected {FORMAT!r}; give a file model*.onnx of "
            "export.to_onnx, or a file photo*.onnx with --graph"
        )
    version = metadata.get("format_version", "")
    if version not in FORMAT_VERSIONS:
        raise UserError(
            f"model {path} has format version {version!r}, this program reads {' and '.join(FORMAT_VERSIONS)}; "
            "use the matching version of the program or export the model again"
        )


def read_metadata(metadata: Mapping[str, str], denoise: Denoise, path: Path) -> Artifact:
    """The Artifact that runs by `denoise`. Raises UserError, naming the entry, for one that is missing or senseless."""
    missing = [key for key in METADATA_KEYS if key not in metadata]
    process = [key for key in PROCESS_KEYS if key in metadata]
    if missing or not process:
        raise UserError(f"model {path} lacks the metadata {', '.join(missing or PROCESS_KEYS[:1])}; export it again")
    if len(process) > 1:
        raise UserError(f"model {path} has both {' and '.join(process)}; export it again")
    metadata = LATER_KEYS | dict(metadata)
    ours = [*LATER_KEYS, *METADATA_KEYS, *process, LIKENESS]
    if long := [key for key in ours if len(metadata.get(key, "")) > MOST_TEXT]:
        raise UserError(f"model {path}: {min(long)} has more than {MOST_TEXT:,} characters; export it again")

    def choice(key: str, allowed: tuple[str, ...]) -> str:
        if metadata[key] not in allowed:
            raise UserError(
                f"model {path}: {key} is {metadata[key]!r}, not one of {', '.join(allowed)}; export it again"
            )
        return metadata[key]

    def number(key: str, most: int) -> int:
        if not re.fullmatch(r"[1-9][0-9]{0,8}", metadata[key]) or int(metadata[key]) > most:
            raise UserError(
                f"model {path}: {key} is {metadata[key]!r}, not a whole number from 1 to {most}; export it again"
            )
        return int(metadata[key])

    choice("value_range", (VALUE_RANGE,))
    digest = metadata["weights_digest"]
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise UserError(f"model {path}: weights_digest is {digest!r}, not 64 hexadecimal digits; export it again")
    tables = tables_entry(metadata, path) if "tables" in metadata else None
    artifact = Artifact(
        denoise=placed(denoise) if metadata["coordinates"] == "true" else denoise,
        alphas_cumprod=schedule_entry(metadata, path) if tables is None else None,
        prediction=choice("prediction", PREDICTIONS if tables is None else (metadata["prediction"][:LONGEST_NAME],)),
        clamp=clamp_entry(metadata, path),
        threshold=number_entry(metadata, "threshold", 1.0, path),
        size=number("size", LARGEST_SIZE),
        size_multiple=number("size_multiple", LARGEST_SIZE),
        fit=choice("fit", FITS),
        steps=number("steps", MOST_TIMESTEPS),
        sampler=choice("sampler", SAMPLERS if tables is None else tuple(tables)),
        spacing=choice("spacing", SPACINGS),
        guidance=number_entry(metadata, "guidance", sys.float_info.max, path),
        cond_dropout=number_entry(metadata, "cond_dropout", 1.0, path),
        coordinates=choice("coordinates", ("false", "true")) == "true",
        weights_digest=digest,
        codec=read_codec(metadata["codec"], f"model {path}: codec"),
        format_version=metadata["format_version"],
        tables=tables,
        likeness=read_likeness(metadata[LIKENESS], f"model {path}: {LIKENESS}") if LIKENESS in metadata else None,
        words=read_words(metadata, f"model {path}"),
    )
    try:
        artifact.plan()
        check_guidance(artifact.guidance, artifact.cond_dropout)
    except UserError as error:
        raise UserError(f"model {path}: {error}") from error
    return artifact
