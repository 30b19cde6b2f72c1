"""Where the files of an exported model lie."""

from __future__ import annotations

from pathlib import Path

from export.edge.errors import UserError

FOLDER = "onnx"
VARIANTS = {"fp32": "model.onnx", "fp16": "model_fp16.onnx", "int8": "model_int8.onnx"}
"""The model's files in the folder `onnx` of an artifact, by the precision of their weights."""

SAMPLER = "sampler.onnx"
"""Beside them: the whole sampling loop in one graph."""
SUMS = "SHA256SUMS"
OURS = (
    *(f"{FOLDER}/{name}" for name in (*VARIANTS.values(), SAMPLER)),
    "model.safetensors",
    "config.json",
    "preprocessor_config.json",
    "sampler_config.json",
    "README.md",
    "golden/input.png",
    "golden/output.png",
    "golden/golden.json",
    SUMS,
)
"""Everything that an export may write, and may replace or remove."""


def model_file(path: Path, variant: str | None = None) -> Path:
    """The model file that is meant by a file's own path, or by an artifact folder and a variant ("fp32" if None).

    Raises UserError for a folder without that file, and for a variant of a file.
    """
    if not path.is_dir():
        if variant is not None:
            raise UserError(f"--variant {variant} chooses from an artifact folder, and {path} is none; name the folder")
        return path
    there = variants(path)
    wanted = variant or "fp32"
    if wanted not in there:
        have = f"it has {', '.join(there)}" if there else f"it has no {FOLDER}/{VARIANTS['fp32']} at all"
        raise UserError(
            f"model folder {path} has no variant {wanted}: {have}; choose another or export the model again"
        )
    return there[wanted]


def variants(folder: Path) -> dict[str, Path]:
    """The variants that an artifact folder holds, and their files."""
    files = {name: folder / FOLDER / file for name, file in VARIANTS.items()}
    return {name: file for name, file in files.items() if file.is_file()}
