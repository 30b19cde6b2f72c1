"""PyTorch's side of the training benchmark: it trains what it is given, and answers in lines."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.edge.errors import UserError
from torch_ref import timed

OPTIM = {
    "learning_rate": 1e-2, "weight_decay": 0.1, "schedule": "step", "decay_epochs": 2, "decay_factor": 0.5,
    "warmup_steps": 0, "clip_norm": 1.0, "ema_decay": 0.9,
}  # fmt: skip


@pytest.fixture
def job(make_config: Callable[[str], dict[str, Any]], schedule: np.ndarray) -> dict[str, Any]:
    config = make_config("unet")
    config["diffusion"] |= {"prediction": "x0"}
    config |= {"optim": OPTIM, "train": {"epochs": 10}}
    return {"config": config, "alphas_cumprod": schedule.tolist(), "size": 16, "batch_size": 2, "compile": False}


def test_it_takes_the_steps_it_is_told(job: dict[str, Any]) -> None:
    race = timed.Race(job)
    before = [p.detach().clone() for p in race.trainer.model.parameters()]
    taken = race.trainer.steps
    assert race.run(3) > 0.0 and race.trainer.steps == taken + 3
    after = list(race.trainer.model.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    cond, x0, t, eps = race.draw()
    assert cond.shape == x0.shape == eps.shape == (2, 3, 16, 16) and t.shape == (2,)
    assert float(x0.abs().max()) <= 1.0 and int(t.min()) >= 0 and int(t.max()) < len(job["alphas_cumprod"])


def test_half_precision_runs_under_autocast(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    job["config"]["model"]["compute_dtype"] = "bfloat16"
    race, seen = timed.Race(job), []
    head = next(m for m in race.trainer.model.modules() if isinstance(m, torch.nn.Conv2d))
    head.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    race.run(1)
    assert seen == [torch.bfloat16]
    assert all(p.dtype == torch.float32 for p in race.trainer.model.parameters())


def test_it_answers_in_lines(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.json").write_text(json.dumps(job))
    monkeypatch.setattr("sys.stdin", io.StringIO('{"steps": 1}\n{"steps": 2}\n'))
    timed.main([str(tmp_path / "job.json")])
    first, *answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["device"].startswith("CPU") or torch.cuda.is_available()
    assert first["parameters"] > 0 and len(answers) == 2 and all(answer["seconds"] > 0.0 for answer in answers)


def test_what_cannot_go_on_is_one_line(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.json").write_text(json.dumps(job | {"size": 16 * 2**20}))
    timed.main([str(tmp_path / "job.json")])
    assert json.loads(capsys.readouterr().out) == {"error": "out of memory"}
    (tmp_path / "job.json").write_text(json.dumps(job | {"config": {"model": {}, "diffusion": {"timesteps": 10}}}))
    with pytest.raises(UserError, match=r"model\.architecture is None"):
        timed.main([str(tmp_path / "job.json")])
