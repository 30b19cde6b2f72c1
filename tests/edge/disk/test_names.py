"""Names that are no text, and names that are the same to a person."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from export.edge.disk.names import Spelling, as_text, check_text, folded, partners
from export.edge.errors import UserError

NFC, NFD = (unicodedata.normalize(form, "Küste Übung") for form in ("NFC", "NFD"))
LATIN = os.fsdecode("Küste Übung".encode("latin-1"))


def test_bytes_that_are_no_text_become_escapes() -> None:
    assert as_text(os.fsdecode(b"caf\xe9_0")) == "caf%E9_0"
    assert as_text("\ud800") == "%uD800"
    assert as_text(NFD) == NFD
    for name in (LATIN, NFC, NFD, "\ud800", "\udfff\udc80"):
        as_text(name).encode()
        folded(name)
    with pytest.raises(UserError, match=r"^--output-dir caf%E9 holds bytes that are not UTF-8; choose another name$"):
        check_text(Path(os.fsdecode(b"caf\xe9")), "--output-dir")


def test_partners_are_found_in_whatever_form_their_names_are() -> None:
    assert partners([NFC, "b"], [NFD, "c"]) == {NFC: NFD}
    assert partners([LATIN], [NFD]) == {LATIN: NFD}
    assert partners(["IMG_1", "Straße"], ["img_1", "STRASSE"]) == {"IMG_1": "img_1", "Straße": "STRASSE"}
    assert partners([NFC.upper()], [NFD]) == {NFC.upper(): NFD}


def test_an_equal_name_comes_first_and_two_that_would_do_are_none() -> None:
    assert partners(["a", "A"], ["A", "a"]) == {"a": "a", "A": "A"}
    assert partners(["a"], ["A", "a"]) == {"a": "a"}
    assert partners([NFC, NFD], [NFC]) == {NFC: NFC}
    assert partners(["Ab"], ["aB", "AB"]) == {}
    assert partners(["aB", "AB"], ["ab"]) == {}


def test_a_path_is_found_as_the_disk_spells_it(tmp_path: Path) -> None:
    (tmp_path / NFD / "Bild").mkdir(parents=True)
    (tmp_path / NFD / "Bild" / "1.PNG").touch()
    spelling = Spelling()
    assert spelling.find(tmp_path, Path(NFC, "bild", "1.png")) == tmp_path / NFD / "Bild" / "1.PNG"
    assert spelling.find(tmp_path, Path("no", "where.png")) == tmp_path / "no" / "where.png"
    (tmp_path / "two").touch()
    (tmp_path / "Two").touch()
    if len(os.listdir(tmp_path)) == 3:  # A file system that tells capitals from small letters.
        assert Spelling().find(tmp_path, Path("TWO")) == tmp_path / "TWO"
