"""The files of an export, each made, tried and kept only where it is good enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from export import photo_graph, precision, sampler_graph, unrolled_graph
from export.edge.errors import UserError
from export.edge.model import sealed
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import DENOISER, SAMPLER, UNROLLED, model_file, networks, photo_file, variants
from export.edge.model.photo import PhotoGraph, open_photo_graph
from export.edge.model.variants import REFERENCE, VARIANTS, Variant
from export.edge.pictures.arrays import to_float
from export.edge.sampling.guidance import guided
from export.edge.sampling.loop import generate
from export.edge.sampling.noise import start_noise
from export.edge.translate import Options, translate
from export.makers import MAKERS, Exported
from export.scoring import Score, nchw, score_files

SAMPLER_BAR = 5e-4
"""Largest difference of a picture in [0, 1] from the host loop's."""
PHOTO_BAR = 2
"""Largest difference of a whole translation in one graph from `export.edge`, levels of 255."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    name: str
    score: Score | None
    """Absent for the sampler and for whole translations."""
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
    folder: Path,
    steps: int | None,
    sampler: str | None,
    spacing: str | None,
    picture: np.ndarray,
    file: str = SAMPLER,
) -> Outcome:
    """Make SAMPLER or UNROLLED in `folder` from its model.onnx; kept only where its picture is the host loop's.

    Raises UserError for steps, a sampler or a spacing that were asked for and cannot be; where only
    the model recommends a sampler that cannot be, the outcome says so.
    """
    base, path = folder / VARIANTS[REFERENCE].file, folder / file
    try:
        graph = sampler_graph.build(onnx.load(base), steps, sampler, spacing, _others(folder.parent))
    except UserError as error:
        if steps is not None or sampler is not None or spacing is not None:
            raise
        return Outcome(file, None, None, str(error), False)
    write(path, unrolled_graph.build(graph) if file == UNROLLED else graph)
    difference = sampler_difference(folder, picture, file)
    if not difference <= SAMPLER_BAR:
        path.unlink()
        return Outcome(file, None, None, f"it differs from the host loop by {difference:.1e}", False)
    return Outcome(file, None, None, f"largest difference from the host loop {difference:.1e}", True)


def publish_photo(
    folder: Path, name: str, steps: int | None, sampler: str | None, spacing: str | None, tried: Sequence[np.ndarray]
) -> Outcome:
    """Make the whole translation with a variant of the denoiser, in `folder`; kept where its pictures are the edge's.

    `tried`: photos, uint8 (height, width, 3). Raises UserError as `publish_sampler` does.
    """
    root, path = folder.parent, folder / photo_file(name)
    there = variants(root)
    if name not in there:
        return Outcome(path.name, None, None, f"there is no {networks(root)[DENOISER][name].file} to put in it", False)
    try:
        loop = sampler_graph.build(onnx.load(there[name]), steps, sampler, spacing, _others(root))
    except UserError as error:
        if steps is not None or sampler is not None or spacing is not None:
            raise
        return Outcome(path.name, None, None, str(error), False)
    write(path, photo_graph.build(loop, half=name != REFERENCE))
    levels = photo_difference(root, name, tried)
    if levels > PHOTO_BAR:
        path.unlink()
        return Outcome(path.name, None, None, f"it differs from export.edge by {levels} of 255 levels", False)
    return Outcome(path.name, None, None, f"largest difference from export.edge {levels} of 255 levels", True)


def _others(root: Path) -> dict[str, onnx.ModelProto]:
    """The graphs of an artifact's other networks and of its codec."""
    return {name: onnx.load(model_file(root, network=name)) for name in networks(root) if name != DENOISER}


def photo_difference(root: Path, name: str, photos: Sequence[np.ndarray], graph: PhotoGraph | None = None) -> int:
    """How far a whole translation in one graph is from `export.edge` with the same variant, levels of 255.

    `graph`: by default that of `root`. Raises UserError where the two do not belong together.
    """
    graph, model = graph or open_photo_graph(root, variant=name), open_artifact(root, variant=name)
    if graph.weights_digest != model.weights_digest:
        raise UserError(f"{graph.path} was made from other weights than the model; export the bundle again")
    levels = 0
    for realism in (0.0, 1.0) if graph.slider else (None,):
        options = Options(graph.steps, graph.sampler, graph.spacing, realism=realism)
        for photo in photos:
            found, wanted = graph.translate(photo, realism=realism), translate(model, photo, options)
            levels = max(levels, int(np.abs(found.astype(int) - wanted.astype(int)).max()))
    return levels


def sampler_difference(folder: Path, picture: np.ndarray, file: str = SAMPLER) -> float:
    """How far SAMPLER or UNROLLED in `folder` is from the host loop around model.onnx, in [0, 1].

    `picture`: uint8 (height, width, 3). Raises UserError where the two do not belong together.
    """
    model = open_artifact(folder / VARIANTS[REFERENCE].file)
    data = sealed.read_sealed(folder / file)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    held = session.get_modelmeta().custom_metadata_map
    if held.get("format") != sampler_graph.FORMAT or held.get("weights_digest") != model.weights_digest:
        raise UserError(f"{folder / file} does not belong to the model.onnx there; export the bundle again")
    cond, seed, differences = to_float(picture)[None], 0, []
    noise = start_noise(seed, model.codec.state_shape(cond.shape))
    for realism in (0.0, 1.0) if model.slider else (None,):
        plan = model.plan(int(held["steps"]), held["sampler"], spacing=held["spacing"], realism=realism)
        x = np.empty(0)
        for call in generate(model, cond, plan, seed, guided(model.denoise, model.guidance)):
            x = call.x
        given = {} if realism is None else {"realism": np.array([realism], np.float32)}
        (found,) = session.run(["picture"], {"cond": nchw(cond), "noise": nchw(noise), **given})
        wanted = nchw(np.clip(model.codec.decode(x) / 2.0 + 0.5, 0.0, 1.0))
        differences.append(np.abs(np.asarray(found) - wanted).max())
    return float(max(differences))


def write(path: Path, model: onnx.ModelProto) -> None:
    """Write a graph with its digest."""
    path.write_bytes(model.SerializeToString(deterministic=True))
    sealed.seal(path)
