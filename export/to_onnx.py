"""`python -m export.to_onnx runs/mine --output artifact/`: trained weights as a folder of ONNX files."""

from __future__ import annotations

import argparse
import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export import codec_graph
from export.arguments import make_parser
from export.denoiser_graph import build_graph
from export.edge import plugins
from export.edge.disk.files import atomic_file, check_output_folder, write_text
from export.edge.disk.sums import check_sums
from export.edge.errors import UserError, run
from export.edge.model import sealed
from export.edge.model.artifact import open_artifact
from export.edge.model.codec import SIDES
from export.edge.model.layout import BUNDLE, DENOISER, FOLDER, SAMPLER, UNROLLED, model_file, write_networks
from export.edge.model.metadata import sources_of
from export.edge.model.variants import REFERENCE, VARIANTS, Variant
from export.edge.model.words import NO_WORDS, WORDS, Words, check_line
from export.folder import measured_of, staged, write_configs, write_golden
from export.makers import Exported
from export.model_card import Facts, card, evaluation_lines, parity_lines, read_report
from export.ort_format import publish_ort
from export.probes import listed, paint_photos, probe_pictures
from export.publish import Outcome, publish, publish_photo, publish_sampler, write
from export.run_weights import RunWeights, find_weights, is_run
from export.scoring import working_side
from export.verify import BAR, compare
from torch_ref.weights import Bundle, load_bundle


def export(
    bundle: Bundle, output: Path, file: str = VARIANTS[REFERENCE].file, words: Words = NO_WORDS
) -> tuple[Path, float]:
    """Write the bundle's model as `file` of `output`/onnx; returns its path and its largest difference from torch.

    The file appears, or replaces the one that is there, only once onnxruntime has
    given torch's numbers with it. Raises UserError when it differs by more than BAR, or
    when a folder cannot be made; then nothing is left behind.
    """
    path = output / FOLDER / file
    model = build_graph(bundle, words)
    with _folders(output, path.parent), atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        sealed.seal(temporary)
        difference = compare(bundle, temporary)
        if not difference <= BAR:
            raise UserError(
                f"the exported graph differs from torch by {difference:.1e}, more than {BAR:.0e}, so it was not "
                "written; install the pinned versions with `pip install -c constraints.txt torch onnx onnxruntime`"
            )
    return path, difference


@contextlib.contextmanager
def _folders(*folders: Path) -> Iterator[None]:
    """Make the folders that are not there yet, outermost first; after a failure those that were made are gone again."""
    made: list[Path] = []
    try:
        for folder in folders:
            if not folder.is_dir():
                folder.mkdir()
                made.append(folder)
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for a path that cannot be used and for a graph that is not exact."""
    args = make_parser().parse_args(plugins.take(argv, "export"))
    source = find_weights(args.source)
    loops = _check(args)
    bundle = load_bundle(source.bundle)
    evaluation = _evaluation(args.evaluation, source, bundle)
    parity = _report(args.parity, "--parity", parity_lines, bundle)
    words = _words(args, bundle.config.get("data", {}))
    own = None if args.calibrate is None else listed(args.calibrate, "--calibrate")

    with staged(args.output) as new:
        held, difference = _export_networks(args, source.bundle, bundle, new, words)
        model, path = open_artifact(new), model_file(new)
        side = working_side(model)
        calibration, tried = probe_pictures(own, side, model.fit)
        made = Exported(onnx.load(path), model, bundle.model, calibration)
        outcomes = []
        for outcome in _published(args, loops, held[DENOISER], made, tried, path.parent):
            outcomes.append(outcome)
            _tell(args.output, new, outcome)
        write_networks(new, held)
        shutil.copyfile(source.bundle, new / BUNDLE)
        write_configs(new, bundle, model, evaluation)
        write_golden(new, model)
        facts = Facts(args.license, outcomes, difference, evaluation, parity, words, source.name)
        write_text(new / "README.md", card(bundle, facts))
    print(f"{args.output}  {check_sums(args.output)} files, known by their digests in SHA256SUMS")


def _check(args: argparse.Namespace) -> list[str]:
    """Find the mistakes that can be found before anything is read; the files of sampling loops that shall be made."""
    check_output_folder(args.output, "--output")
    if is_run(args.output):
        inside = args.output / "artifact"
        raise UserError(f"--output {args.output} is the folder of a run; name another, such as {inside}")
    if args.output.is_dir():
        check_output_folder(args.output / FOLDER, "--output")
    loops = [name for name, made in ((SAMPLER, not args.no_sampler), (UNROLLED, args.unrolled)) if made]
    if not loops and not args.photo and (args.steps, args.sampler, args.spacing) != (None, None, None):
        raise UserError("--steps, --sampler and --spacing are for sampler.onnx and photo.onnx, and both are left out")
    if args.ort and not args.photo:
        raise UserError("--ort writes photo.onnx in another format, and --photo leaves it out; leave one of them out")
    return loops


def _published(
    args: argparse.Namespace,
    loops: Sequence[str],
    held: dict[str, Variant],
    made: Exported,
    tried: Sequence[np.ndarray],
    folder: Path,
) -> Iterator[Outcome]:
    """Make the loops, the variants of the network and the whole translations in `folder`.

    `held`: the variants that are wanted; those that are left out are removed from it.
    """
    settings = (args.steps, args.sampler, args.spacing)
    for loop in loops:
        yield publish_sampler(folder, *settings, tried[0], loop)
    names = [name for name in held if name != REFERENCE]
    for name, outcome in zip(names, publish(folder, names, made, tried), strict=True):
        if not outcome.published:
            del held[name]
        yield outcome
    photos, whole = paint_photos(working_side(made.model)), list(dict.fromkeys(args.photo))
    for name in whole:
        yield publish_photo(folder, name, *settings, photos)
    if args.ort:
        yield from publish_ort(folder, whole, photos)


def _export_networks(
    args: argparse.Namespace, path: Path, bundle: Bundle, new: Path, words: Words
) -> tuple[dict[str, dict[str, Variant]], float]:
    """Write the denoiser, and the networks from which the tables start, each in float32; `path` is the bundle's.

    Returns what `networks.json` shall say, with the variants that are still to be made, and the largest difference
    from torch.
    """
    held = {DENOISER: {name: VARIANTS[name] for name in dict.fromkeys((REFERENCE, *args.variants))}}
    sources = sources_of(bundle.tables)
    if clash := SIDES.keys() & bundle.networks.keys():
        raise UserError(f"the bundle has a network {min(clash)}, and a codec's file is called so; rename the network")
    held |= {name: {REFERENCE: Variant(f"{name}.onnx", None, "float32")} for name in sources}
    codec = codec_graph.build(bundle)
    held |= {name: codec_graph.FILES[name] for name in codec}
    write_networks(new, held)
    differences = [_export_codec(bundle, codec, args.output, new)] if codec else []
    for name in (*sources, DENOISER):  # The denoiser is opened with the others.
        model = bundle if name == DENOISER else load_bundle(path, name)
        file, difference = export(model, new, held[name][REFERENCE].file, words)
        _say(args.output, new, f"onnx/{file.name}", f"largest difference from torch {difference:.1e}")
        differences.append(difference)
    return held, max(differences)


def _export_codec(bundle: Bundle, graphs: Mapping[str, onnx.ModelProto], output: Path, new: Path) -> float:
    (new / FOLDER).mkdir()
    paths = [new / FOLDER / codec_graph.FILES[name][REFERENCE].file for name in graphs]
    for path, graph in zip(paths, graphs.values(), strict=True):
        write(path, graph)
    difference = codec_graph.difference(bundle, new)
    if not difference <= BAR:
        raise UserError(f"the codec's graphs differ from torch by {difference:.1e}, more than {BAR:.0e}")
    for path in paths:
        _say(output, new, f"onnx/{path.name}", f"largest difference from torch {difference:.1e}")
    return difference


def _words(args: argparse.Namespace, data: Mapping[str, Any]) -> Words:
    """What is asked for; else, of a model of the built-in scenes, what they show."""
    words = NO_WORDS
    if data.get("path") == "synthetic":
        names = ("sunrise", "sunset")
        words = Words("", *(names if data.get("direction", "forward") == "forward" else names[::-1]))
    asked = {
        name: check_line(text, f"--{name.replace('_', '-')}")
        for name in WORDS
        if (text := getattr(args, name)) is not None
    }
    return replace(words, **asked)


def _evaluation(path: Path | None, source: RunWeights, bundle: Bundle) -> dict[str, Any] | None:
    """The evaluation that is named, or else that of the run, which is left out, with a note, where it is another's."""
    if path is not None or source.report is None:
        return _report(path, "--evaluation", _shown, bundle)
    try:
        return _report(source.report, "evaluation", _shown, bundle)
    except UserError as error:
        print(f"note: {error}; the model card is written without it", flush=True)
        return None


def _shown(evaluation: Mapping[str, Any]) -> list[str]:
    """What the artifact takes of an evaluation; an error of Python where something is missing."""
    measured_of(evaluation)
    return evaluation_lines(evaluation)


def _report(
    path: Path | None, what: str, show: Callable[[Mapping[str, Any]], list[str]], bundle: Bundle
) -> dict[str, Any] | None:
    return None if path is None else read_report(path, what, show, bundle.weights_digest)


def _tell(output: Path, new: Path, outcome: Outcome) -> None:
    name = f"onnx/{outcome.name}"
    if not outcome.published:
        advice = "" if outcome.score is None else "; try --calibrate with pictures like those to translate"
        print(f"left out: {output / name}: {outcome.note}{advice}", flush=True)
        return
    score, exact = outcome.score, outcome.exact
    figures = ""
    if score is not None and exact is not None:
        times = f"{score.step_ms:.1f} ms a step, float32 {exact.step_ms:.1f}"
        figures = f"worst picture {score.worst_psnr:.1f} dB, {times}; "
    _say(output, new, name, figures + outcome.note)


def _say(output: Path, new: Path, name: str, note: str) -> None:
    print(f"{output / name}  {(new / name).stat().st_size / 1e6:.1f} MB  {note}", flush=True)


def cli() -> None:
    """The console script."""
    run(main)


if __name__ == "__main__":
    cli()
