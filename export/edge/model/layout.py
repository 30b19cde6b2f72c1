"""Where the files of an exported model lie.

`networks.json` names the networks of an artifact, and of each its variants with their files:

    {"networks": {"denoiser": {"fp32": {"file": "model.onnx", "bar_db": null, "description": "float32"}, …}}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_json
from export.edge.disk.reading import parse_json, read_text
from export.edge.errors import UserError
from export.edge.model.variants import LONGEST_LABEL, REFERENCE, VARIANTS, Variant
from export.edge.plugins import shown

FOLDER = "onnx"
DENOISER = "denoiser"
"""The network that every artifact has."""
NETWORKS_FILE = "networks.json"
SAMPLER = "sampler.onnx"
"""In the same folder as the networks: the whole sampling loop in one graph."""
UNROLLED = "sampler_unrolled.onnx"
"""There too: the same without the operator Loop."""
PHOTO = "photo"
"""What the files of whole translations begin with, see `export.edge.model.photo`."""
OPERATORS = "required_operators.config"
"""There too, where whole translations were also written in ORT format: the operators that these need."""
SUMS = "SHA256SUMS"
BUNDLE = "model.safetensors"
"""The weights with all that belongs to them: in the folder of a run and in that of an artifact."""


def photo_file(variant: str) -> str:
    """The name of the file that holds a whole translation with this variant of the denoiser."""
    return f"{PHOTO}.onnx" if variant == REFERENCE else f"{PHOTO}_{variant}.onnx"


def ort_file(variant: str) -> str:
    """The name of the file that holds the same in onnxruntime's own format."""
    return f"{Path(photo_file(variant)).stem}.ort"


ARTIFACT_FILES = (
    *(f"{FOLDER}/{variant.file}" for variant in VARIANTS.values()),
    f"{FOLDER}/{SAMPLER}",
    f"{FOLDER}/{UNROLLED}",
    *(f"{FOLDER}/{file(name)}" for name in VARIANTS for file in (photo_file, ort_file)),
    f"{FOLDER}/{OPERATORS}",
    BUNDLE,
    "config.json",
    "preprocessor_config.json",
    "sampler_config.json",
    NETWORKS_FILE,
    "README.md",
    "golden/input.png",
    "golden/output.png",
    "golden/golden.json",
    SUMS,
)
"""What an export may write, and may replace or remove, with the files that `networks.json` names."""
_MOST_BYTES = 2**20
"""Of `networks.json`."""
_MOST_FILES = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def ours(folder: Path) -> tuple[str, ...]:
    """ARTIFACT_FILES and the files that a folder's own `networks.json` names. Raises UserError as `networks` does."""
    held = networks(folder)
    named = (variant.file for variants in held.values() for variant in variants.values())
    whole = (file(name) for name in held[DENOISER] for file in (photo_file, ort_file))
    return tuple(dict.fromkeys((*ARTIFACT_FILES, *(f"{FOLDER}/{file}" for file in (*named, *whole)))))


def networks(folder: Path) -> dict[str, dict[str, Variant]]:
    """The variants of each network of an artifact, by name, as its `networks.json` says.

    Without that file, as older exports left it: a denoiser, in any of VARIANTS. Raises UserError for a file that is
    not as described above, that names a file twice, or a name of another kind.
    """
    path = folder / NETWORKS_FILE
    if not path.exists():
        return {DENOISER: dict(VARIANTS)}
    text = read_text(path, "artifact's networks", _MOST_BYTES)
    try:
        held = {
            _name(network): {_name(name): _variant(entry) for name, entry in variants.items()}
            for network, variants in parse_json(text)["networks"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} names no networks as an export does ({error}); export the bundle again") from error
    except UserError as error:
        raise UserError(f"{path}: {error}; export the bundle again") from error
    _check(held, path)
    return held


def write_networks(folder: Path, held: Mapping[str, Mapping[str, Variant]]) -> None:
    """Write what `networks` reads. Raises UserError for two variants with one file."""
    _check(held, folder / NETWORKS_FILE)
    entries = {network: {name: asdict(one) for name, one in variants.items()} for network, variants in held.items()}
    write_json(folder / NETWORKS_FILE, {"networks": entries})


def _check(held: Mapping[str, Mapping[str, Variant]], path: Path) -> None:
    files = [variant.file.lower() for variants in held.values() for variant in variants.values()]
    taken = {SAMPLER, UNROLLED, *(photo_file(name).lower() for name in held.get(DENOISER, {}))}
    if len(set(files)) < len(files) or len(files) > _MOST_FILES or taken.intersection(files):
        raise UserError(
            f"{path} would name a file twice, {SAMPLER}, {UNROLLED}, {PHOTO}*.onnx, or more than {_MOST_FILES} files "
            f"({shown(files)}); give each variant a file of its own and export again"
        )
    if lacking := [name for name in dict.fromkeys((DENOISER, *held)) if REFERENCE not in held.get(name, {})]:
        raise UserError(f"{path} names no {REFERENCE} of the network {lacking[0]}; export the bundle again")


def _name(value: str) -> str:
    if len(value) > LONGEST_LABEL or not _NAME.fullmatch(value):
        raise UserError(f"it has the name {shown(value)}, not one of letters, digits, dots, dashes and underscores")
    return value


def _variant(entry: dict[str, Any]) -> Variant:
    # Keys that a later export may add are passed over.
    return Variant(entry["file"], entry["bar_db"], entry["description"])


def model_file(path: Path, variant: str | None = None, network: str = DENOISER) -> Path:
    """The model file that is meant by a file's own path, or by an artifact folder and a variant (None: REFERENCE).

    Of a network other than the denoiser, the reference where it lacks the variant. Raises UserError for a folder
    without that file, and for a variant of a file.
    """
    if not path.is_dir():
        if variant is not None:
            raise UserError(f"--variant {variant} chooses from an artifact folder, and {path} is none; name the folder")
        return path
    there = variants(path, network)
    wanted = variant or REFERENCE
    if network != DENOISER and wanted not in there:
        wanted = REFERENCE
    if wanted not in there:
        what = f"model folder {path} has no variant {wanted}" + (f" of {network}" if network != DENOISER else "")
        have = f"it has {', '.join(there)}" if there else f"it has no {FOLDER}/{VARIANTS[REFERENCE].file} at all"
        raise UserError(f"{what}: {have}; choose another or export the model again")
    return there[wanted]


def variants(folder: Path, network: str = DENOISER) -> dict[str, Path]:
    """The variants of a network that an artifact folder holds, and their files. Raises UserError as `networks` does."""
    files = {name: folder / FOLDER / variant.file for name, variant in networks(folder).get(network, {}).items()}
    return {name: file for name, file in files.items() if file.is_file()}
