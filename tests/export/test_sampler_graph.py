"""The sampling loop as one graph draws what the host loop and PyTorch draw from the same noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from export import sampler_graph
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.metadata import LATER_KEYS
from export.edge.model.sealed import seal
from export.edge.sampling.guidance import guided
from export.edge.sampling.loop import bounded, iterate
from export.edge.sampling.noise import normal
from export.edge.sampling.table import coefficients
from tests.edge.conftest import SLIDER, metadata
from tests.edge.conftest import graph as tiny_graph
from torch_ref import diffusion
from torch_ref.guidance import guided as guided_in_torch
from torch_ref.weights import load_bundle

TOLERANCE = 1e-5
"""In [0, 1]; 2e-7 was the most seen. Both run the network in onnxruntime and round every operation alike."""
CASES: list[dict[str, Any]] = [
    {"sampler": "ddim", "steps": 1, "clamp": 1.0},
    {"sampler": "ddim", "steps": 6, "clamp": None},
    {"sampler": "dpmpp", "steps": 5, "clamp": 0.8, "spacing": "logsnr"},
    {"sampler": "heun", "steps": 4, "clamp": 1.0, "spacing": "linspace"},
    {"sampler": "ddim", "steps": 3, "clamp": 0.5, "threshold": 0.9},
    {"sampler": "dpmpp", "steps": 3, "clamp": 0.7, "threshold": 1.0, "guidance": 1.7, "cond_dropout": 0.1},
]


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def retold(path: Path, changes: dict[str, Any], to: Path) -> Path:
    """The exported file with other settings in its metadata, written to `to`."""
    model = onnx.load(path)
    held = {entry.key: entry.value for entry in model.metadata_props}
    held |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, held)
    to.write_bytes(model.SerializeToString())
    seal(to)
    return to


def never(index: int) -> NoReturn:
    """Noise that nobody may ask for."""
    raise AssertionError(index)


def nchw(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture.transpose(0, 3, 1, 2))


# The loop is the same around every network: of the others two cases show that it takes them.
@pytest.mark.parametrize(
    ("exported", "case"),
    [
        pytest.param(
            kind, case, marks=() if kind == "unet" or case in (CASES[0], CASES[-1]) else pytest.mark.slow,
            id=f"{kind}-{'-'.join(map(str, case.values()))}",
        )
        for kind in ("seed", "unet", "coordinates")
        for case in CASES
    ],
    indirect=["exported"],
)  # fmt: skip
def test_it_draws_what_the_host_loop_and_torch_draw(
    case: dict[str, Any], exported: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle = load_bundle(exported[0])
    path = retold(exported[1], case, tmp_path / "model.onnx")
    run = session(sampler_graph.build(onnx.load(path)))
    model = open_artifact(path)
    names = {"steps": case["steps"], "sampler": case["sampler"], "spacing": case.get("spacing", "trailing")}
    plan = coefficients(model.alphas_cumprod, prediction="v", **names)
    for shape in ((1, 16, 24, 3), (2, 8, 8, 3)):
        cond = np.tanh(normal(1, 0, shape))
        x_T = normal(2, 0, shape)
        (found,) = run.run(None, {"cond": nchw(cond), "noise": nchw(x_T)})
        denoise = guided(model.denoise, model.guidance)
        *_, last = iterate(denoise, cond, x_T, plan, model.clamp, never, model.threshold)
        wanted = np.clip(last.x / 2.0 + 0.5, 0.0, 1.0)
        np.testing.assert_allclose(found, nchw(wanted), rtol=0, atol=TOLERANCE)
        assert wanted.std() > 0.01

        clean, start = (torch.from_numpy(nchw(a)) for a in (cond, x_T))
        with torch.inference_mode():
            *_, last_in_torch = diffusion.sample(
                guided_in_torch(bundle.model, model.guidance), clean, start, model.alphas_cumprod, never,
                diffusion.SamplerSettings(prediction="v", clamp=model.clamp, threshold=model.threshold, **names),
            )  # fmt: skip
        in_torch = (last_in_torch.x / 2.0 + 0.5).clamp(0.0, 1.0).numpy()
        np.testing.assert_allclose(found, in_torch, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_reference_evaluator_draws_the_same(steps: int) -> None:
    """That of the onnx package, which shares no code with onnxruntime."""
    denoiser = tiny_graph()
    onnx.helper.set_model_props(denoiser, metadata(**LATER_KEYS))
    model = sampler_graph.build(denoiser, steps=steps)
    shape = (1, 3, 32, 32)
    feeds = {"cond": np.tanh(normal(1, 0, shape)), "noise": normal(2, 0, shape)}
    (found,), (wanted,) = ReferenceEvaluator(model).run(None, feeds), session(model).run(None, feeds)
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=0, atol=1e-6)


def test_realism_is_an_input_where_the_model_has_a_slider() -> None:
    denoiser = tiny_graph()
    held = {key: value for key, value in (metadata(**LATER_KEYS) | SLIDER).items() if value is not None}
    onnx.helper.set_model_props(denoiser, held)
    run = session(model := sampler_graph.build(denoiser))
    assert [(found.name, found.type, found.shape) for found in run.get_inputs()][2] == ("realism", "tensor(float)", [1])
    assert {entry.key: entry.value for entry in model.metadata_props}["mean_timesteps"] == "[199]"
    cond = np.tanh(normal(1, 0, (2, 16, 8, 3)))
    network, pictures = session(denoiser), []
    for realism in (0.0, 0.25, 0.333, 1.0):
        feeds = {"cond": nchw(cond), "noise": np.zeros((2, 3, 16, 8), np.float32)}
        (found,) = run.run(None, feeds | {"realism": np.array([realism], np.float32)})
        t = np.full(2, np.floor(199.5 - 100 * realism), np.int64)
        (x0,) = network.run(None, {"x_t": 0 * nchw(cond), "cond": nchw(cond), "t": t})
        np.testing.assert_allclose(found, np.asarray(x0) / 2.0 + 0.5, rtol=0, atol=TOLERANCE)
        pictures.append(np.asarray(found))
    assert np.abs(pictures[0] - pictures[-1]).mean() > 0.01


@pytest.mark.parametrize("share", [0.0001, 0.37, 0.995, 1.0])
def test_its_quantile_is_numpys(share: float) -> None:
    """Through a network that predicts nothing but cond, whose x0_hat is bounded in the only step."""
    value = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]>
        net (float[batch, 3, height, width] x_t, float[batch, 3, height, width] cond, int64[batch] t)
        => (float[batch, 3, height, width] prediction) { prediction = Identity(cond) }"""
    )
    held = {
        "alphas_cumprod": "[0.9, 0.5]", "prediction": "x0", "clamp": "0.25", "threshold": json.dumps(share),
        "guidance": "1", "size": "8", "size_multiple": "1", "fit": "crop", "value_range": "[-1, 1]", "steps": "1",
        "sampler": "ddim", "spacing": "trailing", "weights_digest": 64 * "0", "config": "{}",
    }  # fmt: skip
    onnx.helper.set_model_props(value, held)
    cond = normal(5, 0, (2, 5, 7, 3))
    (found,) = session(sampler_graph.build(value)).run(None, {"cond": nchw(cond), "noise": nchw(cond)})
    # In float64, where numpy does not round the quantile's place either.
    wanted = bounded(cond.astype(np.float64), 0.25, share) / 2.0 + 0.5
    np.testing.assert_allclose(found, nchw(wanted), rtol=0, atol=1e-6)


def test_it_stands_alone_and_old_runtimes_read_it(exported: tuple[Path, Path]) -> None:
    denoiser = onnx.load(exported[1])
    model = sampler_graph.build(denoiser, steps=3, sampler="ddim", spacing="linspace")
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 10  # onnxruntime 1.18
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    picture = ["batch", 3, "height", "width"]
    assert shapes == {"cond": picture, "noise": picture, "picture": picture}
    held = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(held["timesteps"]) == [99, 50, 0]
    assert (held["format"], held["steps"], held["sampler"], held["output_range"]) == (
        "dawn2dusk-sampler", "3", "ddim", "[0, 1]",
    )  # fmt: skip
    # The weights stand in it once, however often the network is called.
    assert len(model.SerializeToString()) < len(denoiser.SerializeToString()) + 5000


def test_a_sampler_that_adds_noise_and_impossible_steps_are_refused(exported: tuple[Path, Path]) -> None:
    denoiser = onnx.load(exported[1])
    with pytest.raises(UserError, match="ddpm adds noise in its steps"):
        sampler_graph.build(denoiser)
    with pytest.raises(UserError, match=r"steps 0 is outside 1 \.\.\. 100"):
        sampler_graph.build(denoiser, steps=0, sampler="ddim")
    with pytest.raises(UserError, match="spacing 'odd' is unknown"):
        sampler_graph.build(denoiser, sampler="ddim", spacing="odd")
