"""A picture that is being written when the process dies or the disk is full is not there, or whole."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from export.edge.pictures.files import save_picture
from tests.edge.conftest import MakeModel, make_model  # noqa: F401  (a fixture)
from tests.faults.disk import tool_disks
from tests.faults.places import can_mount, fill, free_kib, relieve, small_disk
from tests.faults.tool_kills import kill
from tests.faults.tools import Tool


@pytest.fixture
def edge(make_model: MakeModel, tmp_path: Path) -> Tool:  # noqa: F811
    """The translation of a photo, over one of another seed."""
    photo, old = tmp_path / "photo.png", tmp_path / "old.png"
    rng = np.random.default_rng(0)
    for path in (photo, old):
        save_picture(path, rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    model = make_model()
    return Tool("edge", "export.edge", lambda at: [str(model), str(photo), str(at / "new.png")], "new.png", old, True)


def test_killed_while_translating(edge: Tool, tmp_path: Path) -> None:
    (tmp_path / "kills").mkdir()
    row = kill(edge, tmp_path / "kills", 4, random.Random(0), [])
    assert row.failures == ()
    assert row.tried == 4
    assert "4 struck" in row.outcome or "3 struck" in row.outcome


def test_a_full_disk_while_translating(edge: Tool, tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("mounting a small file system needs privileges that this user lacks")
    with small_disk(tmp_path / "disk", 256) as disk:
        fill(disk, 64)
        assert free_kib(disk) == 64
        relieve(disk)
        row = tool_disks(edge, disk, 3, [])
    assert row.failures == ()
    assert row.tried >= 2
    assert "status 2" in row.outcome
