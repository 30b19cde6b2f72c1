"""SHA256SUMS: every line is a file of the folder, every file of the folder has a line."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from export.edge.disk.sums import check_sums
from export.edge.errors import UserError
from export.edge.model.layout import SUMS


def line(path: Path, name: str) -> str:
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "artifact"
    made.mkdir()
    for name in ("config.json", "README.md"):
        (made / name).write_text(name)
    (made / SUMS).write_text("".join(line(made / name, name) for name in ("config.json", "README.md")))
    return made


def test_what_is_whole_is_counted(folder: Path) -> None:
    assert check_sums(folder) == 2
    (folder / "notes.txt").write_text("of mine")
    assert check_sums(folder) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not list"),
        ("config.json\n", "line 1 is not a digest and a name"),
        ("\n", "line 1 is not"),
        (64 * "A" + "  config.json\n", "line 1 is not"),
        (64 * "a" + "  ../../etc/passwd\n", r"names '\.\./\.\./etc/passwd', which is no file of an export"),
        (64 * "a" + "  /etc/passwd\n", "which is no file of an export"),
        (64 * "a" + "  onnx/../config.json\n", "which is no file of an export"),
        (2 * (64 * "a" + "  config.json\n"), "names 'config.json' twice"),
        (2**21 * "a", "has more than 1,048,576 bytes"),
    ],
)
def test_lists_that_say_less_or_other_things_are_refused(text: str, reason: str, folder: Path) -> None:
    (folder / SUMS).write_text(text)
    with pytest.raises(UserError, match=reason):
        check_sums(folder)


def test_a_file_without_a_line_is_named(folder: Path) -> None:
    (folder / "sampler_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"does not list sampler_config\.json"):
        check_sums(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("config.json")
    (folder / "config.json").unlink()
    os.symlink(tmp_path / "elsewhere", folder / "config.json")
    with pytest.raises(UserError, match=r"config\.json is a link that leads out of"):
        check_sums(folder)
