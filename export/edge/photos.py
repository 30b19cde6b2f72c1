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
from export.edge.disk.folders import Job, left_out, translate_all
from export.edge.errors import UserError
from export.edge.model import likeness
from export.edge.model.artifact import Artifact, open_artifact
from export.edge.model.sealed import Opened
from export.edge.pictures.arrays import check_size, sides_of, working
from export.edge.pictures.files import open_image, save_picture
from export.edge.progress import Progress
from export.edge.sampling.loop import Call
from export.edge.tiles import check_tile, own_tile
from export.edge.translate import Options, translate

if TYPE_CHECKING:  # Loaded where an option asks for them.
    from export.edge.along import Along
    from export.edge.model.photo import PhotoGraph


def translate_as_told(
    arguments: argparse.Namespace,
    opening: Callable[[], Opened] | None,
    jobs: Sequence[Job],
    along: Along | None,
) -> None:
    """Do what the words of a command line say, parsed by `export.edge.arguments`; print where the result is.

    `opening`: waits for the model's file where that is being opened, else None. `jobs`, `along`: of
    `export.edge.checks.check`. Raises UserError for bad input, and at the end when some photos of a folder were passed
    over.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on files that are odd but readable help nobody here.
        if arguments.photo.is_dir():
            _translate_folder(arguments, opening, jobs)
        else:
            _translate_photo(arguments, opening, along)


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

    options, progress = _options(arguments, model, image), Progress(noun="map step")
    try:
        return {arguments.invented: invented(model, image, options, seed=arguments.seed, on_run=progress.update)}
    finally:
        progress.close()


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
