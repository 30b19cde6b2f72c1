"""What `python -m export.edge` does with a photo or a folder of them, once its words are parsed."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from export.edge.arguments import OWN_TILE
from export.edge.disk.files import check_input_file
from export.edge.disk.folders import Job, left_out, plan_jobs, translate_all
from export.edge.errors import UserError
from export.edge.model import likeness
from export.edge.model.artifact import Artifact, open_artifact
from export.edge.model.layout import model_file
from export.edge.model.sealed import Opened, check_sha256
from export.edge.pictures.arrays import check_size, sides_of, working
from export.edge.pictures.files import check_output_picture, open_image, save_picture
from export.edge.progress import Progress
from export.edge.sampling.loop import Call
from export.edge.tiles import check_tile, own_tile
from export.edge.translate import Options, translate

if TYPE_CHECKING:  # Loaded where an option asks for them.
    from export.edge.along import Along
    from export.edge.model.photo import PhotoGraph


def translate_as_told(arguments: argparse.Namespace, opening: Callable[[], Opened] | None) -> None:
    """Do what the words of a command line say, parsed by `export.edge.arguments`; print where the result is.

    `opening`: waits for the model's file where that is being opened, else None. Raises UserError for bad input, and at
    the end when some photos of a folder were passed over.
    """
    jobs, along = _check(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on files that are odd but readable help nobody here.
        if arguments.photo.is_dir():
            _translate_folder(arguments, opening, jobs)
        else:
            _translate_photo(arguments, opening, along)


def _check(arguments: argparse.Namespace) -> tuple[list[Job], Along | None]:
    """Find every mistake that can be found before the model is opened and a photo decoded.

    Returns the photos and where their translations go, and what keeps the way to a picture, where that is asked for.
    """
    folder = arguments.photo.is_dir()
    for option in ("film", "invented", "save_intermediate"):
        if folder and getattr(arguments, option) is not None:
            name = "--" + option.replace("_", "-")
            raise UserError(f"{name} is for one photo, and {arguments.photo} is a folder; leave it out or name a photo")
    jobs = plan_jobs([arguments.photo], arguments.output)
    along = None
    if arguments.film is not None or arguments.save_intermediate is not None:
        from export.edge.along import Along

        along = Along(arguments.save_intermediate, arguments.film, arguments.photo)
    model = _model_path(arguments)
    check_input_file(model, "model")
    if arguments.graph:
        _check_graph_options(arguments)
    written = {"output": arguments.output}
    if arguments.film is not None:
        written["film"] = arguments.film
    if arguments.invented is not None:
        check_output_picture(arguments.invented, "map")
        written["map"] = arguments.invented
    if len({path.resolve() for path in written.values()}) < len(written):
        raise UserError(f"{' and '.join(written)} are the same file; name another file for each")
    for role, path in written.items():
        for what, source in (("model", model), ("photo", arguments.photo)):
            if path.exists() and path.samefile(source):
                raise UserError(f"{role} {path} is the {what} itself; name another file")
    if arguments.steps is not None and arguments.steps < 1:
        raise UserError(f"--steps {arguments.steps} is less than 1; give at least one")
    if arguments.threads is not None and arguments.threads < 1:
        raise UserError(f"--threads {arguments.threads} is less than 1; give at least one")
    if not 0 <= arguments.seed < 2**64:
        raise UserError(f"--seed {arguments.seed} is outside 0 ... 2^64 - 1; choose a number inside")
    if arguments.expect_sha256 is not None:
        check_sha256(arguments.expect_sha256)
    if not 0.0 <= arguments.eta <= 1.0:
        raise UserError(f"--eta {arguments.eta} is outside 0 ... 1; choose a number inside")
    return jobs, along


def _model_path(arguments: argparse.Namespace) -> Path:
    """The file that the model's path, --graph and --variant mean."""
    if not arguments.graph:
        return model_file(arguments.model, arguments.variant)
    from export.edge.model.photo import photo_path  # As below: for --graph alone.

    return photo_path(arguments.model, arguments.variant)


def _check_graph_options(arguments: argparse.Namespace) -> None:
    """Raise UserError for an option that photo.onnx cannot take."""
    from export.edge.model.photo import FIXED

    for name, usual in FIXED.items():
        if (value := getattr(arguments, name)) != usual:
            option = f"--{name.replace('_', '-')} {value}"
            raise UserError(
                f"{option} cannot be had with --graph, in which all but seed and realism is fixed; leave one out"
            )


def _translate_folder(arguments: argparse.Namespace, opening: Callable[[], Opened] | None, jobs: Sequence[Job]) -> None:
    started = time.perf_counter()
    for line in left_out([arguments.photo]):
        print(f"note: {line}", file=sys.stderr)
    model = _open_model(arguments, opening)
    if isinstance(model, Artifact):  # Options that suit no photo are named once, not once for each photo.
        spacing, realism = arguments.spacing, arguments.realism
        model.plan(arguments.steps, arguments.sampler, arguments.eta, spacing=spacing, realism=realism)
        if arguments.size is not None:
            check_size(arguments.size, model.size_multiple)
        if arguments.tile not in (None, OWN_TILE):
            check_tile(model, arguments.tile)
    arguments.output.mkdir(exist_ok=True)
    progress, away = Progress(noun="photo"), dict[str, float | None]()

    def draw(photo: Path, image: Image.Image) -> Image.Image:
        inner = _inner(model, image)
        away[photo.name] = _unlikeness(model, inner)
        return _draw(arguments, model, image, inner)

    try:
        skipped = translate_all(draw, jobs, progress)
    finally:
        progress.close()
    if note := likeness.describe_all(away):
        print(f"note: {note}", file=sys.stderr)
    done = len(jobs) - skipped
    print(f"{arguments.output}: {done} of {len(jobs)} photos in {time.perf_counter() - started:.1f} s")
    if skipped:
        raise UserError(
            f"{skipped} of {len(jobs)} photos of {arguments.photo} were skipped, see above; mend or remove them"
        )


def _translate_photo(arguments: argparse.Namespace, opening: Callable[[], Opened] | None, along: Along | None) -> None:
    started = time.perf_counter()
    image, tags = open_image(arguments.photo)
    if tags.note:
        print(f"note: {tags.note}", file=sys.stderr)
    model = _open_model(arguments, opening)
    if arguments.invented is not None and isinstance(model, Artifact):
        from export.edge.invention import ways

        ways(model, _options(arguments, model, image), arguments.seed)  # Refusals come before the work.
    sides, inner = sides_of(image), _inner(model, image)
    fit = model.fit if arguments.tile is None else "crop"
    tiled = arguments.tile is not None
    progress = Progress(noun="window" if tiled else "step")

    def on_step(call: Call, total: int) -> None:
        if not tiled:
            progress.update(call.index + 1, total)
        if along is not None:
            along.see(call, total, sides, fit)

    maps = _invented(arguments, model, image)  # Before the image is changed in place.
    try:
        result = _draw(arguments, model, image, inner, on_step, progress.update)
    finally:
        progress.close()
    save_picture(arguments.output, result, tags)
    for path, invention in maps.items():
        save_picture(path, invention)
    if note := likeness.describe(arguments.photo.name, _unlikeness(model, inner)):
        print(f"note: {note}", file=sys.stderr)
    if along is not None:
        along.save(result)
    print(f"{arguments.output} ({sides[1]} x {sides[0]}) in {time.perf_counter() - started:.1f} s")


def _invented(
    arguments: argparse.Namespace, model: Artifact | PhotoGraph, image: Image.Image
) -> dict[Path, np.ndarray]:
    """The map of what was invented, by the path that it is to have; nothing where none is asked for."""
    if arguments.invented is None or not isinstance(model, Artifact):
        return {}
    from export.edge.invention import invented

    return {arguments.invented: invented(model, image, _options(arguments, model, image), seed=arguments.seed)}


def _open_model(arguments: argparse.Namespace, opening: Callable[[], Opened] | None) -> Artifact | PhotoGraph:
    words = (arguments.model, arguments.threads, arguments.expect_sha256, arguments.variant)
    if not arguments.graph:
        return open_artifact(*words, opened=opening)
    from export.edge.model.photo import open_photo_graph

    return open_photo_graph(*words)


def _inner(model: Artifact | PhotoGraph, image: Image.Image) -> np.ndarray | None:
    """The photo at the model's own size, uint8 (h, w, 3): likeness is judged by it, and by default it is translated."""
    return working(image, model.size, model.fit, model.size_multiple) if isinstance(model, Artifact) else None


def _unlikeness(model: Artifact | PhotoGraph, inner: np.ndarray | None) -> float | None:
    known = model.likeness if isinstance(model, Artifact) else None
    return None if known is None or inner is None else known.distance(inner)


def _draw(
    arguments: argparse.Namespace,
    model: Artifact | PhotoGraph,
    image: Image.Image,
    inner: np.ndarray | None,
    on_step: Callable[[Call, int], None] | None = None,
    on_window: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """The translation of an image, which is changed."""
    if not isinstance(model, Artifact):
        return Image.fromarray(model.translate(np.asarray(image), arguments.seed, arguments.realism))
    options = _options(arguments, model, image)
    inner = inner if arguments.size is None else None
    return translate(model, image, options, seed=arguments.seed, on_step=on_step, on_window=on_window, inner=inner)


def _options(arguments: argparse.Namespace, model: Artifact, image: Image.Image) -> Options:
    """The options of the command line for this photo."""
    return Options(
        steps=arguments.steps,
        sampler=arguments.sampler,
        spacing=arguments.spacing,
        eta=arguments.eta,
        guidance=arguments.guidance,
        realism=arguments.realism,
        size=arguments.size,
        detail=arguments.detail,
        tile=own_tile(model, *sides_of(image)) if arguments.tile == OWN_TILE else arguments.tile,
        in_place=True,
    )
