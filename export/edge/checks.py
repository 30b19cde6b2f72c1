"""Mistakes in the words of `python -m export.edge` that can be found before anything is opened: nobody waits for them.

Neither numpy nor Pillow is loaded, except where an option needs them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from export.edge.disk.files import check_input_file
from export.edge.disk.folders import Job, plan_jobs
from export.edge.errors import UserError
from export.edge.model.layout import model_file
from export.edge.model.sealed import check_sha256
from export.edge.pictures.kinds import check_output_picture

if TYPE_CHECKING:
    from export.edge.along import Along


def check(arguments: argparse.Namespace) -> tuple[list[Job], Along | None]:
    """Find every mistake that can be found before the model is opened and a photo decoded. Raises UserError for one.

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
