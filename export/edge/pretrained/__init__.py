"""The model that comes with this package: from sunrise to sunset, trained on the built-in scenes."""

from __future__ import annotations

from pathlib import Path

from export.edge.errors import UserError
from export.edge.model.layout import FOLDER

PRETRAINED = Path(__file__).parent / FOLDER / "model_int8.onnx"
"""Its int8 file; its model card is README.md in this folder."""


def or_pretrained(model: Path | None, photo: Path) -> Path:
    """The model that was named, or PRETRAINED where none was.

    Raises UserError where none was, and the photo is a model: then it is the photo or the output that is missing.
    """
    if model is not None:
        return model
    if photo.suffix.lower() == ".onnx" or (photo / FOLDER).is_dir():
        raise UserError(f"{photo} is a model, and of photo and output one is missing; name both after the model")
    return PRETRAINED
