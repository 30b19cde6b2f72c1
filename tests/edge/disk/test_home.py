"""Homes: where they are, and what happens where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.edge.disk.home import caches, expand, home, make_writable
from export.edge.errors import UserError


@pytest.mark.usefixtures("homeless")
def test_without_a_home_there_are_no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home() is None
    assert caches() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert caches() == tmp_path


@pytest.mark.usefixtures("homeless")
def test_without_a_home_a_tilde_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^data\.path ~/photos: this user has no home folder .*; write it without ~$"):
        expand("~/photos", "data.path")
    (tmp_path / "~" / "photos").mkdir(parents=True)
    assert expand("~/photos", "data.path") == Path("~/photos")


def test_a_tilde_is_the_home_and_a_folder_of_that_name_is_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert expand("~/a/b", "data.path") == tmp_path / "a/b"
    assert expand("~photos/a", "data.path") == Path("~photos/a")  # No such user: the message will be of the folder.
    assert expand("~root", "data.path").is_absolute()
    (tmp_path / "~root").mkdir()
    assert expand("./~root/a", "data.path") == Path("~root/a")
    assert expand("", "data.path") == Path()


def test_a_place_that_cannot_be_written_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_writable(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    assert not make_writable(tmp_path / "file" / "b")
    monkeypatch.setattr("os.access", lambda *_: False)  # As on a read-only disk, whoever asks.
    assert not make_writable(tmp_path / "a")
