"""What the card says of the sampler is enough: its lines, and diffusers, sample what `export.edge` samples."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from export import publish, sampler_card
from export.edge.model.artifact import Artifact, open_artifact
from export.edge.model.metadata import LATER_KEYS
from export.edge.sampling.loop import final, generate
from export.edge.sampling.noise import normal, start_noise
from export.folder import write_configs
from tests.edge.conftest import graph, metadata
from torch_ref.weights import Bundle

SHAPE = (1, 16, 24, 3)
COND = np.tanh(normal(1, 0, SHAPE))
IN_DIFFUSERS = {"x0": "sample", "v": "v_prediction"}


def nchw(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


@pytest.fixture(params=["x0", "v"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """model.onnx and sampler_config.json of a model whose x0 leaves the clamp."""
    model = graph(gain=6.0)
    onnx.helper.set_model_props(model, metadata(**LATER_KEYS | {"prediction": request.param, "clamp": "0.5"}))
    publish.write(tmp_path / "model.onnx", model)
    facts = SimpleNamespace(config={"model": {}}, weights_digest="")
    write_configs(tmp_path, cast(Bundle, facts), open_artifact(tmp_path / "model.onnx"))
    return tmp_path


def of_the_edge(model: Artifact) -> np.ndarray:
    return nchw(final(generate(model, COND, model.plan(), 0)))


@pytest.mark.parametrize(("clipped", "near"), [(True, True), (False, False)])
def test_diffusers_samples_from_the_config_alone(clipped: bool, near: bool, folder: Path) -> None:
    config: dict[str, Any] = json.loads((folder / "sampler_config.json").read_text())
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    levels = np.array(config["alphas_cumprod"])
    scheduler = DDIMScheduler(
        num_train_timesteps=config["timesteps"],
        trained_betas=1.0 - levels / np.concatenate([[1.0], levels[:-1]]),
        prediction_type=IN_DIFFUSERS[config["prediction"]],
        clip_sample=True,
        clip_sample_range=config["clamp"],
        timestep_spacing=config["spacing"],
    )
    scheduler.set_timesteps(config["steps"])
    x = torch.from_numpy(nchw(start_noise(0, SHAPE)))
    for t in scheduler.timesteps:
        feeds = {"x_t": x.numpy(), "cond": nchw(COND), "t": np.array([int(t)])}
        out = torch.from_numpy(np.asarray(session.run(None, feeds)[0]))
        x = scheduler.step(out, int(t), x, use_clipped_model_output=clipped, return_dict=False)[0]
    difference = np.abs(x.numpy() - of_the_edge(open_artifact(folder / "model.onnx"))).max()
    assert (difference < 1e-4) == near


def test_the_cards_lines_are_the_sampler(folder: Path) -> None:
    model = open_artifact(folder / "model.onnx")
    text = "\n".join(sampler_card.lines({"prediction": model.prediction, "clamp": model.clamp}))
    (code,) = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    levels = model.alphas_cumprod
    assert levels is not None
    names = {
        "noise": start_noise(0, SHAPE),
        "cond": COND,
        "timesteps": [*model.plan().t, -1],
        "pairs": pairwise,
        "a": np.append(levels, 1.0),  # a[-1] is 1.
        "model": lambda x, cond, t: model.denoise(x.astype(np.float32), cond, np.array([t])),
        "sqrt": np.sqrt,
        "clip": np.clip,
    }
    exec(compile(code, "card", "exec"), names)
    found = names["x"]
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(nchw(found), of_the_edge(model), rtol=0, atol=1e-5)


def test_other_processes_have_other_formulas() -> None:
    assert sampler_card.lines({"prediction": "bridge", "clamp": None}) == []
    assert "has no clamp" in "\n".join(sampler_card.lines({"prediction": "eps", "clamp": None}))
