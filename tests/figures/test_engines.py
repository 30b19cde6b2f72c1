"""The table of engines: one row for each engine and graph, with the difference, or with the reason why not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from export.edge.errors import UserError
from tests.export.test_photo_graph import write_model
from tests.figures import engines
from tests.figures.engines import Engine


@pytest.fixture
def artifact(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    return once("photo_model", lambda folder: write_model(folder, {}))


def test_the_table(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Engine("broken", (), "import warnings\nraise ValueError('no operator | called Loop')\n")
    monkeypatch.setattr(engines, "ENGINES", (engines.ENGINES[0], broken))
    engines.main([str(artifact), "--work", str(tmp_path / "work"), "--size", "32"])
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| engine | graph | largest difference | time |"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    loops = ["`sampler.onnx`", "`sampler_unrolled.onnx`"]
    assert [row[1] for row in cells] == [*loops, "`sampler.ort`", *loops]
    for row in cells[:3]:
        assert float(row[2]) < 1e-5 and row[3].startswith("× ")
    for row in cells[3:]:
        assert row[2:] == ["does not run: ValueError: no operator / called Loop", ""]


def test_an_environment_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess((), 1, "", "a line\nERROR: No matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="the environment of none cannot be made: ERROR: No matching distribution"):
        engines.environment(Engine("none", ("no-such-package",), ""), tmp_path)
