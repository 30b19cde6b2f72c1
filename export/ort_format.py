"""Whole translations in ORT format, which onnxruntime's small builds for phones read, and the operators they need.

A build of onnxruntime with `--include_ops_by_config onnx/required_operators.config --minimal_build extended` has those
operators alone. The file holds the graph after onnxruntime's own optimisations, without those that suit one processor.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.tools.ort_format_model import create_config_from_models

from export.edge.disk.files import write_text
from export.edge.errors import UserError
from export.edge.model.layout import FOLDER, OPERATORS, ort_file, photo_file
from export.edge.model.photo import open_photo_graph
from export.publish import PHOTO_BAR, Outcome, photo_difference

HEADER = "# The operators of the .ort files here, for `--include_ops_by_config` of a build of onnxruntime.\n"


def publish_ort(folder: Path, names: Sequence[str], tried: Sequence[np.ndarray]) -> Iterator[Outcome]:
    """Write those of `names` that have a whole translation in `folder` in ORT format too, and the operators of all.

    tried: photos, uint8 (height, width, 3). A file is kept where its pictures are those of `export.edge`; an Outcome
    for each.
    """
    made = []
    for name in names:
        source, target = folder / photo_file(name), folder / ort_file(name)
        if not source.is_file():
            yield Outcome(target.name, None, None, f"there is no {source.name} to write in ORT format", False)
            continue
        convert(source, target)
        levels = ort_difference(folder.parent, name, tried)
        if levels > PHOTO_BAR:
            target.unlink()
            yield Outcome(target.name, None, None, f"it differs from export.edge by {levels} of 255 levels", False)
            continue
        made.append(target)
        yield Outcome(target.name, None, None, f"largest difference from export.edge {levels} of 255 levels", True)
    if made:
        write_text(folder / OPERATORS, operators(made))


def convert(source: Path, target: Path) -> None:
    """Write an ONNX file in ORT format."""
    options = onnxruntime.SessionOptions()
    # Beyond this level weights are laid out for this machine's vector registers, and constants are folded again.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ORT")
    # Folding would write weights in float16, which are cast where they are used, as large as in float32.
    onnxruntime.InferenceSession(
        str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
    )


def operators(files: Sequence[Path]) -> str:
    """The operators that files in ORT format need, as the scripts that build onnxruntime read them."""
    logger = logging.getLogger("ort_format_model.utils")
    level, logger.level = logger.level, logging.WARNING
    try:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / OPERATORS
            create_config_from_models(list(files), path, False)
            lines = path.read_text().splitlines(keepends=True)
    finally:
        logger.level = level
    # Its own remarks name the folders of this machine.
    return HEADER + "".join(line for line in lines if line.strip() and not line.startswith("#"))


def ort_difference(root: Path, name: str, photos: Sequence[np.ndarray]) -> int:
    """How far a variant's whole translation in ORT format is from `export.edge`, levels of 255.

    Raises UserError where onnxruntime cannot read it.
    """
    path = root / FOLDER / ort_file(name)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own.
        raise UserError(f"model {path} cannot be read by onnxruntime ({error}); export the bundle again") from error
    return photo_difference(
        root, name, photos, replace(open_photo_graph(root, variant=name), session=session, path=path)
    )
