"""JPEG files whose last bytes are missing: read where these were the end mark alone, refused otherwise."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.errors import UserError
from export.edge.pictures.files import lacks_end, open_photo

KINDS = [
    {"quality": 90},
    {"quality": 60, "subsampling": 2},
    {"quality": 75, "progressive": True},
    {"quality": 100, "optimize": True, "subsampling": 0},
    {"quality": 85, "restart_marker_blocks": 3},
]


def encoded(mode: str, **options: object) -> bytes:
    rng = np.random.default_rng(0)
    rows = np.linspace(0, 200, 50)[:, None, None] + rng.integers(0, 50, (50, 70, 3))
    buffer = io.BytesIO()
    Image.fromarray(rows.astype(np.uint8)).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_end_mark_alone_may_be_missing(tmp_path: Path, mode: str, options: dict[str, object]) -> None:
    data, path = encoded(mode, **options), tmp_path / "a.jpg"
    path.write_bytes(data)
    whole, tags = open_photo(path)
    assert tags.note == "" and not lacks_end(path)
    for missing in (1, 2):
        path.write_bytes(data[:-missing])
        picture, tags = open_photo(path)
        np.testing.assert_array_equal(picture, whole)
        # The decoder may have read the last row of a small picture before it misses the mark.
        assert tags.note in ("", f"{path} lacks the end mark of a JPEG file; all its pixels are there")
        assert lacks_end(path) == (tags.note != "")
    for missing in (4, 5, 6, 8, 12, 20, 100, len(data) // 2, len(data) - 20):
        path.write_bytes(data[:-missing])
        # No other picture than the whole one: a block may lie outside of the frame, and its last bits change nothing.
        found = None
        with contextlib.suppress(UserError):
            found = open_photo(path)[0]
        assert found is None or (missing < 10 and np.array_equal(found, whole))


def test_a_progressive_file_without_its_last_scans_is_refused(tmp_path: Path) -> None:
    data, path = encoded("RGB", quality=80, progressive=True), tmp_path / "a.jpg"
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for at in scans[1:]:
        path.write_bytes(data[:at])
        with pytest.raises(UserError, match="damaged or cut short"):
            open_photo(path)


def test_what_follows_the_end_mark_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("RGB") + b"\0" * 30)
    assert open_photo(path)[1].note == ""
    assert not lacks_end(path)
    for data in (b"", b"\xff", b"\xff\xd8"):
        path.write_bytes(data)
        with pytest.raises(UserError, match="not a picture"):
            open_photo(path)
