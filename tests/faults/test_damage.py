"""What has gone bad is noticed, whatever is damaged and however."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from export.edge.disk.files import write_text
from export.folder import staged
from tests.edge.conftest import MakeModel, make_model  # noqa: F401  (a fixture)
from tests.export.conftest import write_bundle
from tests.faults.damage import (
    FELL_BACK,
    ONE_LINE,
    ArtifactJudge,
    RunJudge,
    artifact_names,
    campaign,
    impostors,
    judged,
    run_names,
)
from tests.faults.kills import Campaign
from tests.faults.mutations import KINDS, flip


@pytest.mark.parametrize("mutation", [m for kind in KINDS.values() for m in kind], ids=lambda m: m.__name__)
def test_every_mutation_changes_the_folder(mutation, tmp_path: Path) -> None:
    files = {"a": b"first file", "b": b"", "c/d": bytes(range(200))}
    for name in files:
        for n in range(3):
            folder = tmp_path / f"{name.replace('/', '_')}{n}"
            (folder / "c").mkdir(parents=True)
            for other, data in files.items():
                (folder / other).write_bytes(data)
            assert mutation(folder, name, list(files), random.Random(n))
            found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
            assert found != files


def test_a_damaged_run(unbroken: Campaign, tmp_path: Path) -> None:
    run = unbroken.unbroken
    judge = RunJudge(run)
    rows = campaign("run", run, run_names(run), judge, 12, random.Random(0), tmp_path)
    rows.append(impostors(run, judge, tmp_path))
    assert [failure for row in rows for failure in row.failures] == []
    assert sum(row.tried for row in rows) == 22
    assert FELL_BACK in rows[0].outcome


def test_a_damaged_artifact(make_model: MakeModel, tmp_path: Path) -> None:  # noqa: F811
    with staged(tmp_path / "artifact") as new:
        (new / "onnx").mkdir()
        shutil.copyfile(make_model(), new / "onnx" / "model.onnx")
        write_bundle(new / "model.safetensors", "unet")
        write_text(new / "config.json", "{}\n")
    artifact = tmp_path / "artifact"
    judge = ArtifactJudge(artifact)
    rows = campaign("artifact", artifact, artifact_names(artifact), judge, 60, random.Random(0), tmp_path)
    assert [failure for row in rows for failure in row.failures] == []
    assert sum(row.tried for row in rows) == 60
    assert ONE_LINE in rows[0].outcome


def test_a_judge_that_sees_other_numbers_says_so(unbroken: Campaign, tmp_path: Path) -> None:
    """The harness itself: a run whose newest checkpoint is another run's must not pass for fallen back."""
    judge = RunJudge(unbroken.unbroken)
    for arrays in (judge.newest, *judge.older):
        name = min(arrays)
        arrays[name] = arrays[name] + 1
    assert "in silence" in judged(lambda: judge(unbroken.unbroken, "", flip))
