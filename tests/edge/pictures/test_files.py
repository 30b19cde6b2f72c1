"""The one door for pictures: what may come in, how it is brought to size, how it goes out."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export.edge.errors import UserError
from export.edge.pictures import arrays
from export.edge.pictures import files as pictures
from export.edge.pictures.decoding import to_rgb

sides = st.integers(1, 400)
fits = st.sampled_from(arrays.FITS)


def photo(height: int, width: int) -> np.ndarray:
    """A smooth picture whose rows, columns and channels all differ."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * (x + 0.5) / width, 255 * (y + 0.5) / height
    return np.stack([red, green, 255 - (red + green) / 2], -1).astype(np.uint8)


def saved(folder: Path, image: Image.Image, name: str = "a.png", **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


# -- opening ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm"])
def test_lossless_formats_come_back_exactly(tmp_path: Path, name: str) -> None:
    picture = photo(13, 29)
    opened = pictures.open_picture(saved(tmp_path, Image.fromarray(picture), name))
    assert opened.dtype == np.uint8 and opened.flags.writeable
    np.testing.assert_array_equal(opened, picture)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.gif"])
def test_lossy_formats_come_back_nearly(tmp_path: Path, name: str) -> None:
    picture = photo(13, 29)
    opened = pictures.open_picture(saved(tmp_path, Image.fromarray(picture), name))
    assert np.abs(opened.astype(int) - picture).mean() < 12


def test_the_suffix_does_not_matter_on_the_way_in(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(photo(5, 6)))
    np.testing.assert_array_equal(pictures.open_picture(path.rename(tmp_path / "a.jpg")), photo(5, 6))


def test_one_pixel_opens(tmp_path: Path) -> None:
    assert pictures.open_picture(saved(tmp_path, Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = Image.fromarray(photo(24, 40))
    # What the camera stored: the inverse of what the tag asks for.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = pictures.open_picture(saved(tmp_path, stored, exif=exif))
    np.testing.assert_array_equal(opened, np.asarray(upright))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_header_tells_the_size(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    Image.new("RGB", (9, 5)).save(path, exif=exif)
    assert pictures.picture_size(path) == pictures.open_picture(path).shape[:2]
    assert pictures.picture_size(path) == ((9, 5) if orientation == 6 and suffix != "bmp" else (5, 9))
    path.write_text("no picture")
    with pytest.raises(UserError, match="is not a picture that can be read"):
        pictures.picture_size(path)


def test_a_broken_exif_block_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(photo(8, 8)), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(pictures.open_picture(path), photo(8, 8))


def test_greyscale_and_bilevel_become_rgb(tmp_path: Path) -> None:
    grey = photo(6, 9)[..., 0]
    np.testing.assert_array_equal(
        pictures.open_picture(saved(tmp_path, Image.fromarray(grey))), np.repeat(grey[..., None], 3, -1)
    )
    bits = Image.fromarray((grey > 127).astype(np.uint8) * 255).convert("1")
    assert np.unique(pictures.open_picture(saved(tmp_path, bits))).tolist() == [0, 255]


def png(width: int, height: int, bits: int, colour: int, pixels: bytes) -> bytes:
    """A PNG put together by hand, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_greyscale_keeps_its_proportion(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65278, 65535]], np.uint16)
    path = tmp_path / name
    if name == "a.pgm":
        path.write_bytes(b"P5\n7 1\n65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    opened = pictures.open_picture(path)
    assert opened[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255]
    assert (opened == opened[..., :1]).all()


def test_16_bit_rgb_opens(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">6H", 0, 32768, 65535, 65535, 0, 257)
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 2, row))
    assert pictures.open_picture(tmp_path / "a.png").tolist() == [[[0, 128, 255], [255, 0, 1]]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-10.0, 0.0, 10.0], [0, 128, 255]),
        ([0.0, 1000.0, 2000.0], [0, 128, 255]),
        ([np.nan, np.inf, 1.0], [0, 0, 255]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
        ([-3.0, -3.0, -3.0], [0, 0, 0]),
    ],
)
def test_float_tiff(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([values], np.float32)), "a.tif")
    assert pictures.open_picture(path)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"), [([0, 32768, 65535], [0, 128, 255]), ([0, 1_000_000, 2_000_000], [0, 128, 255])]
)
def test_32_bit_tiff(tmp_path: Path, values: list[int], expected: list[int]) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([values], np.int32)), "a.tif")
    assert pictures.open_picture(path)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    rgba = np.full((1, 3, 4), 100, np.uint8)
    rgba[0, :, 3] = [0, 128, 255]
    opened = pictures.open_picture(saved(tmp_path, Image.fromarray(rgba).convert(mode)))
    assert opened[0, :, 0].tolist() == [255, 177, 100]
    assert (opened == opened[..., :1]).all()


def test_palette_with_an_alpha_channel() -> None:
    """No readable format stores this, but a decoder may hand it out."""
    image = Image.new("P", (3, 1))
    image.putpalette([100, 100, 100])
    image = image.convert("PA")
    image.putalpha(Image.fromarray(np.array([[0, 128, 255]], np.uint8)))
    assert image.mode == "PA"
    assert np.array(to_rgb(image))[0, :, 0].tolist() == [255, 177, 100]


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    path = saved(tmp_path, image, transparency=1)
    assert pictures.open_picture(path).tolist() == [[[10, 20, 30], [255, 255, 255], [0, 0, 255]]]


def test_rgb_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8))
    path = saved(tmp_path, image, transparency=(9, 9, 9))
    assert pictures.open_picture(path).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_cmyk(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    opened = pictures.open_picture(saved(tmp_path, image, "a.jpg", quality=100))
    assert np.abs(opened.astype(int) - [255, 0, 0]).max() < 6


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_an_image_has_the_same_pixels_and_nothing_else(tmp_path: Path, mode: str) -> None:
    """A JPEG file's comment, resolution and profile would be written again by Pillow, into any format that has them."""
    name = "a.png" if mode == "RGBA" else "a.jpg"
    extra = {} if mode == "RGBA" else {"comment": "a secret", "icc_profile": b"p" * 200, "dpi": (123, 123)}
    path = saved(tmp_path, Image.fromarray(photo(40, 30)).convert(mode), name, **extra)
    image, _ = pictures.open_image(path)
    np.testing.assert_array_equal(np.asarray(image), pictures.open_picture(path))
    for suffix in ("jpg", "png", "webp"):
        pictures.save_picture(tmp_path / f"again.{suffix}", image)
        with Image.open(tmp_path / f"again.{suffix}") as again:
            assert not {"comment", "icc_profile", "dpi", "exif"} & set(again.info) and again.mode == "RGB"


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    path = saved(tmp_path, first, "a.gif", save_all=True, append_images=[second])
    assert pictures.open_picture(path)[0, 0].tolist() == [255, 0, 0]


# -- what must not come in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.ppm"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.97])
@pytest.mark.filterwarnings("ignore")
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str, part: float) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = saved(tmp_path, Image.fromarray(noisy), name)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(UserError, match=name):
        pictures.open_picture(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"just words\n", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"%!PS-Adobe"],
    ids=["empty", "words", "JPEG", "PNG", "GIF", "PostScript"],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jpg"):
        pictures.open_picture(tmp_path / "a.jpg")


def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    """Its pixels are not there at all: whoever decodes first fails with another message."""
    path = tmp_path / "a.png"
    path.write_bytes(png(20_000, 20_000, 8, 2, b""))
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            UserError, match="20000 x 20000 pixels, more than the limit of 100 million; make it smaller"
        ):
            pictures.open_picture(path)
    assert before == Image.MAX_IMAGE_PIXELS


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        pictures.open_picture(tmp_path / "none.jpg")
    with pytest.raises(UserError, match="is a folder"):
        pictures.open_picture(tmp_path)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP"]))
def test_damage_anywhere_gives_a_picture_or_a_user_error(
    data: st.DataObject, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    Image.fromarray(photo(16, 16)).save(path, kind)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            opened = pictures.open_picture(path)
        except UserError:
            return
    assert opened.dtype == np.uint8 and opened.shape[2] == 3


# -- sizes -----------------------------------------------------------------------------------------------------------


def test_resize_keeps_a_flat_colour_and_the_place_of_things() -> None:
    assert (arrays.resize(np.full((10, 7, 3), 93, np.uint8), 33, 5) == 93).all()
    small = arrays.resize(photo(200, 300), 20, 30)
    np.testing.assert_allclose(small.astype(int), photo(20, 30).astype(int), atol=4)


def test_resize_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(arrays.resize(stripes, 8, 8).astype(int) - 127).max() <= 8


def test_crop_keeps_the_centre() -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 200
    assert (arrays.fit_square(wide, 10, "crop") == 200).all()
    assert (arrays.fit_square(wide.transpose(1, 0, 2), 10, "crop") == 200).all()


def test_letterbox_pads_with_mid_grey_on_both_sides() -> None:
    square = arrays.fit_square(np.full((10, 40, 3), 200, np.uint8), 16, "letterbox")
    assert (square[6:10] == 200).all() and (square[:6] == 128).all() and (square[10:] == 128).all()


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, size=st.integers(1, 64), fit=fits)
def test_fit_square_is_square(height: int, width: int, size: int, fit: str) -> None:
    square = arrays.fit_square(photo(height, width), size, fit)
    assert square.shape == (size, size, 3) and square.dtype == np.uint8


@settings(max_examples=120, deadline=None)
@given(height=sides, width=sides, size=st.integers(8, 64), fit=fits, multiple=st.sampled_from([1, 2, 8]))
def test_working_sizes(height: int, width: int, size: int, fit: str, multiple: int) -> None:
    inner = arrays.working(photo(height, width), size, fit, multiple)
    h, w = inner.shape[:2]
    assert h % multiple == 0 and w % multiple == 0 and min(h, w) >= multiple and h * w <= 8 * size * size
    assert inner.dtype == np.uint8


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(480, 640, (64, 88)), (640, 480, (88, 64)), (64, 64, (64, 64)), (10, 10, (64, 64)), (64, 6400, (16, 1600))],
)
def test_working_crop_keeps_the_aspect_ratio(height: int, width: int, expected: tuple[int, int]) -> None:
    assert arrays.working(photo(height, width), 64, "crop", 8).shape[:2] == expected


@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1)])
def test_a_thread_of_a_picture_works(height: int, width: int) -> None:
    inner = arrays.working(photo(height, width), 128, "crop", 8)
    assert sorted(inner.shape[:2]) == [8, 8 * 128 * 128 // 8]


@pytest.mark.parametrize("fit", arrays.FITS)
def test_a_square_works_as_it_was_trained(fit: str) -> None:
    np.testing.assert_array_equal(arrays.working(photo(50, 50), 32, fit, 8), arrays.fit_square(photo(50, 50), 32, fit))


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_other_shapes_work_as_they_were_trained(fit: str) -> None:
    np.testing.assert_array_equal(arrays.working(photo(50, 81), 32, fit, 8), arrays.fit_square(photo(50, 81), 32, fit))


def test_a_large_photo_is_brought_to_size_nearly_as_a_small_one() -> None:
    """The short cut for large photos against Pillow's filter without it."""
    large = np.random.default_rng(0).integers(0, 256, (450, 675, 3), np.uint8)
    expected = Image.fromarray(large).resize((48, 32), Image.Resampling.LANCZOS)
    assert np.abs(arrays.working(large, 32, "crop", 8).astype(int) - np.asarray(expected)).max() <= 3


def test_an_unknown_fit_is_named() -> None:
    for call in (
        lambda: arrays.fit_square(photo(4, 4), 4, "pad"),
        lambda: arrays.working(photo(4, 4), 4, "pad", 1),
    ):
        with pytest.raises(UserError, match="fit 'pad' is unknown; choose one of crop, letterbox, stretch"):
            call()


# -- values ----------------------------------------------------------------------------------------------------------


def test_every_value_survives_the_way_to_float_and_back() -> None:
    values = np.arange(256, dtype=np.uint8)
    floats = arrays.to_float(values)
    assert floats.dtype == np.float32 and floats[0] == -1.0 and floats[255] == 1.0
    np.testing.assert_array_equal(arrays.to_uint8(floats), values)


def test_to_uint8_clips_and_rounds_half_up() -> None:
    assert arrays.to_uint8(np.array([-7.0, -1.0, 0.0, 0.999999, 1.0, 7.0])).tolist() == [0, 0, 128, 255, 255, 255]
    assert arrays.to_uint8(np.array([0.5 / 127.5 - 1, 1.5 / 127.5 - 1])).tolist() == [1, 2]
    assert arrays.to_uint8(np.zeros((2, 3, 3), np.float32)).shape == (2, 3, 3)


# -- saving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP")]
)
def test_the_suffix_decides_the_format(tmp_path: Path, name: str, kind: str) -> None:
    pictures.save_picture(tmp_path / name, photo(20, 30))
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
    assert np.abs(pictures.open_picture(tmp_path / name).astype(int) - photo(20, 30)).mean() < 4
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.txt"])
def test_unknown_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"\.png, \.jpg, \.jpeg, \.webp"):
        pictures.save_picture(tmp_path / name, photo(4, 4))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_too_long_for_its_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"16384 x 1 is too long for WEBP.*use \.png"):
        pictures.save_picture(tmp_path / "a.webp", photo(1, 16384))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mkdir -p"):
        pictures.save_picture(tmp_path / "none" / "a.png", photo(4, 4))


# -- sheets ----------------------------------------------------------------------------------------------------------
