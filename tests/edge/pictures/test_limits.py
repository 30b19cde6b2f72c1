"""Pictures that would take too much: refused by what their headers say, or opened in bands."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.errors import UserError
from export.edge.pictures import decoding
from export.edge.pictures import files as pictures


@pytest.mark.parametrize("width", [100_001, 100_000])
def test_a_thread_of_pixels_is_refused_by_its_header(tmp_path: Path, width: int) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (width, 1)).save(path)
    if width == 100_000:
        assert pictures.open_picture(path).shape == (1, width, 3)
        return
    with pytest.raises(UserError, match="is 100001 x 1, longer than 100000 pixels"):
        pictures.open_picture(path)


def test_a_tile_larger_than_any_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    """A small TIFF whose one tile would be decoded whole."""
    path = tmp_path / "a.tif"
    values = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 16000, 323: 16000, 324: 8, 325: 8}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(values)) + entries + bytes(12))
    with pytest.raises(UserError, match="more than the limit of 100 million"):
        pictures.open_picture(path)


def test_a_file_with_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(pictures.MAX_BYTES + 1)
    with pytest.raises(UserError, match="has more than 1,073,741,824 bytes"):
        pictures.open_picture(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "CMYK", "I;16", "I", "F", "1"])
def test_bands_are_as_the_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(-40, 900, (23, 17))
    deep = {"I": np.int32, "F": np.float32, "I;16": np.uint16}
    image = Image.fromarray(values.clip(0 if mode == "I;16" else -40).astype(deep[mode])) if mode in deep else None
    if image is None:
        image = Image.fromarray(np.stack([values % 256] * 4, -1).astype(np.uint8), "RGBA")
        image = image.convert("L").convert(mode) if mode == "CMYK" else image.convert(mode)
    whole = decoding.to_array(image)
    monkeypatch.setattr(decoding, "_BAND", 40)
    np.testing.assert_array_equal(decoding.to_array(image), whole)
