"""The tool that emulates ARM: it unpacks packages of a mirror, checks what arrives, and compares pictures."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.pretrained import PRETRAINED
from tests.figures import arm

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with one package, `tiny`, that holds one file below usr/lib."""
    place, source = tmp_path / "mirror", tmp_path / "source"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "DEBIAN/control").write_text(
        "Package: tiny\nVersion: 1\nArchitecture: arm64\nMaintainer: nobody\nDescription: a file\n"
    )
    (source / "usr/lib").mkdir(parents=True)
    (source / "usr/lib/held.txt").write_text("held")
    (place / "pool").mkdir(parents=True)
    archive = place / "pool/tiny.deb"
    subprocess.run(["dpkg-deb", "--build", str(source), str(archive)], check=True, capture_output=True)
    index = place / f"dists/{arm.RELEASE}/main/binary-arm64/Packages.xz"
    index.parent.mkdir(parents=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    text = "Package: other\nFilename: pool/other.deb\n\n"
    text += f"Package: tiny\nFilename: pool/tiny.deb\nSHA256: {digest}\nDescription: a file\n Package: no field\n"
    index.write_bytes(lzma.compress(text.encode()))
    monkeypatch.setattr(arm, "MIRROR", place.as_uri())
    return place


@needs_dpkg
def test_packages_are_unpacked_whole_or_not_at_all(mirror: Path, tmp_path: Path) -> None:
    arm.unpack("arm64", ["tiny"], tmp_path / "system")
    assert (tmp_path / "system/usr/lib/held.txt").read_text() == "held"
    assert (tmp_path / "system/lib/held.txt").exists()
    with pytest.raises(UserError, match="no package huge"):
        arm.unpack("arm64", ["tiny", "huge"], tmp_path / "other")
    with (mirror / "pool/tiny.deb").open("ab") as archive:
        archive.write(b"more")
    with pytest.raises(UserError, match="damaged"):
        arm.unpack("arm64", ["tiny"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_pictures_are_compared_value_by_value() -> None:
    ours = np.full((2, 3, 3), 100, np.uint8)
    theirs = ours.copy()
    theirs[0, 0] = (99, 102, 100)
    assert arm.difference(ours, theirs) == ("2 of 18", "2")


def test_a_picture_that_does_not_come_is_an_error(tmp_path: Path, root: Path) -> None:
    photo, output = root / "docs/photo.jpg", tmp_path / "made.png"
    assert arm.translate([sys.executable], PRETRAINED, photo, output, {}) > 0.0 and output.exists()
    with pytest.raises(UserError, match="missing"):
        arm.translate([sys.executable], PRETRAINED, tmp_path / "missing.jpg", output, {})
