"""Compiled programs are kept where that is possible, and their folder does not grow without end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from jax_impl.training.compiled import SWITCH, keep_programs, trim

NAME = "jax_compilation_cache_dir"


@pytest.fixture(autouse=True)
def nothing_told() -> Iterator[None]:
    """JAX as in a fresh process; the tests' own folder comes back afterwards."""
    before = getattr(jax.config, NAME)
    jax.config.update(NAME, None)
    yield
    jax.config.update(NAME, before)


def test_they_are_kept_in_the_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = keep_programs()
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "dawn2dusk" / "jax")
    assert getattr(jax.config, NAME) == str(folder)
    # A limit of JAX's own fails wherever the owner of a file has no name.
    assert getattr(jax.config, "jax_compilation_cache_max_size") == -1  # noqa: B009
    monkeypatch.setenv(SWITCH, "off")
    jax.config.update(NAME, None)
    assert keep_programs() is None


@pytest.mark.usefixtures("homeless")
def test_without_a_home_one_line_says_that_they_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    assert keep_programs() is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("compiled programs are not kept: there is no home folder; ")
    assert getattr(jax.config, NAME) is None
    (tmp_path / "file").touch()
    monkeypatch.setenv(SWITCH, str(tmp_path / "file"))
    assert keep_programs() is None
    assert "nothing can be written in" in capsys.readouterr().err


def test_those_that_were_used_last_stay(tmp_path: Path) -> None:
    for age in range(4):
        path = tmp_path / f"program{age}"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000.0 - age, 1000.0 - age))
    trim(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program0", "program1"]
    trim(tmp_path, 250)
    assert len(list(tmp_path.iterdir())) == 2
