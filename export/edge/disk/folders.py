"""A folder of photos, one after the other: what cannot be read is passed over, and said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from export.edge.disk.files import check_output_folder
from export.edge.errors import UserError
from export.edge.pictures.files import SUFFIXES, WRITABLE, open_photo, save_picture
from export.edge.progress import Progress

Job = tuple[Path, Path]
"""A photo and where its translation goes."""


def plan_jobs(photos: Path, output: Path) -> list[Job]:
    """The pictures of a folder, in the order of their names, and a file in `output` for each.

    A result is named like its photo, with its suffix where that can be written, else .png.
    Hidden files, other files and folders inside are passed over. Raises UserError when
    there is nothing to do, when two results would have one name, and when a result would
    take a photo's place; nothing is made yet.
    """
    if output.suffix.lower() in WRITABLE and not output.is_dir():
        raise UserError(f"output {output} names one picture for a folder of photos; name a folder")
    check_output_folder(output, "output")
    found = (path for path in photos.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    jobs = [(path, output / _result_name(path)) for path in sorted(found) if path.is_file()]
    if not jobs:
        raise UserError(f"folder {photos} holds no pictures; name one that holds some, not only in folders inside it")
    if output.is_dir() and output.samefile(photos):
        raise UserError(f"output {output} is the folder of the photos itself; name another folder")
    taken: dict[str, Path] = {}
    for photo, result in jobs:
        # In lower case, because there are file systems to which that is all one.
        if (other := taken.setdefault(result.name.lower(), photo)) != photo:
            raise UserError(f"photos {other.name} and {photo.name} would both become {result}; rename one of them")
        if result.exists() and any(result.samefile(source) for source, _ in jobs):
            raise UserError(f"output {result} is one of the photos itself; name another folder")
    return jobs


def translate_all(draw: Callable[[np.ndarray], np.ndarray], jobs: Sequence[Job], progress: Progress) -> int:
    """Write a translation of every photo that can be translated; returns how many could not.

    `draw` turns one photo into its translation, both uint8 (height, width, 3). Each
    UserError is a line of `progress`; an error of the operating system, such as a full
    disk, ends it all. Results appear whole or not at all, as they are made.
    """
    skipped = 0
    for index, (photo, output) in enumerate(jobs):
        try:
            picture, tags = open_photo(photo)
            save_picture(output, draw(picture), tags)
        except UserError as error:
            skipped += 1
            progress.say(f"skipped: {error}")
        progress.update(index + 1, len(jobs))
    return skipped


def _result_name(photo: Path) -> str:
    return photo.name if photo.suffix.lower() in WRITABLE else f"{photo.stem}.png"
