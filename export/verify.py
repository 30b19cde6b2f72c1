"""Is an artifact sound? `python -m export.verify artifact/`, or `… model.safetensors model.onnx` for one file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from export import codec_graph
from export.edge import plugins
from export.edge.command import Parser
from export.edge.disk.names import partners
from export.edge.disk.sums import check_sums
from export.edge.errors import UserError, run
from export.edge.model.artifact import Artifact, open_artifact, open_network
from export.edge.model.codec import SIDES
from export.edge.model.layout import (
    DENOISER,
    FOLDER,
    SAMPLER,
    SUMS,
    UNROLLED,
    model_file,
    networks,
    ort_file,
    photo_file,
    variants,
)
from export.edge.model.sealed import read_sealed
from export.folder import GOLDEN_BAR, check_golden
from export.ort_format import ort_difference
from export.probes import listed, opened, paint_photos, probe_pictures
from export.publish import PHOTO_BAR, SAMPLER_BAR, photo_difference, sampler_difference
from export.scoring import STEPS, score_files, working_side
from export.seal import SEAL_BAR, reseal
from torch_ref.weights import Bundle, load_bundle

BAR = 1e-5
"""Largest difference allowed, for outputs of unit size."""


@dataclass(frozen=True)
class Comparison:
    """One comparison."""

    batch: int
    height: int
    width: int
    timesteps: tuple[int, ...]
    difference: float
    """Largest absolute difference, divided by the root mean square of torch's output where that exceeds 1."""


def comparisons(bundle: Bundle, path: Path, threads: int | None = None) -> Iterator[Comparison]:
    """Compare torch with the file at `path` in onnxruntime, one Comparison for each shape.

    The shapes: the smallest picture, an odd batch of a non-square one, the training
    size, and a wider pair; timesteps from 0 to T-1. Raises UserError for a file
    that is not ours, was made from other weights, or predicts what is not finite.
    """
    artifact = open_network(path, threads)
    if artifact.weights_digest != bundle.weights_digest:
        raise UserError(
            f"model {path} was made from other weights ({artifact.weights_digest[:12]}…) than the bundle "
            f"({bundle.weights_digest[:12]}…); export the bundle again"
        )
    multiple = artifact.size_multiple
    side = working_side(artifact)
    shapes = [(1, multiple, multiple), (3, 2 * multiple, 5 * multiple), (1, side, side), (2, side, side + 3 * multiple)]
    times = np.linspace(0, artifact.timesteps - 1, sum(batch for batch, _, _ in shapes)).astype(np.int64)
    rng = np.random.default_rng(0)
    for batch, height, width in shapes:
        t, times = times[:batch], times[batch:]
        x_t = rng.standard_normal(artifact.codec.state_shape((batch, height, width)), np.float32)
        cond = rng.uniform(-1.0, 1.0, x_t.shape).astype(np.float32)
        if artifact.coordinates and batch > 1:
            # A part of a larger picture, besides whole ones, to which either side adds the coordinates by itself.
            cond = np.concatenate([cond, rng.uniform(-1.0, 1.0, (batch, height, width, 2)).astype(np.float32)], axis=-1)
        difference = _difference(bundle, artifact, x_t, cond, t)
        yield Comparison(batch, height, width, tuple(int(v) for v in t), difference)


def compare(bundle: Bundle, onnx_path: Path, threads: int | None = None) -> float:
    """The largest difference of all shapes that `comparisons` tries."""
    return max(row.difference for row in comparisons(bundle, onnx_path, threads))


def _difference(bundle: Bundle, artifact: Artifact, x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> float:
    with torch.inference_mode():
        x_t_nchw, cond_nchw = (torch.from_numpy(a).permute(0, 3, 1, 2).contiguous() for a in (x_t, cond))
        wanted = bundle.model(x_t_nchw, cond_nchw, torch.from_numpy(t)).permute(0, 2, 3, 1).numpy()
    found = artifact.denoise(x_t, cond, t)
    if not (np.isfinite(wanted).all() and np.isfinite(found).all()):
        raise UserError(f"the prediction at timesteps {t.tolist()} is not finite; train again or choose other weights")
    scale = max(1.0, float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64)))))
    return float(np.max(np.abs(wanted - found))) / scale


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for an artifact or a file that is not sound."""
    words = plugins.take(argv, "export")
    parser = Parser(
        prog="python -m export.verify",
        description="Check an artifact: its digests, its ONNX file against torch on the same weights, the final "
        "pictures of every variant, the sampling loop, the golden picture. Or compare one ONNX file with torch.",
    )
    parser.add_argument("source", type=Path, help="the artifact's folder, or a bundle, model.safetensors")
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        help="with a bundle: the exported file, onnx/model.onnx; with --seal: the changed file",
    )
    parser.add_argument(
        "--seal",
        action="store_true",
        help="with an artifact's folder and a model file that another tool changed, such as a simplifier: compare its "
        "pictures with the artifact's, and write its new digest into it where they are the same",
    )
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="guiding pictures (default: painted ones)")
    parser.add_argument("--targets", type=Path, metavar="DIR", help="the true pictures, named like those of --pictures")
    parser.add_argument("--steps", type=int, help=f"sampling steps of a scored picture (default {STEPS})")
    parser.add_argument("--expect-sha256", metavar="DIGEST", help="the SHA-256 that model.onnx must have")
    parser.add_argument("--threads", type=int, help="processor threads; default: one for each physical core")
    args = parser.parse_args(words)
    if args.threads is not None and args.threads < 1:
        raise UserError(f"--threads {args.threads} is less than 1; give at least one or leave it out")
    if args.seal:
        seal_changed(args)
        return
    if args.expect_sha256 is not None:
        read_sealed(model_file(args.source) if args.model is None else args.model, args.expect_sha256)
    if args.model is not None:
        against_torch(args.source, args.model, args.threads)
        return
    if not args.source.is_dir():
        raise UserError(f"{args.source} is no artifact's folder; name one, or a bundle and the ONNX file made from it")
    print(f"{SUMS}: {check_sums(args.source)} files are as they were written")
    bundle, model = args.source / "model.safetensors", open_artifact(args.source)
    for name in networks(args.source):
        if name not in SIDES:
            against_torch(bundle, model_file(args.source, network=name), args.threads, name)
    if model.codec.transform is not None:
        check_codec(bundle, args.source)
    pictures, targets = _pictures(args.pictures, args.targets, model)
    check_variants(args.source, pictures, targets, args.steps, args.threads)
    check_loops(args.source / FOLDER, pictures[0])
    check_photo_graphs(args.source, working_side(model))
    levels = check_golden(args.source)
    print(f"golden picture: largest difference {levels} of 255 levels, allowed {GOLDEN_BAR}")
    if levels > GOLDEN_BAR:
        raise UserError(f"{args.source} draws another golden picture than when it was made; export the bundle again")


def seal_changed(args: argparse.Namespace) -> None:
    """Seal `args.model` again and print what it was compared with. Raises UserError as `export.seal.reseal` does."""
    if args.model is None or not args.source.is_dir():
        raise UserError("--seal needs an artifact's folder and the changed model file; give both")
    pictures, _ = _pictures(args.pictures, None, open_artifact(args.source))
    name, levels = reseal(args.source, args.model, pictures, args.threads)
    print(f"{args.model}: sealed; largest difference from {name} {levels} of 255 levels, allowed {SEAL_BAR}")


def against_torch(bundle_path: Path, model_path: Path, threads: int | None, network: str = DENOISER) -> None:
    """Print the table of `comparisons` for one network. Raises UserError when a shape differs by more than BAR."""
    bundle = load_bundle(bundle_path, network)
    print(f"{'batch':>5}  {'height x width':>14}  {'timesteps':<16}  difference")
    worst = 0.0
    for row in comparisons(bundle, model_path, threads):
        size, times = f"{row.height} x {row.width}", ", ".join(map(str, row.timesteps))
        print(f"{row.batch:>5}  {size:>14}  {times:<16}  {row.difference:.1e}")
        worst = max(worst, row.difference)
    if worst > BAR:
        raise UserError(f"{model_path} differs from torch by {worst:.1e}, more than {BAR:.0e}; export the bundle again")
    print(f"largest difference {worst:.1e}, allowed {BAR:.0e}")


def check_codec(bundle: Path, folder: Path) -> None:
    """Print how far an artifact's codec is from torch's. Raises UserError where that is more than BAR."""
    difference = codec_graph.difference(load_bundle(bundle), folder)
    print(f"codec: largest difference {difference:.1e}, allowed {BAR:.0e}")
    if difference > BAR:
        raise UserError(f"the codec files of {folder} differ from torch by {difference:.1e}; export the bundle again")


def check_loops(folder: Path, picture: np.ndarray) -> None:
    """Print how far the sampling loops in one graph that lie in `folder` are from the host loop, for one picture.

    Raises UserError where that is more than SAMPLER_BAR.
    """
    for loop in (SAMPLER, UNROLLED):
        if not (folder / loop).is_file():
            continue
        difference = sampler_difference(folder, picture, loop)
        print(f"{loop}: largest difference from the host loop {difference:.1e}, allowed {SAMPLER_BAR:.0e}")
        if not difference <= SAMPLER_BAR:
            raise UserError(f"{folder / loop} draws other pictures than the host loop; export the bundle again")


def check_photo_graphs(folder: Path, side: int) -> None:
    """Print how far an artifact's whole translations in one graph are from `export.edge`'s, for painted photos.

    Raises UserError where that is more than PHOTO_BAR.
    """
    photos = paint_photos(side)
    for name in variants(folder):
        for file, difference in ((photo_file(name), photo_difference), (ort_file(name), ort_difference)):
            if not (path := folder / FOLDER / file).is_file():
                continue
            levels = difference(folder, name, photos)
            print(f"{path.name}: largest difference from export.edge {levels} of 255 levels, allowed {PHOTO_BAR}")
            if levels > PHOTO_BAR:
                raise UserError(f"{path} makes other pictures than export.edge; export the bundle again")


def check_variants(
    folder: Path,
    pictures: Sequence[np.ndarray],
    targets: Sequence[np.ndarray] | None,
    steps: int | None,
    threads: int | None,
) -> None:
    """Print a table of an artifact's variants. Raises UserError for one of other weights or under its bar."""
    there, known, reference = variants(folder), networks(folder)[DENOISER], model_file(folder).name
    models = {p.name: (open_artifact(folder, threads, variant=name), p.stat().st_size) for name, p in there.items()}
    exact = models[reference][0]
    if steps is not None:
        exact.plan(steps)
    for name, (model, _) in models.items():
        if model.weights_digest != exact.weights_digest:
            raise UserError(f"{name} of {folder} was made from other weights than {reference}; export the bundle again")
    scores = score_files(models, pictures, targets, steps)
    print(f"{'file':<16}  {'MB':>6}  {'ms/step':>7}  {'ms/picture':>10}  {'worst, mean PSNR':>16}  {'dE2000':>6}")
    for row in scores:
        quality = f"{row.worst_psnr:.1f}, {row.mean_psnr:.1f}" if row.name != reference else "-"
        cells = f"{row.name:<16}  {row.megabytes:>6.1f}  {row.step_ms:>7.1f}  {row.picture_ms:>10.1f}  {quality:>16}"
        print(f"{cells}  {row.delta_e:>6.2f}")
    if targets is not None:
        print(f"{'to the targets':<16}  {'PSNR':>6}  {'SSIM':>6}  {'dE2000':>6}  {'sharpness':>9}  {'SWD x 1000':>10}")
    for row in scores:
        if (near := row.to_target) is not None:
            cells = f"{row.name:<16}  {near.psnr:>6.2f}  {near.ssim:>6.3f}  {near.delta_e:>6.2f}"
            print(f"{cells}  {near.sharpness:>9.2f}  {near.swd:>10.1f}")
    for variant, row in zip(there, scores, strict=True):
        bar = known[variant].bar_db
        if bar is not None and row.worst_psnr < bar:
            raise UserError(
                f"{there[variant]}: the worst picture has {row.worst_psnr:.1f} dB against float32's, under the "
                f"bar of {bar:.0f}; export it again with --calibrate and pictures like these"
            )


def _pictures(
    folder: Path | None, targets: Path | None, model: Artifact
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Guiding pictures, and the true ones where there are any."""
    side = working_side(model)
    if folder is None:
        if targets is not None:
            raise UserError(f"--targets {targets} needs --pictures, the guiding pictures that belong to them")
        return probe_pictures(None, side, model.fit)[1], None
    paths = listed(folder, "--pictures")
    pictures = opened(paths, side, model.fit)
    if targets is None:
        return pictures, None
    named = {path.stem: path for path in listed(targets, "--targets")}
    matched = partners([path.stem for path in paths], named.keys())
    missing = [path.stem for path in paths if path.stem not in matched]
    if missing:
        raise UserError(f"--targets {targets} has no picture called {missing[0]}, as --pictures has; add it")
    return pictures, opened([named[matched[path.stem]] for path in paths], side, model.fit)


def cli() -> None:
    """The console script."""
    run(main)


if __name__ == "__main__":
    cli()
