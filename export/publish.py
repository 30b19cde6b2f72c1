"""The files of an export, each made, tried and kept only where it is good enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from export import precision, sampler_graph
from export.edge.errors import UserError
from export.edge.model import artifact
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import DENOISER, SAMPLER, model_file, networks
from export.edge.model.variants import REFERENCE, VARIANTS, Variant
from export.edge.pictures.arrays import to_float
from export.edge.sampling.guidance import guided
from export.edge.sampling.loop import generate
from export.edge.sampling.noise import start_noise
from export.makers import MAKERS, Exported
from export.scoring import Score, nchw, score_files

SAMPLER_BAR = 5e-4
"""Largest difference of a picture in [0, 1] from the host loop's."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    name: str
    score: Score | None
    """Absent for the sampler."""
    exact: Score | None
    """That of float32, measured in turns with it."""
    note: str
    """For the file that is there: what stayed in float32; for one that is not: why."""
    published: bool
    description: str = ""
    """Of the variant."""


def publish(folder: Path, names: Sequence[str], source: Exported, tried: Sequence[np.ndarray]) -> Iterator[Outcome]:
    """Make the variants of these names, of the `source`, in `folder`, where its own file lies; an Outcome for each.

    `tried`: guiding pictures, uint8 (side, side, 3), on which all are judged. A file under its bar is removed again.
    Raises UserError for a name that is not in both VARIANTS and MAKERS.
    """
    for name in names:
        variant, outcome = VARIANTS.find(name, "--variants"), None
        for candidate in MAKERS.find(name, "--variants")(source):
            write(folder / variant.file, precision.finished(candidate.graph, source.graph, name))
            outcome = _judged(folder, variant, candidate.note, tried)
            if outcome.published:
                break
        if outcome is None:
            raise UserError(f"the maker of the variant {name} gave no graph to try; it must give at least one")
        if not outcome.published:
            (folder / variant.file).unlink()
        yield outcome


def _judged(folder: Path, variant: Variant, note: str, tried: Sequence[np.ndarray]) -> Outcome:
    files = [folder / VARIANTS[REFERENCE].file, folder / variant.file]
    exact, found = score_files({file.name: (open_artifact(file), file.stat().st_size) for file in files}, tried)
    if variant.bar_db is None or found.worst_psnr >= variant.bar_db:
        return Outcome(variant.file, found, exact, note, True, variant.description)
    psnr = f"{found.worst_psnr:.1f} dB against float32's, under the bar of {variant.bar_db:.0f}"
    return Outcome(variant.file, found, exact, f"its worst picture has {psnr}", False, variant.description)


def publish_sampler(
    folder: Path, steps: int | None, sampler: str | None, spacing: str | None, picture: np.ndarray
) -> Outcome:
    """Make `folder`/sampler.onnx from its model.onnx; the file is kept only where its picture is the host loop's.

    Raises UserError for steps, a sampler or a spacing that were asked for and cannot be; where only
    the model recommends a sampler that cannot be, the outcome says so.
    """
    base, path = folder / VARIANTS[REFERENCE].file, folder / SAMPLER
    try:
        root = folder.parent
        others = {name: onnx.load(model_file(root, network=name)) for name in networks(root) if name != DENOISER}
        graph = sampler_graph.build(onnx.load(base), steps, sampler, spacing, others)
    except UserError as error:
        if steps is not None or sampler is not None or spacing is not None:
            raise
        return Outcome(SAMPLER, None, None, str(error), False)
    write(path, graph)
    difference = sampler_difference(folder, picture)
    if not difference <= SAMPLER_BAR:
        path.unlink()
        return Outcome(SAMPLER, None, None, f"it differs from the host loop by {difference:.1e}", False)
    return Outcome(SAMPLER, None, None, f"largest difference from the host loop {difference:.1e}", True)


def sampler_difference(folder: Path, picture: np.ndarray) -> float:
    """How far `folder`/sampler.onnx is from the host loop around model.onnx, in [0, 1].

    `picture`: uint8 (height, width, 3). Raises UserError where the two do not belong together.
    """
    model = open_artifact(folder / VARIANTS[REFERENCE].file)
    data = artifact.read_sealed(folder / SAMPLER)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    held = session.get_modelmeta().custom_metadata_map
    if held.get("format") != sampler_graph.FORMAT or held.get("weights_digest") != model.weights_digest:
        raise UserError(f"{folder / SAMPLER} does not belong to the model.onnx there; export the bundle again")
    plan = model.plan(int(held["steps"]), held["sampler"], spacing=held["spacing"])
    cond, seed = to_float(picture)[None], 0
    x = np.empty(0)
    for call in generate(model, cond, plan, seed, guided(model.denoise, model.guidance)):
        x = call.x
    noise = start_noise(seed, model.codec.state_shape(cond.shape))
    (found,) = session.run(["picture"], {"cond": nchw(cond), "noise": nchw(noise)})
    wanted = nchw(np.clip(model.codec.decode(x) / 2.0 + 0.5, 0.0, 1.0))
    return float(np.abs(np.asarray(found) - wanted).max())


def write(path: Path, model: onnx.ModelProto) -> None:
    """Write a graph with its digest."""
    path.write_bytes(model.SerializeToString(deterministic=True))
    artifact.seal(path)
