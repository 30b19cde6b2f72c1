"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from export.edge.disk import files
from export.edge.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_written_files_hold_what_was_given(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a.bin", b"\x00\xff")
    files.write_text(tmp_path / "b.txt", "ünï\n")
    files.write_json(tmp_path / "c.json", {"x": [1, 2.5, None]})
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b.txt").read_bytes() == "ünï\n".encode()
    assert json.loads((tmp_path / "c.json").read_text()) == {"x": [1, 2.5, None]}
    assert names(tmp_path) == ["a.bin", "b.txt", "c.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fill_the_disk() -> None:
        with files.atomic_file(path) as temporary:
            temporary.write_text("half of the ne")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()
    assert path.read_text() == "old" and names(tmp_path) == ["x.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    files.write_text(tmp_path / "ours", "")
    (tmp_path / "plain").write_text("")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with files.atomic_folder(tmp_path / "run") as temporary:
            (temporary / "half").write_text("")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert names(tmp_path) == []
    with files.atomic_folder(tmp_path / "run") as temporary:
        (temporary / "whole").write_text("")
        assert not (tmp_path / "run").exists()
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["whole"]
    with pytest.raises(UserError, match="exists already"), files.atomic_folder(tmp_path / "run"):
        pass
    assert names(tmp_path / "run") == ["whole"]


def test_outputs_are_checked_beforehand(tmp_path: Path) -> None:
    assert files.check_output_file(tmp_path / "a.png") == tmp_path / "a.png"
    with pytest.raises(UserError, match="is a folder"):
        files.check_output_file(tmp_path)
    with pytest.raises(UserError, match="mkdir -p"):
        files.check_output_file(tmp_path / "none" / "a.png")


def test_inputs_are_checked_beforehand(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    assert files.check_input_file(tmp_path / "a") == tmp_path / "a"
    with pytest.raises(UserError, match=r"photo .* is a folder"):
        files.check_input_file(tmp_path, "photo")
    with pytest.raises(UserError, match="does not exist"):
        files.check_input_file(tmp_path / "b")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(data)
    assert files.sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_weights_digest_sees_every_difference_but_the_order() -> None:
    base = {"a": np.arange(6, dtype=np.float32), "b": np.zeros(2)}
    digest = files.weights_digest(base)
    assert digest == files.weights_digest(dict(reversed(base.items())))
    assert digest == files.weights_digest(base | {"a": np.arange(12, dtype=np.float32)[::2] / 2})
    flipped = base["a"].copy()
    flipped.view(np.uint32)[3] ^= 1
    others = [
        base | {"a": flipped},
        base | {"a": base["a"].reshape(2, 3)},
        base | {"a": base["a"].view(np.int32)},
        {"c": base["a"], "b": base["b"]},
        {"a": base["a"]},
    ]
    assert len({digest, *map(files.weights_digest, others)}) == 6


def test_output_folders_exist_or_can_be_made(tmp_path: Path) -> None:
    assert files.check_output_folder(tmp_path) == tmp_path
    assert files.check_output_folder(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        files.check_output_folder(tmp_path / "file")
    with pytest.raises(UserError, match="mkdir -p"):
        files.check_output_folder(tmp_path / "a" / "b")


def test_json_holds_no_infinity(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"psnr": float("inf")})
    assert list(tmp_path.iterdir()) == []
