"""The folder of an artifact: laid out as model hubs expect, whole before anyone sees it, known by its digests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.disk.files import exchange, sha256_file, sync_folder, sync_tree, write_json, write_text
from export.edge.disk.reading import parse_json, read_text
from export.edge.errors import UserError
from export.edge.model.artifact import Artifact, open_artifact
from export.edge.model.layout import ARTIFACT_FILES, FOLDER, SUMS, ours
from export.edge.model.variants import REFERENCE, VARIANTS
from export.edge.pictures.files import open_picture, save_picture
from export.edge.sampling.noise import start_noise
from export.edge.sampling.tables import write_tables
from export.probes import paint_probe
from export.scoring import draw, working_side
from torch_ref.weights import Bundle

GOLDEN_SCENE = 1000
"""Of `export.probes.paint_probe`; no other use of it paints this one."""
GOLDEN_BAR = 2
"""Largest difference of a golden picture, levels of 255."""


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Yield an empty folder; on success its files, with SHA256SUMS over them, become `output`, else nothing changes.

    A new `output` appears in one rename, and takes the place of an earlier export in one where the system can do that.
    Where other files lie there too, they stay, and files of the export are replaced one by one, with no SHA256SUMS
    among them until all are; those that this one lacks are removed.
    """
    replaceable = not output.exists() or _may_be_replaced(output)
    inside = output.parent if replaceable else output
    place = Path(tempfile.mkdtemp(dir=inside, prefix=f".{output.name}."))
    try:
        new = place / "artifact"
        new.mkdir()
        yield new
        names = sorted(path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file())
        write_text(new / SUMS, "".join(f"{sha256_file(new / name)}  {name}\n" for name in names))
        sync_tree(new)
        known = _ours(output)
        if not output.exists():
            new.replace(output)
        elif not (replaceable and _holds_nothing_else(output, known) and exchange(new, output)):
            for name in known:
                if name not in names:
                    (output / name).unlink(missing_ok=True)
            for name in (*names, SUMS):
                (output / name).parent.mkdir(exist_ok=True)
                (new / name).replace(output / name)
            for folder in {(output / name).parent for name in names}:
                sync_folder(folder)
        sync_folder(inside)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _may_be_replaced(folder: Path) -> bool:
    """Whether another folder can take a folder's name: not where it is a link, a mount, or its parent is read-only."""
    parent = folder.absolute().parent
    same_disk = folder.stat().st_dev == parent.stat().st_dev
    return same_disk and not folder.is_symlink() and os.access(parent, os.W_OK)


def _ours(folder: Path) -> Collection[str]:
    """What an earlier export may have left in a folder."""
    try:
        return ours(folder)
    except UserError:  # Damaged: it is replaced too.
        return ARTIFACT_FILES


def _holds_nothing_else(folder: Path, known: Collection[str]) -> bool:
    """Whether a folder holds files of an export alone."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return all(path.relative_to(folder).as_posix() in known for path in files)


def write_configs(folder: Path, bundle: Bundle, model: Artifact, evaluation: Mapping[str, Any] | None = None) -> None:
    """config.json, preprocessor_config.json and sampler_config.json, for programs that read JSON and no ONNX metadata.

    `rescale_factor`, `image_mean` and `image_std` are what image processors call bytes brought to [-1, 1].
    `evaluation`: an evaluation.json; its curve over realisms becomes `measured` of sampler_config.json, see
    `measured_of`.
    """
    section: dict[str, Any] = dict(bundle.config["model"])
    write_json(folder / "config.json", section | model.words.entries() | {"weights_digest": bundle.weights_digest})
    preprocessor = {
        # The class of transformers that does all but the cropping: for square pictures the same, value for value.
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": model.size, "width": model.size},
        "size_multiple": model.size_multiple,
        "fit": model.fit,
        "do_resize": True,
        "resample": 1,  # Lanczos, by Pillow's number.
        "do_rescale": True,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    write_json(folder / "preprocessor_config.json", preprocessor)
    sampler = {
        "sampler": model.sampler,
        "steps": model.steps,
        "spacing": model.spacing,
        "prediction": model.prediction,
        "clamp": model.clamp,
        "threshold": model.threshold,
        "guidance": model.guidance,
        "cond_dropout": model.cond_dropout,
        "timesteps": model.timesteps,
        "alphas_cumprod": None if model.alphas_cumprod is None else model.alphas_cumprod.tolist(),
    }
    if model.tables is not None:
        sampler["tables"] = json.loads(write_tables(model.tables))
    if evaluation is not None and (measured := measured_of(evaluation)) is not None:
        sampler["measured"] = measured
    write_json(folder / "sampler_config.json", sampler)


def measured_of(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an evaluation measured along a slider: the number of pairs, and points [realism, ΔE2000, joint SWD × 10³],
    realism rising. None where there is no such curve, or none of held-out pairs.

    Raises KeyError or TypeError for a curve that no evaluation writes.
    """
    points = [
        [point["realism"], *(point["metrics"][name]["mean"] for name in ("delta_e", "joint_swd"))]
        for point in sorted(evaluation.get("realism_curve", ()), key=lambda point: point["realism"])
    ]
    if len(points) < 2 or evaluation["data"].get("split") == "train":
        return None
    return {"pairs": evaluation["data"]["pairs"], "points": points}


def write_golden(folder: Path, model: Artifact) -> None:
    """A painted picture, and what the model makes of it with the noise of seed 0, as it recommends."""
    golden = folder / "golden"
    golden.mkdir()
    picture = paint_probe(GOLDEN_SCENE, working_side(model))
    seed = 0
    save_picture(golden / "input.png", picture)
    save_picture(golden / "output.png", draw(model, picture, seed).picture)
    facts = {
        "input": "input.png",
        "output": "output.png",
        "model": f"{FOLDER}/{VARIANTS[REFERENCE].file}",
        "seed": seed,
        "first_noise": start_noise(seed, (4,)).tolist(),
        "steps": model.steps,
        "sampler": model.sampler,
        "spacing": model.spacing,
        "guidance": model.guidance,
        "largest_difference": GOLDEN_BAR,
    }
    write_json(golden / "golden.json", facts)


def check_golden(folder: Path) -> int:
    """Draw the golden picture again; the largest difference, levels of 255. Raises UserError for files of others."""
    golden = folder / "golden"
    path = golden / "golden.json"
    try:
        seed = parse_json(read_text(path, "golden"))["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"golden {path} has no seed ({error}); export the bundle again") from error
    if type(seed) is not int or not 0 <= seed < 2**64:
        raise UserError(f"golden {path} has the seed {seed!r}, not a whole number below 2^64; export the bundle again")
    drawn = draw(open_artifact(folder), open_picture(golden / "input.png"), seed).picture
    wanted = open_picture(golden / "output.png")
    if drawn.shape != wanted.shape:
        raise UserError(f"golden {golden}: input and output differ in size; export the bundle again")
    return int(np.abs(drawn.astype(int) - wanted.astype(int)).max())
