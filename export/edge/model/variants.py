"""The variants of an exported network, as data: a program that reads an artifact needs no code of a variant.

The code that makes a variant is an entry of the same name in `export.makers.MAKERS`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from export.edge.errors import UserError
from export.edge.plugins import shown
from export.edge.registry import Registry

REFERENCE = "fp32"
"""The variant that all others are compared with; every network has it."""
LONGEST_LABEL = 100
"""Characters of a file name or of a variant's name."""
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.onnx")


@dataclass(frozen=True)
class Variant:
    """One variant of a network. Raises UserError for values that cannot be used."""

    file: str
    """Name of the file in the folder `onnx` of an artifact: ASCII letters, digits, dot, dash, underscore; .onnx."""
    bar_db: float | None
    """Least PSNR, dB, that its worst picture must have against the picture of the reference; None for no such bar."""
    description: str
    """A few words for the model card and the page."""

    def __post_init__(self) -> None:
        if not isinstance(self.file, str) or len(self.file) > LONGEST_LABEL or not _FILE.fullmatch(self.file):
            raise UserError(
                f"the file of a variant is {shown(self.file)}: choose a name that ends in .onnx, of at most "
                f"{LONGEST_LABEL} letters, digits, dots, dashes and underscores"
            )
        number = isinstance(self.bar_db, int | float) and not isinstance(self.bar_db, bool)
        if self.bar_db is not None and not (number and math.isfinite(self.bar_db)):
            raise UserError(f"the bar of {self.file} is {shown(self.bar_db)}: choose a number of dB, or none")
        if not isinstance(self.description, str) or len(self.description) > LONGEST_LABEL:
            raise UserError(f"the description of {self.file} must be a text of at most {LONGEST_LABEL} characters")


VARIANTS: Registry[Variant] = Registry("variant")
"""What an export can publish, and what an artifact without `networks.json` may hold."""
VARIANTS.add(REFERENCE, Variant("model.onnx", None, "float32"))
VARIANTS.add("fp16", Variant("model_fp16.onnx", 45.0, "weights in float16"))
VARIANTS.add("int8", Variant("model_int8.onnx", 35.0, "8 bits"))
