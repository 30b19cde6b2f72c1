"""An exported model in one line of Python: `export.edge.load("artifact").translate("photo.jpg").save("sunset.jpg")`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

from export.edge.model.artifact import open_artifact
from export.edge.model.metadata import Artifact
from export.edge.pictures.files import open_image
from export.edge.pictures.given import array_of
from export.edge.pretrained import PRETRAINED
from export.edge.translate import OnStep, Options, translate

AS_RECOMMENDED = Options()


@dataclass(frozen=True)
class Model:
    """An opened model that translates pictures on the CPU."""

    artifact: Artifact
    """What was opened: the size it was trained at, the steps and the sampler that it recommends, and so on."""

    @overload
    def translate(
        self,
        picture: np.ndarray,
        steps: int | None = None,
        *,
        seed: int = 0,
        options: Options = AS_RECOMMENDED,
        on_step: OnStep | None = None,
    ) -> np.ndarray: ...

    @overload
    def translate(
        self,
        picture: Image.Image | Path | str,
        steps: int | None = None,
        *,
        seed: int = 0,
        options: Options = AS_RECOMMENDED,
        on_step: OnStep | None = None,
    ) -> Image.Image: ...

    def translate(
        self,
        picture: np.ndarray | Image.Image | Path | str,
        steps: int | None = None,
        *,
        seed: int = 0,
        options: Options = AS_RECOMMENDED,
        on_step: OnStep | None = None,
    ) -> np.ndarray | Image.Image:
        """The translation of a picture, of the picture's own size.

        Args:
            picture: an array, uint8 (height, width, 3), gives such an array; an image of Pillow, or the path of a file,
                gives an image of Pillow, RGB and upright.
            steps: sampling steps, at least 1; more take longer. Default: what the model recommends.
            seed: 0 to 2^64 - 1; the same seed gives the same picture.
            options: all else about sampling and detail.
            on_step: called with (call, total) after each run of the model, see `export.edge.translate.translate`.

        The numbers stay in the colour space of the file's profile. `open_photo` and `save_picture` of
        `export.edge.pictures.files` keep the profile and the date in a new file too.

        Raises UserError for a picture that cannot be read and for options that this model does not have.
        """
        chosen = options if steps is None else replace(options, steps=steps)
        if isinstance(picture, Path | str):
            opened, _ = open_image(Path(picture))
            return translate(self.artifact, opened, replace(chosen, in_place=True), seed=seed, on_step=on_step)
        made = translate(self.artifact, array_of(picture), chosen, seed=seed, on_step=on_step)
        if isinstance(picture, np.ndarray):
            return made
        image = Image.fromarray(made)
        if profile := picture.info.get("icc_profile"):
            image.info["icc_profile"] = profile  # The numbers are still of that colour space.
        return image

    def unlikeness(self, picture: np.ndarray | Image.Image | Path | str) -> float | None:
        """How far a picture is from the pictures that the model was trained on, as a share of the limit.

        Up to 1 is like them. Above 1 is unlike: expect wrong colours. None where the model does not know them: it was
        exported from an older bundle, or was trained on fewer than 10 different inputs. `picture`: as for `translate`.

        Raises UserError for a picture that cannot be read.
        """
        return self.artifact.unlikeness(array_of(picture))


def load(
    path: Path | str = PRETRAINED,
    variant: str | None = None,
    *,
    threads: int | None = None,
    expect_sha256: str | None = None,
) -> Model:
    """Open an exported model: the folder of an artifact, or one of its .onnx files.

    Args:
        path: the folder that `export.to_onnx` wrote, or a file in its folder `onnx`. Default: the model that comes with
            this package, from sunrise to sunset.
        variant: of a folder, `fp32` (default), `fp16`, `int8`, or another that its networks.json names.
        threads: processor threads; default: one for each physical core.
        expect_sha256: the SHA-256 that the file must have, 64 hexadecimal digits; default: any file is taken.

    Raises UserError where onnxruntime is not installed, and for a file that is missing, damaged or not an exported
    model.
    """
    return Model(open_artifact(Path(path), threads, expect_sha256, variant))
