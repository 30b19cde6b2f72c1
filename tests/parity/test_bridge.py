"""A process that starts from the input picture is sampled alike by JAX, torch, edge, ONNX and JavaScript, by its table.

None of the loops was written for it; the same holds for a table in which every column has a part.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export import denoiser_graph, sampler_graph
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import DENOISER
from export.edge.model.sealed import UNSEALED, seal
from export.edge.sampling.loop import final, generate
from export.edge.sampling.noise import start_noise
from export.edge.sampling.table import COLUMNS, Plan
from export.edge.sampling.tables import write_tables
from jax_impl.config.as_json import from_json, to_json
from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config
from jax_impl.diffusion import bridge, flow
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.registry import Losses
from jax_impl.diffusion.process import Bound
from jax_impl.diffusion.samplers import sample, start_state
from jax_impl.model.network import build, outline
from jax_impl.model.unet import UNetModelConfig
from jax_impl.runs.bundles import open_bundle, write_bundle
from jax_impl.training.batches import Drawn, to_unit
from jax_impl.training.interfaces import Batch
from jax_impl.training.objective import Problem, diffusion_loss, make_validation_loss
from tests.export.web import conftest as web
from tests.parity.bridge import Bridge, BridgeConfig, registered
from torch_ref.diffusion import sample_by_table, start_by_table
from torch_ref.weights import load_bundle

GAIN = 0.75
SHAPE = (2, 8, 16, 3)
COND = np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32)
SEED = 3
NOISE = start_noise(SEED, SHAPE)


def everything() -> Plan:
    """A table without sense in which every column but the noise, which sampler.onnx takes once alone, has a part."""
    rng = np.random.default_rng(1)
    columns = {name: rng.uniform(0.1, 0.4, 6) for name in COLUMNS if name != "noise"}
    start = {"start_from_source": 0.75, "start_from_noise": 0.5}
    return Plan.from_columns({"t": [90, 60, 60, 30, 20, 0], **columns, **start})


PLANS = {
    "bridge": Bridge(BridgeConfig()).plan(5, "bridge"),
    "everything": everything(),
    # It adds noise after the first call.
    "dbim2": bridge.BridgeConfig(timesteps=100).create().plan(5, "dbim2"),
    # Five calls: two of each step but the last.
    "heun": flow.FlowConfig(timesteps=100, prediction="velocity").create().plan(3, "heun"),
}


def picture(plan: Plan, clamp: float | None) -> np.ndarray:
    """The formula of `export.edge.sampling.table` in float64, with a network that says GAIN x_t + t / 1000 cond."""
    start = plan.start_from_source * COND.astype(np.float64) + plan.start_from_noise * NOISE
    x, x0 = start, 0.0 * start
    for i, t in enumerate(plan.t):
        row = {name: getattr(plan, name)[i] for name in COLUMNS}
        raw = row["x0_from_output"] * (GAIN * x + t / 1000 * COND) + row["x0_from_x"] * x + row["x0_from_start"] * start
        previous, x0 = x0, raw if clamp is None else raw.clip(-clamp, clamp)
        x = row["next_from_x"] * x + row["next_from_x0"] * x0 + row["next_from_previous"] * previous
        x = x + row["next_from_start"] * start + row["noise"] * NOISE
    return x


def by_jax(plan: Plan, clamp: float | None) -> np.ndarray:
    def denoise(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
        return GAIN * x_t + t[:, None, None, None] / 1000 * cond

    def walk(cond: jax.Array, noise: jax.Array) -> jax.Array:
        start = start_state(plan, {}, cond, noise)
        return sample(denoise, cond, start, plan, lambda call: noise, Bound(clamp)).x0

    return np.asarray(jax.jit(walk)(jnp.asarray(COND), jnp.asarray(NOISE)))


def by_torch(plan: Plan, clamp: float | None) -> np.ndarray:
    cond, noise = torch.from_numpy(COND), torch.from_numpy(NOISE)
    start = start_by_table(plan, cond, noise)
    *_, last = sample_by_table(
        lambda x_t, c, t: GAIN * x_t + t[:, None, None, None] / 1000 * c, cond, start, plan, lambda call: noise, clamp
    )
    return last.x.numpy()


def denoiser(plan: Plan, clamp: float | None) -> onnx.ModelProto:
    """The network as a graph, with the table in its metadata."""
    picture = ["batch", 3, "height", "width"]
    nodes = [
        helper.make_node("Mul", ["x_t", "gain"], ["gained"]),
        helper.make_node("Cast", ["t"], ["t_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["t_float", "scale"], ["time"]),
        helper.make_node("Reshape", ["time", "shape"], ["time4"]),
        helper.make_node("Mul", ["time4", "cond"], ["shown"]),
        helper.make_node("Add", ["gained", "shown"], ["prediction"]),
    ]
    constants = {
        "gain": np.array(GAIN, np.float32),
        "scale": np.array(1e-3, np.float32),
        "shape": np.array([-1, 1, 1, 1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "toy",
        [
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, picture) for name in ("x_t", "cond")),
            helper.make_tensor_value_info("t", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, picture)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    described = {
        "format": "dawn2dusk", "format_version": "2", "tables": write_tables({"bridge": {5: plan}}),
        "prediction": "x0", "clamp": json.dumps(clamp), "size": "16", "size_multiple": "8", "fit": "crop",
        "value_range": "[-1, 1]", "steps": "5", "sampler": "bridge", "weights_digest": 64 * "a", "config": "{}",
        "threshold": "0", "guidance": "1", "spacing": "trailing", "file_digest": UNSEALED,
    }  # fmt: skip
    helper.set_model_props(model, described)
    return model


def sealed(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    seal(path)
    return path


@pytest.mark.parametrize("clamp", [None, 0.6])
@pytest.mark.parametrize("name", PLANS)
def test_all_loops_give_one_picture(tmp_path: Path, name: str, clamp: float | None) -> None:
    plan = PLANS[name]
    wanted = picture(plan, clamp)
    graph = denoiser(plan, clamp)
    model = open_artifact(sealed(graph, tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(sampler_graph.build(graph).SerializeToString())
    cond, noise = (array.transpose(0, 3, 1, 2).copy() for array in (COND, NOISE))
    (looped,) = session.run(["picture"], {"cond": cond, "noise": noise})
    found = {
        "JAX": by_jax(plan, clamp),
        "torch": by_torch(plan, clamp),
        "edge": final(generate(model, COND, model.plan(), SEED)),
    }
    for side, x in found.items():
        np.testing.assert_allclose(x, wanted, rtol=0, atol=1e-5, err_msg=side)
    unit = np.clip(wanted / 2.0 + 0.5, 0.0, 1.0).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(np.asarray(looped), unit, rtol=0, atol=1e-5, err_msg="ONNX Loop")
    assert not np.allclose(wanted, COND, atol=0.1)


@pytest.mark.parametrize("name", PLANS)
def test_javascript_gives_that_picture_too(name: str) -> None:
    node = web._node()
    if node is None:
        web._missing("Node.js is not installed")
    model = {"tables": json.loads(write_tables({"bridge": {5: PLANS[name]}})), "clamp": 0.6, "threshold": 0}
    flat = {"cond": COND.ravel().tolist(), "noise": NOISE.ravel().tolist()}
    question = {"ask": "bridge", "model": model, "steps": 5, "name": "bridge", "gain": GAIN, **flat}
    answers = Path(web.__file__).with_name("answers.mjs")
    command = [str(node), str(answers), str(web.APP)]
    said = subprocess.run(command, input=json.dumps([question]), text=True, capture_output=True, check=True).stdout
    (x,) = json.loads(said)
    np.testing.assert_allclose(np.array(x).reshape(SHAPE), picture(PLANS[name], 0.6), rtol=0, atol=1e-5)
    for change, message in (
        ({"steps": 4}, "bridge has no table of 4 steps. Choose one of 5."),
        ({"name": "ddim"}, "Sampler ddim is unknown. Choose one of bridge."),
    ):
        refused = subprocess.run(command, input=json.dumps([question | change]), text=True, capture_output=True)
        assert refused.returncode != 0 and message in refused.stderr


def test_the_loop_graph_refuses_a_source_that_it_is_not_given() -> None:
    plan = replace(PLANS["bridge"], source="mean")
    with pytest.raises(UserError, match="the graph mean is needed, and there is only denoiser; export the bundle"):
        sampler_graph.build(denoiser(plan, None))


def settings() -> Config:
    return Config(
        data=DataConfig(size=8),
        model=UNetModelConfig(width=4, groups=2, multipliers=(1,), blocks=1, patch=2),
        diffusion=BridgeConfig(),
    )


@pytest.fixture
def _registered() -> Iterator[None]:
    with registered():
        yield


@pytest.mark.usefixtures("_registered")
def test_its_tables_travel_in_bundle_and_artifact(tmp_path: Path) -> None:
    config = settings()
    assert from_json(to_json(config)) == config
    network, params, stats = build(config, jax.random.key(0))
    path = tmp_path / "model.safetensors"
    published = Problem.of(network, config).process.published()
    write_bundle(path, {DENOISER: (params, stats)}, published, config)
    problem, *_ = open_bundle(path)
    assert isinstance(problem.process, Bridge) and problem.config == config
    held = load_bundle(path)
    assert held.alphas_cumprod is None and held.tables is not None
    assert sorted(held.tables["bridge"]) == [1, 2, 4, 5, 10, 20, 50]
    described = denoiser_graph.metadata(held)
    assert "alphas_cumprod" not in described and described["sampler"] == "bridge"
    model = helper.make_model(denoiser(PLANS["bridge"], None).graph, ir_version=8)
    helper.set_model_props(model, described)
    opened = open_artifact(sealed(model, tmp_path / "model.onnx"))
    for steps in (5, 20):
        found, wanted = opened.plan(steps), problem.process.plan(steps, "bridge")
        assert found.to_columns() == wanted.to_columns()


def test_it_is_trained_and_validated_by_the_same_losses() -> None:
    """The loss of the toy against numbers from its formula; validation meets the same function."""
    config = settings()
    network, *_ = outline(config)
    _, params, stats = build(config, jax.random.key(0))
    problem = Problem(network, config, Bridge(BridgeConfig()), Losses((HybridConfig(mae_weight=0.0),)))
    rng = np.random.default_rng(0)
    pairs = Batch(*(rng.integers(0, 256, (4, 8, 8, 3), np.uint8) for _ in range(2)))
    cond, x0 = to_unit(pairs.cond), to_unit(pairs.x0)
    t = jnp.asarray([12, 37, 62, 87])
    loss, (parts, _) = diffusion_loss(problem, params, stats, Drawn(cond, x0, t, 0.0 * x0))
    x_t = cond + (1 - t[:, None, None, None] / 99) * (x0 - cond)
    output, _ = network.apply(params, stats, x_t, cond, t)
    assert float(loss) == pytest.approx(float(jnp.mean((output - x0) ** 2)), rel=1e-5)
    assert set(parts) == {"loss", "mse", "mae"}
    assert make_validation_loss(problem)(params, stats, pairs) > 0.0
