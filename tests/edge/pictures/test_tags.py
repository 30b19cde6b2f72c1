"""What of a photo's file goes along with its translation, read back by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import GPS, IFD, Base

from export.edge.pictures.files import open_photo, save_picture
from export.edge.pictures.tags import NONE, Tags

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TAKEN = "2024:06:21 21:04:07"


def camera() -> Image.Exif:
    exif = Image.Exif()
    exif.update({Base.Make: "Acme", Base.Model: "One", Base.Orientation: 6, Base.ImageWidth: 40, Base.Artist: "Ada"})
    exif[IFD.Exif] = {
        Base.DateTimeOriginal: TAKEN,
        Base.ExposureTime: 0.004,
        Base.ISOSpeedRatings: 200,
        Base.MakerNote: b"secret",
        Base.BodySerialNumber: "12345",
        Base.ExifImageWidth: 40,
    }
    exif[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 51.0, 0.0)}
    return exif


def photo(path: Path, mode: str = "RGB", **options: Any) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize("out", ["png", "jpg", "webp"])
@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tif"])
def test_camera_and_date_stay_and_place_and_orientation_go(tmp_path: Path, source: str, out: str) -> None:
    picture, tags = open_photo(photo(tmp_path / f"a.{source}", exif=camera().tobytes(), icc_profile=SRGB))
    assert picture.shape == (40, 24, 3)
    save_picture(tmp_path / f"b.{out}", picture, tags)
    with Image.open(tmp_path / f"b.{out}") as result:
        assert result.size == (24, 40) and result.info["icc_profile"] == SRGB
        exif = result.getexif()
        details = exif.get_ifd(IFD.Exif)
        assert {tag: exif[tag] for tag in exif if tag != IFD.Exif} == {
            Base.Make: "Acme", Base.Model: "One", Base.Artist: "Ada",
        }  # fmt: skip
        assert set(details) == {Base.DateTimeOriginal, Base.ExposureTime, Base.ISOSpeedRatings}
        assert details[Base.DateTimeOriginal] == TAKEN and float(details[Base.ExposureTime]) == 0.004
        assert not exif.get_ifd(IFD.GPSInfo) and not exif.get_ifd(IFD.IFD1)
    np.testing.assert_array_equal(open_photo(tmp_path / f"b.{out}")[0].shape, picture.shape)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("source", ["jpg", "tif"])
def test_turning_it_again_changes_nothing(tmp_path: Path, orientation: int, source: str) -> None:
    exif = camera()
    exif[Base.Orientation] = orientation
    picture, tags = open_photo(photo(tmp_path / f"a.{source}", exif=exif.tobytes()))
    save_picture(tmp_path / "b.png", picture, tags)
    np.testing.assert_array_equal(open_photo(tmp_path / "b.png")[0], picture)
    with Image.open(tmp_path / f"a.{source}") as stored:
        assert (stored.size == (40, 24)) or source == "tif"
    assert picture.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))


def test_a_photo_without_them_gets_none(tmp_path: Path) -> None:
    picture, tags = open_photo(photo(tmp_path / "a.png"))
    assert tags == NONE
    save_picture(tmp_path / "b.jpg", picture, tags)
    with Image.open(tmp_path / "b.jpg") as result:
        assert not result.getexif() and "icc_profile" not in result.info


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("L", SRGB[:16] + b"GRAY" + SRGB[20:]),
        ("CMYK", SRGB[:16] + b"CMYK" + SRGB[20:]),
        ("RGB", b"no profile at all " * 20),
        ("RGB", SRGB[:100]),
    ],
    ids=["grey", "CMYK", "words", "cut short"],
)
def test_a_profile_that_the_pixels_do_not_follow_is_left_out(tmp_path: Path, mode: str, profile: bytes) -> None:
    assert open_photo(photo(tmp_path / "a.jpg", mode, icc_profile=profile))[1] == NONE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200)),
        b"Exif\0\0" + bytes(40),
        b"Exif\0\0" + camera().tobytes()[6:90],
    ],
    ids=["far offset", "many entries", "zeros", "cut short"],
)
def test_a_damaged_block_costs_neither_photo_nor_result(tmp_path: Path, exif: bytes) -> None:
    picture, tags = open_photo(photo(tmp_path / "a.jpg", exif=exif))
    for name in ("b.png", "b.jpg", "b.webp"):
        save_picture(tmp_path / name, picture, tags)
        assert open_photo(tmp_path / name)[0].shape == picture.shape


def test_a_block_too_long_for_jpeg_is_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[Base.ImageDescription] = "x" * 70_000
    picture, tags = open_photo(photo(tmp_path / "a.png", exif=exif))
    assert tags == Tags()
    save_picture(tmp_path / "b.jpg", picture, tags)
