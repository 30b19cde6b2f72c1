"""The files of an export, each made, tried and kept only where it is good enough."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from export import precision, sampler_graph, sensitivity
from export.edge.errors import UserError
from export.edge.model import artifact
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import SAMPLER, VARIANTS
from export.edge.pictures.arrays import to_float
from export.edge.sampling.guidance import guided
from export.edge.sampling.loop import generate
from export.edge.sampling.noise import start_noise
from export.scoring import BARS, Score, nchw, score, visited
from torch_ref.base import UNet

SAMPLER_BAR = 5e-4
"""Largest difference of a picture in [0, 1] from the host loop's."""
LEAST_ERRORS = (0.03, 0.003, 0.0003)
"""Shares of the error from which on a layer stays in float32: the first that lets the pictures pass is taken."""
MOST_WEIGHTS = 0.12
"""Share of the weights that may stay in float32: then the file has at most 0.12 + 0.88 / 4 = 34 % of the size."""
TRIED = 8
"""Calls of the network on which single layers are tried: a few of every stage of the noise."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    name: str
    score: Score | None
    """Absent for the sampler."""
    exact: Score | None
    """That of float32, taken beside it."""
    note: str
    """For the file that is there: what stayed in float32; for one that is not: why."""
    published: bool


def publish(
    folder: Path, variants: Sequence[str], network: UNet, calibration: Sequence[np.ndarray], tried: Sequence[np.ndarray]
) -> Iterator[Outcome]:
    """Make the `variants` of `folder`/model.onnx beside it; a file under its bar is removed again.

    `network`: the same in torch. `calibration` and `tried`: guiding pictures, uint8
    (side, side, 3), from which the values of an 8-bit network are learned and on which all are judged.
    """
    base = folder / VARIANTS["fp32"]
    graph, exact = onnx.load(base), open_artifact(base)
    reference = {VARIANTS["fp32"]: (exact, base.stat().st_size)}

    def judged(name: str, made: onnx.ModelProto) -> tuple[Score, Score, bool]:
        path = folder / VARIANTS[name]
        write(path, made)
        files = reference | {path.name: (open_artifact(path), path.stat().st_size)}
        of_exact, result = score(files, tried)
        return result, of_exact, result.worst_psnr >= BARS[name]

    if "fp16" in variants:
        yield _outcome(folder, "fp16", *judged("fp16", precision.half(graph)), "the timestep in float32")
    if "int8" in variants:
        feeds = list(visited(exact, calibration))
        few = [feeds[i] for i in np.linspace(0, len(feeds) - 1, min(TRIED, len(feeds))).astype(int)]
        layers = sensitivity.measure(network, few)
        choices = [sensitivity.kept(layers, least, MOST_WEIGHTS) for least in LEAST_ERRORS]
        tries = ((kept, *judged("int8", precision.int8(graph, feeds, kept))) for kept, _ in itertools.groupby(choices))
        kept, result, of_exact, passed = _first_that_passes(tries)
        yield _outcome(folder, "int8", result, of_exact, passed, f"{', '.join(kept) or 'nothing'} in float32")


def publish_sampler(
    folder: Path, steps: int | None, sampler: str | None, spacing: str | None, picture: np.ndarray
) -> Outcome:
    """Make `folder`/sampler.onnx of model.onnx beside it, which is there only if it draws what the host loop draws.

    Raises UserError for steps, a sampler or a spacing that were asked for and cannot be; where only
    the model recommends a sampler that cannot be, the outcome says so.
    """
    base, path = folder / VARIANTS["fp32"], folder / SAMPLER
    try:
        graph = sampler_graph.build(onnx.load(base), steps, sampler, spacing)
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
    model = open_artifact(folder / VARIANTS["fp32"])
    data = artifact.read_sealed(folder / SAMPLER)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    held = session.get_modelmeta().custom_metadata_map
    if held.get("format") != sampler_graph.FORMAT or held.get("weights_digest") != model.weights_digest:
        raise UserError(f"{folder / SAMPLER} does not belong to the model.onnx beside it; export the bundle again")
    plan = model.plan(int(held["steps"]), held["sampler"], spacing=held["spacing"])
    cond, seed = to_float(picture)[None], 0
    x = np.empty(0)
    for call in generate(model, cond, plan, seed, guided(model.denoise, model.guidance)):
        x = call.x
    (found,) = session.run(["picture"], {"cond": nchw(cond), "noise": nchw(start_noise(seed, cond.shape))})
    wanted = nchw(np.clip(x / 2.0 + 0.5, 0.0, 1.0))
    return float(np.abs(np.asarray(found) - wanted).max())


def write(path: Path, model: onnx.ModelProto) -> None:
    """Write a graph with its digest."""
    path.write_bytes(model.SerializeToString(deterministic=True))
    artifact.seal(path)


def _first_that_passes(
    tries: Iterable[tuple[list[str], Score, Score, bool]],
) -> tuple[list[str], Score, Score, bool]:
    """The first that passes, or the last of all; none behind it is made."""
    found = None
    for found in tries:
        if found[-1]:
            break
    assert found is not None
    return found


def _outcome(folder: Path, name: str, result: Score, exact: Score, passed: bool, note: str) -> Outcome:
    if not passed:
        (folder / VARIANTS[name]).unlink()
        note = f"its worst picture has {result.worst_psnr:.1f} dB against float32's, under the bar of {BARS[name]:.0f}"
    return Outcome(VARIANTS[name], result, exact, note, passed)
