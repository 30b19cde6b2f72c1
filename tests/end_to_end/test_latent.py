"""The preset `latent`, from the command line of training to a picture on the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from export import to_onnx, verify
from export.edge import __main__ as edge
from export.edge.model.artifact import open_artifact
from export.edge.model.photo import open_photo_graph
from export.edge.pictures.arrays import to_float
from export.edge.pictures.files import open_picture
from export.edge.sampling.loop import generate
from export.edge.sampling.noise import start_noise
from jax_impl import sample, train
from jax_impl.config.presets import PRESETS
from jax_impl.data.synthetic import render_pair, scene_seed
from jax_impl.runs.bundles import read_bundle
from tests.toy import narrowed


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of both stages, and its artifact."""
    run, artifact = (tmp_path_factory.mktemp("latent") / name for name in ("run", "artifact"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS._entries, "latent", narrowed(PRESETS["latent"]))  # type: ignore[attr-defined]
        train.main(["latent", "--output-dir", str(run)])
    to_onnx.main([str(run), "--output", str(artifact), "--variants", "int8", "--photo", "int8", "--unrolled"])
    return run, artifact


def test_the_device_draws_what_jax_draws(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run, artifact = folders
    photo = tmp_path / "photo.png"
    Image.fromarray(render_pair(scene_seed("test", 0), 48)[0][:32]).save(photo)
    verify.main([str(artifact)])
    edge.main([str(artifact), str(photo), str(tmp_path / "edge.png"), "--seed", "3"])
    sample.main(["--run", str(run), "--input", str(photo), "--output", str(tmp_path / "jax.png"), "--seed", "3"])
    drawn, in_jax = (open_picture(tmp_path / name).astype(int) for name in ("edge.png", "jax.png"))
    assert np.abs(drawn - in_jax).max() <= 1
    # In windows too: they lie on states, and what is encoded is the whole.
    edge.main([str(artifact), str(photo), str(tmp_path / "tiles.png"), "--tile", "16"])
    assert open_picture(tmp_path / "tiles.png").shape == (32, 48, 3)


def test_the_statistics_travel_with_the_weights(folders: tuple[Path, Path]) -> None:
    """They are inside the encoder's file: the description of the artifact stays that of a codec without any."""
    run, artifact = folders
    weights = read_bundle(run / "model.safetensors").networks["codec"]
    assert weights["statistics.std"].min() > 0 and (weights["statistics.std"] != 1).all()
    model = open_artifact(artifact)
    assert set(model.codec.mean) == {0.0} and set(model.codec.std) == {1.0} and model.codec.factor == 4
    cond = to_float(render_pair(scene_seed("test", 1), 64)[0])[None]
    state = model.codec.encode(cond)
    # Mean colours, the first three channels of a hardly trained codec, by the statistics.
    means = cond.reshape(1, 16, 4, 16, 4, 3).mean(axis=(2, 4))
    wanted = (3 * np.tanh(means / 3) - weights["statistics.mean"][:3]) / weights["statistics.std"][:3]
    assert np.abs(state[..., :3] - wanted).mean() < 0.2


def test_one_graph_holds_encoder_network_and_decoder(folders: tuple[Path, Path]) -> None:
    _, artifact = folders
    model, cond = open_artifact(artifact), to_float(render_pair(scene_seed("test", 2), 32)[0])[None]
    noise = start_noise(0, model.codec.state_shape(cond.shape))
    for call in generate(model, cond, model.plan(), 0):
        last = call.x
    wanted = np.clip(model.codec.decode(last) / 2 + 0.5, 0, 1)
    for name in ("sampler.onnx", "sampler_unrolled.onnx"):
        path = artifact / "onnx" / name
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        feeds = {"cond": cond, "noise": noise}
        given = {key: np.ascontiguousarray(value.transpose(0, 3, 1, 2)) for key, value in feeds.items()}
        (found,) = session.run(["picture"], given)
        np.testing.assert_allclose(np.asarray(found).transpose(0, 2, 3, 1), wanted, rtol=0, atol=2e-6)
    assert open_photo_graph(artifact, variant="int8").steps == len(model.plan())
    # The network alone is in 8 bits, see docs/latent.md.
    kinds = {
        name: {node.op_type for node in onnx.load(artifact / "onnx" / f"{name}.onnx").graph.node}
        for name in ("model_int8", "codec_encode", "codec_decode")
    }
    quantised = {name: "QuantizeLinear" in kind or "DequantizeLinear" in kind for name, kind in kinds.items()}
    assert quantised == {"model_int8": True, "codec_encode": False, "codec_decode": False}
