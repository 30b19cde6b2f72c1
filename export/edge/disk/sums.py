"""SHA256SUMS, the digests of an artifact's files, as `sha256sum` writes them: checked here and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

from export.edge.disk.files import check_input_file, sha256_file
from export.edge.disk.reading import read_text
from export.edge.errors import UserError
from export.edge.model.layout import SUMS, ours

MOST_SUMS = 2**20
"""Bytes of the list."""
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def check_sums(folder: Path) -> int:
    """Compare every file that a folder's SHA256SUMS lists with its digest; how many there are.

    Only names of `export.edge.model.layout.ours` may be in it, each once, and each of those
    that lie in the folder must. Raises UserError for the first file that is missing,
    differs, is not listed or leads out of the folder, and for lines that are none.
    """
    path = folder / SUMS
    known = ours(folder)
    listed: dict[str, str] = {}
    for number, line in enumerate(read_text(path, "artifact's digests", MOST_SUMS).splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{path} line {number} is not a digest and a name; export the bundle again")
        digest, name = match.groups()
        if name not in known:
            raise UserError(f"{path} names {name!r}, which is no file of an export; export the bundle again")
        if name in listed:
            raise UserError(f"{path} names {name!r} twice; export the bundle again")
        listed[name] = digest
    for name in known:
        if name != SUMS and name not in listed and (folder / name).exists():
            raise UserError(f"{path} does not list {name}, which lies there; export the bundle again")
    if not listed:
        raise UserError(f"{path} lists no file; export the bundle again")
    root = folder.resolve()
    for name, digest in listed.items():
        file = check_input_file(folder / name, "file of the artifact")
        if not file.resolve().is_relative_to(root):
            raise UserError(f"{file} is a link that leads out of {folder}; put the file itself there")
        if sha256_file(file) != digest:
            raise UserError(
                f"{file} is changed or damaged since export: its content does not match its digest in {SUMS}; get a "
                "fresh copy"
            )
    return len(listed)
