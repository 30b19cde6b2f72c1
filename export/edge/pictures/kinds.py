"""Which files are pictures: by suffix where a folder is searched, and by content where the suffix leaves it open.

And where one can be written. Nothing is decoded here, so that neither numpy nor Pillow is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from export.edge.disk.files import check_output_file
from export.edge.disk.names import as_text
from export.edge.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""What every Pillow reads, by its names."""
PLAIN = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm",
})  # fmt: skip
"""Suffixes of such files."""
SOMETIMES = frozenset({".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif"})
"""Suffixes of files that can be read where a decoder is there; what is in them may be of another kind."""
SUFFIXES = PLAIN | SOMETIMES
UNREAD = frozenset({
    ".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw",
    ".exr", ".hdr", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".jxr", ".psd", ".qoi", ".svg", ".tga",
})  # fmt: skip
"""Suffixes of pictures that are never read: raw data of cameras, and kinds that photos rarely have."""
WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Suffixes of pictures that are written, and Pillow's names of what is written."""
READABLE = "JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, AVIF or, with pillow-heif, HEIC"
HEAD = 64
"""Bytes at the start of a file that tell AVIF and HEIC."""

_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"},
}


def check_output_picture(path: Path, what: str = "output") -> Path:
    """Return `path` when a picture can be saved there: its folder exists, its suffix is known; else UserError."""
    if path.suffix.lower() not in WRITABLE:
        raise UserError(f"{what} {path}: {path.suffix or 'no'} suffix is not known; use {', '.join(WRITABLE)}")
    return check_output_file(path, what)


def container(head: bytes) -> str | None:
    """AVIF or HEIC for the first HEAD bytes of such a file, else None (ISO/IEC 14496-12, 4.3: the file type box)."""
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
    return next((kind for kind, known in _BRANDS.items() if brands & known), None)


@lru_cache
def decoder(kind: str) -> str | None:
    """Pillow's name of what reads AVIF or HEIC, which it is given here where that takes a library; None without one."""
    try:
        if kind == "AVIF":
            from PIL import AvifImagePlugin

            return "AVIF" if AvifImagePlugin.SUPPORTED else None
        import pillow_heif  # pyright: ignore[reportMissingImports]

        pillow_heif.register_heif_opener(thumbnails=False)
    except ImportError:
        return None
    return "HEIF"


def remedy(kind: str) -> str:
    """What to do where no decoder reads AVIF or HEIC."""
    what = "pillow-heif" if kind == "HEIC" else "--upgrade pillow"
    return f"`pip install {what}` or convert"


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder that are not hidden, by name. AVIF and HEIC count where they can be read."""
    return sorted(p for p in _shown(folder) if p.suffix.lower() in SUFFIXES and p.is_file() and _missing(p) is None)


def unread_in(folder: Path) -> list[Path]:
    """The files in a folder that are pictures of kinds that cannot be read here, by name."""
    return sorted(
        p
        for p in _shown(folder)
        if p.is_file() and (p.suffix.lower() in UNREAD or (p.suffix.lower() in SOMETIMES and _missing(p)))
    )


def describe_unread(files: Sequence[Path]) -> str:
    """One line on files that are left out: how many, of which suffixes, and what to do; empty for none."""
    if not files:
        return ""
    suffixes = ", ".join(sorted({path.suffix for path in files}))
    missing = sorted({kind for path in files if path.suffix.lower() in SOMETIMES and (kind := _missing(path))})
    todo = f"{remedy(missing[0])} them" if missing else "convert them to JPEG or PNG"
    many = "files" if len(files) > 1 else "file"
    return (
        f"{len(files)} {many} ({suffixes}) cannot be read and {'are' if len(files) > 1 else 'is'} left out, such as "
        f"{as_text(str(files[0]))}; {todo}"
    )


def _shown(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _missing(path: Path) -> str | None:
    """AVIF or HEIC for a file that holds it and that nothing here decodes; a file that cannot be opened is none."""
    if path.suffix.lower() not in SOMETIMES:
        return None
    try:
        with path.open("rb") as file:
            kind = container(file.read(HEAD))
    except OSError:
        return None
    return kind if kind is not None and decoder(kind) is None else None
