"""What a photo's file says beside its pixels, and which of it goes into the file of its translation.

Kept are the colour profile, where the pixels still mean what it says, and of the EXIF block
what tells when and with what the photo was taken and by whom. Left out is what would be
wrong there (orientation, size, thumbnail, the maker's own notes) and what a person may not
know that they share: the place, and serial numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

_MAIN = (Base.ImageDescription, Base.Make, Base.Model, Base.DateTime, Base.Artist, Base.Copyright)
_DETAILS = (
    Base.ExposureTime,
    Base.FNumber,
    Base.ExposureProgram,
    Base.ISOSpeedRatings,
    Base.DateTimeOriginal,
    Base.DateTimeDigitized,
    Base.OffsetTime,
    Base.OffsetTimeOriginal,
    Base.OffsetTimeDigitized,
    Base.SubsecTime,
    Base.SubsecTimeOriginal,
    Base.SubsecTimeDigitized,
    Base.ShutterSpeedValue,
    Base.ApertureValue,
    Base.BrightnessValue,
    Base.ExposureBiasValue,
    Base.MaxApertureValue,
    Base.MeteringMode,
    Base.LightSource,
    Base.Flash,
    Base.FocalLength,
    Base.FocalLengthIn35mmFilm,
    Base.ColorSpace,
    Base.LensSpecification,
    Base.LensMake,
    Base.LensModel,
)
_MOST_EXIF = 60_000
"""Bytes; a JPEG file holds at most 65,533 in one segment."""
_MOST_PROFILE = 4_000_000
"""Bytes; a colour profile that is longer is not one."""


@dataclass(frozen=True)
class Tags:
    """What goes into the file beside the pixels."""

    profile: bytes | None = None
    """ICC profile of an RGB space."""
    exif: bytes | None = None
    """EXIF block."""
    note: str = ""
    """What a person should know about the file, which can be read nevertheless; it is not written."""


NONE = Tags()


def read_tags(image: Image.Image) -> Tags:
    """The Tags of a picture whose pixels are loaded. Whatever is damaged is left out."""
    return Tags(_profile(image), _exif(image))


def save_options(tags: Tags) -> dict[str, bytes]:
    """The arguments with which Pillow writes them."""
    found = {"icc_profile": tags.profile, "exif": tags.exif}
    return {name: value for name, value in found.items() if value is not None}


def _profile(image: Image.Image) -> bytes | None:
    """The profile, unless it is of grey or ink, whose numbers became RGB, or none at all (ICC.1:2022, 7.2)."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 128 < len(profile) <= _MOST_PROFILE:
        return None
    return profile if profile[16:20] == b"RGB " and profile[36:40] == b"acsp" else None


def _exif(image: Image.Image) -> bytes | None:
    # A damaged block makes Pillow raise nearly anything, on reading and on writing, and no photo is lost with it.
    try:
        found = image.getexif()
        kept = Image.Exif()
        kept.update(_only(dict(found), _MAIN))
        if details := _only(found.get_ifd(IFD.Exif), _DETAILS):
            kept[IFD.Exif] = details
        written = kept.tobytes() if len(kept) else b""
    except Exception:
        return None
    return written if 0 < len(written) <= _MOST_EXIF else None


def _only(tags: dict[int, Any], wanted: tuple[Base, ...]) -> dict[int, Any]:
    return {int(tag): tags[tag] for tag in wanted if tag in tags}
