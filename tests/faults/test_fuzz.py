"""Broken inputs end in one line: a short campaign over every door, and all that a long one ever found."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.edge.errors import UserError
from tests.faults.fuzz import doors
from tests.faults.fuzz.campaign import Worker
from tests.faults.fuzz.commands import COMMANDS, RefusedError
from tests.faults.fuzz.material import Material, make_material
from tests.faults.fuzz.shares import SHARES

REGRESSIONS = Path(__file__).with_name("regressions")
COUNTS = {
    "picture": 60, "csv": 30, "jsonl": 30, "tree": 30, "sums": 20, "networks": 60, "config": 30, "bundle": 20,
    "onnx": 30, "pth": 12,
}  # fmt: skip


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Material]:
    before = Path.cwd()
    made = make_material(tmp_path_factory.mktemp("material") / "whole")
    os.chdir(made.folder)
    yield made
    os.chdir(before)


def walk(door: str, data: bytes, material: Material, folder: Path) -> None:
    path = folder / f"input.{doors.suffix(door)}"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A command's `run` makes one line of an OSError too; the door for pictures names the picture.
        with contextlib.suppress(UserError, RefusedError, *([] if door == "picture" else [OSError])):
            assert doors.walk(door, path, material) is None


@pytest.mark.parametrize("door", SHARES)
def test_broken_inputs_end_in_one_line(door: str, material: Material, tmp_path: Path) -> None:
    made = doors.inputs(door, material, COUNTS.get(door, 6), seed=7)
    assert made == doors.inputs(door, material, COUNTS.get(door, 6), seed=7)
    for data in made:
        walk(door, data, material, tmp_path)


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_stays_mended(path: Path, material: Material, tmp_path: Path) -> None:
    assert path.parent.name in SHARES
    walk(path.parent.name, path.read_bytes(), material, tmp_path)


def test_whole_inputs_go_through(material: Material, tmp_path: Path) -> None:
    """Else the campaign would prove nothing."""
    for door in SHARES.keys() - COMMANDS.keys():
        for number, data in enumerate(material.files[door][:1] if door == "pth" else material.files[door]):
            path = tmp_path / f"{number}.{doors.suffix(door)}"
            path.write_bytes(data)
            assert doors.walk(door, path, material) is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("time.sleep(60)", "hang"),
        ("held = bytearray(b'x') * 2**31; time.sleep(60)", "memory"),
        ("os.abort()", "death"),
        ('print(\'["fine", ""]\', flush=True); time.sleep(60)', "fine"),
    ],
)
def test_what_becomes_of_a_process_is_seen(code: str, kind: str, tmp_path: Path) -> None:
    script = f'import os, time; print(\'["ready", ""]\', flush=True); {code}'
    worker = Worker(tmp_path, (sys.executable, "-c", script))
    assert worker.answer(0.1 if kind == "hang" else 30.0)[0] == kind
    worker.close()
