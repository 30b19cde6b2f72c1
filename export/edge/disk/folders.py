"""Photos and where their results go; a folder of photos, translated one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.edge.disk.files import check_input_file, check_output_folder
from export.edge.errors import UserError
from export.edge.pictures.kinds import (
    SUFFIXES,
    WRITABLE,
    check_output_picture,
    describe_unread,
    pictures_in,
    unread_in,
)
from export.edge.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Job = tuple[Path, Path]
"""A photo and where its translation goes."""


def plan_jobs(photos: Sequence[Path], output: Path, suffix: str | None = None) -> list[Job]:
    """Each photo and the file that its result goes to; nothing is written yet.

    One photo goes to the file `output`. Several, or the pictures of one folder in the order of their names (hidden
    files, other files and folders inside are left out), go to the folder `output`: a result is named like its photo,
    with `suffix`, or by default with the photo's own where that can be written, else .png.

    Raises UserError where there is no photo or one does not exist, where `output` does not fit or cannot be written,
    where two results would have one name, and where a result would overwrite a photo.
    """
    folder = photos[0] if len(photos) == 1 and photos[0].is_dir() else None
    found = list(photos) if folder is None else pictures_in(folder)
    if folder is None and len(found) == 1:
        check_output_picture(output)
        jobs = [(check_input_file(found[0], "photo"), output)]
        _check_apart(jobs, "the photo itself; name another file")
        return jobs
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        what = f"{len(found)} photos" if folder is None else "a folder of photos"
        raise UserError(f"output {output} names one picture for {what}; name a folder")
    check_output_folder(output, "output")
    if not found:
        left = describe_unread(unread_in(folder)) if folder is not None else ""
        why = left or "name one that holds some, not only in folders inside it"
        raise UserError(f"folder {folder} holds no pictures that can be read; {why}")
    if folder is not None and output.is_dir() and output.samefile(folder):
        raise UserError(f"output {output} is the folder of the photos itself; name another folder")
    jobs = [(check_input_file(photo, "photo"), output / _result_name(photo, suffix)) for photo in found]
    taken: dict[str, Path] = {}
    for photo, result in jobs:
        name = result.name.lower()  # There are file systems that do not tell capitals from small letters.
        if name in taken:
            raise UserError(f"photos {taken[name]} and {photo} would both become {result}; rename one of them")
        taken[name] = photo
    _check_apart(jobs, "one of the photos itself; name another folder")
    return jobs


def left_out(photos: Sequence[Path]) -> list[str]:
    """A line on the pictures in a folder of photos that cannot be read, where that is what `photos` names."""
    folder = photos[0] if len(photos) == 1 and photos[0].is_dir() else None
    return [] if folder is None else [line for line in [describe_unread(unread_in(folder))] if line]


def _check_apart(jobs: Sequence[Job], fault: str) -> None:
    """Raise UserError where a result is a photo, under whatever name."""
    photos = {_identity(photo) for photo, _ in jobs}
    for _, result in jobs:
        if result.exists() and _identity(result) in photos:
            raise UserError(f"output {result} is {fault}")


def _identity(path: Path) -> tuple[int, int]:
    """Equal for two names of one file, links included."""
    status = path.stat()
    return status.st_dev, status.st_ino


def translate_all(
    draw: Callable[[Path, Image.Image], np.ndarray | Image.Image], jobs: Sequence[Job], progress: Progress
) -> int:
    """Write a translation of every photo that can be translated; returns how many could not.

    `draw` turns one photo, a path and an image of mode RGB, into its translation, which may be the same image. Each
    UserError is a line of `progress`; an error of the operating system, such as a full
    disk, ends it all. Results appear whole or not at all, as they are made.
    """
    from export.edge.pictures.files import open_image, save_picture  # Here: a plan needs neither numpy nor Pillow.

    skipped = 0
    for index, (photo, output) in enumerate(jobs):
        try:
            image, tags = open_image(photo)
            if tags.note:
                progress.say(f"note: {tags.note}")
            save_picture(output, draw(photo, image), tags)
        except UserError as error:
            skipped += 1
            progress.say(f"skipped: {error}")
        progress.update(index + 1, len(jobs))
    return skipped


def _result_name(photo: Path, suffix: str | None) -> str:
    if suffix is None and photo.suffix.lower() in WRITABLE:
        return photo.name
    return f"{photo.stem}{suffix or '.png'}"
