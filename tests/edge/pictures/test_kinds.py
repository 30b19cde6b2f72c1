"""Files of many kinds: read by content, and counted and named where nothing here reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from export.edge.errors import UserError
from export.edge.pictures import kinds
from export.edge.pictures.decoding import to_image
from export.edge.pictures.files import open_photo, open_picture, picture_size, save_picture

HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf\0\0\1\x7dmeta"
"""How a true one begins."""


@pytest.fixture
def without_decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host that has neither pillow-heif nor a Pillow that reads AVIF."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "PIL.AvifImagePlugin", None)
    monkeypatch.delattr(PIL, "AvifImagePlugin", raising=False)
    kinds.decoder.cache_clear()
    yield
    kinds.decoder.cache_clear()


@pytest.fixture
def smooth() -> np.ndarray:
    y, x = np.mgrid[:48, :64]
    return np.stack([4 * x, 5 * y, 255 - 2 * x - 2 * y], -1).clip(0, 255).astype(np.uint8)


def near(picture: np.ndarray, other: np.ndarray) -> bool:
    return picture.shape == other.shape and float(np.abs(picture.astype(float) - other).mean()) < 6


def test_every_suffix_of_a_kind_that_can_be_read_is_found(tmp_path: Path, smooth: np.ndarray) -> None:
    names = ["a.jfif", "b.jpe", "c.JPEG", "d.apng", "e.pgm"]
    for name, kind in zip(names, ("JPEG", "JPEG", "JPEG", "PNG", "PPM"), strict=True):
        Image.fromarray(smooth).save(tmp_path / name, kind)
    Image.fromarray(smooth).save(tmp_path / "f.mpo", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    (tmp_path / ".hidden.jpg").touch()
    (tmp_path / "notes.txt").touch()
    found = kinds.pictures_in(tmp_path)
    assert [path.name for path in found] == [*names, "f.mpo"]
    assert all(near(open_picture(path), smooth) for path in found)
    assert kinds.unread_in(tmp_path) == []
    assert kinds.describe_unread([]) == ""


@pytest.mark.skipif(kinds.decoder("AVIF") is None, reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("name", ["a.avif", "a.HEIC", "a.jpg"])
def test_avif_is_read_whatever_it_is_called(tmp_path: Path, smooth: np.ndarray, name: str) -> None:
    Image.fromarray(smooth).save(tmp_path / name, "AVIF")
    assert kinds.pictures_in(tmp_path) == [tmp_path / name]
    assert near(open_picture(tmp_path / name), smooth)
    assert picture_size(tmp_path / name) == (48, 64)


def test_heic_is_read_with_its_library(tmp_path: Path, smooth: np.ndarray) -> None:
    pytest.importorskip("pillow_heif")
    assert kinds.decoder("HEIC") == "HEIF"
    exif: Any = Image.Exif()
    exif[0x0112] = 6  # The orientation of such a file is a property of its own, not this one (ISO/IEC 23008-12, A.2).
    for name in ("a.heic", "b.HIF"):
        Image.fromarray(smooth).save(tmp_path / name, "HEIF", quality=95, exif=exif)
    assert kinds.container((tmp_path / "a.heic").read_bytes()[: kinds.HEAD]) == "HEIC"
    for path in kinds.pictures_in(tmp_path):
        assert near(open_photo(path)[0], smooth)
        assert picture_size(path) == (48, 64)
    (tmp_path / "a.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:-40])
    with pytest.raises(UserError, match=r"damaged or cut short|not a picture that can be read"):
        open_picture(tmp_path / "a.heic")


UPRIGHT = {
    1: lambda picture: picture,
    2: np.fliplr,
    3: lambda picture: np.rot90(picture, 2),
    4: np.flipud,
    5: lambda picture: picture.transpose(1, 0, 2),
    6: lambda picture: np.rot90(picture, -1),
    7: lambda picture: np.rot90(picture, 2).transpose(1, 0, 2),
    8: np.rot90,
}
"""What the orientations of EXIF do to a stored picture (CIPA DC-008, 4.6.4)."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_a_turned_picture_is_upright_after_one_turn(
    tmp_path: Path, smooth: np.ndarray, kind: str, orientation: int
) -> None:
    if (name := kinds.decoder(kind)) is None:
        pytest.skip(f"{kind} is not read here; {kinds.remedy(kind)}")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind.lower()}"
    # Given the bytes, both libraries write the boxes irot and imir, as a phone does.
    Image.fromarray(smooth).save(path, name, quality=95, exif=exif.tobytes())
    assert (b"irot" in path.read_bytes() or b"imir" in path.read_bytes()) == (orientation > 1)
    picture, tags = open_photo(path)
    assert near(picture, UPRIGHT[orientation](smooth))
    assert picture_size(path) == picture.shape[:2]
    save_picture(tmp_path / "again.png", picture, tags)
    assert (open_picture(tmp_path / "again.png") == picture).all()


@pytest.mark.usefixtures("without_decoders")
def test_what_cannot_be_read_is_counted_and_named_with_the_remedy(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "x.HEIC", "JPEG")  # What is in a file counts.
    for name in ("a.HEIC", "b.heic", "c.CR2"):
        (tmp_path / name).write_bytes(HEIC)
    assert [path.name for path in kinds.pictures_in(tmp_path)] == ["x.HEIC"]
    left = kinds.unread_in(tmp_path)
    assert [path.name for path in left] == ["a.HEIC", "b.heic", "c.CR2"]
    assert kinds.describe_unread(left) == (
        f"3 files (.CR2, .HEIC, .heic) cannot be read and are left out, such as {tmp_path}/a.HEIC; "
        "`pip install pillow-heif` or convert them"
    )
    assert kinds.describe_unread(left[2:]).endswith("c.CR2; convert them to JPEG or PNG")
    with pytest.raises(UserError, match=r"a\.HEIC is a picture of the kind HEIC, .*`pip install pillow-heif` or conv"):
        open_picture(tmp_path / "a.HEIC")
    (tmp_path / "y.jpg").write_bytes(HEIC.replace(b"heic", b"avif"))
    with pytest.raises(UserError, match=r"y\.jpg is a picture of the kind AVIF, .*`pip install --upgrade pillow`"):
        open_picture(tmp_path / "y.jpg")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (HEIC, "HEIC"),
        (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavif", "AVIF"),
        (b"\0\0\0\x14ftypisom\0\0\0\0isomavif", None),  # Beyond the box.
        (b"\xff\xd8\xff\xe0", None),
        (b"", None),
    ],
    ids=["heic", "avif", "mif1", "later", "beyond", "jpeg", "empty"],
)
def test_the_first_bytes_tell_the_kind(head: bytes, kind: str | None) -> None:
    assert kinds.container(head) == kind


class Reloading(Image.Image):
    """An image that is decoded again, over its pixels, whenever it is used."""

    format = "HEIF"

    def load(self) -> object:
        pixels = super().load()
        self.im.paste((90, 90, 90), (0, 0, *self.size))
        return pixels


def test_an_image_that_its_decoder_loads_again_can_be_changed() -> None:
    image = Reloading()._new(Image.new("RGB", (4, 3)).im)
    reloading = Reloading()
    reloading.__dict__.update(image.__dict__)
    assert np.asarray(reloading).max() == 90
    plain = to_image(reloading)
    plain.paste((128, 128, 128), (0, 0, 4, 3))
    assert (np.asarray(plain) == 128).all()
