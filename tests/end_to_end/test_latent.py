"""The preset `latent`, from the command line of training to a picture on the device."""

from __future__ import annotations

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from export import to_onnx, verify
from export.edge import __main__ as edge
from export.edge.model.artifact import open_artifact
from export.edge.model.photo import open_photo_graph
from export.edge.pictures.arrays import to_float, working
from export.edge.pictures.files import open_picture
from export.edge.sampling.loop import generate
from export.edge.sampling.noise import start_noise
from export.edge.translate import Options, translate
from jax_impl import sample, train
from jax_impl.config.presets import PRESETS
from jax_impl.data.synthetic import render_pair, scene_seed
from jax_impl.runs.bundles import open_bundle, read_bundle
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
    # In windows too, of which the next test tells the values.
    edge.main([str(artifact), str(photo), str(tmp_path / "tiles.png"), "--tile", "16"])
    assert open_picture(tmp_path / "tiles.png").shape == (32, 48, 3)


def test_windows_lie_on_states_and_agree_with_jax(folders: tuple[Path, Path]) -> None:
    """By the bundle, in JAX: the whole is encoded, windows of states are averaged, and the coarse part of each decoded
    x0_hat is that of the small picture. Computed here by itself, from the sampler's table."""
    run, artifact = folders
    photo = render_pair(scene_seed("test", 0), 48)[0][:32]
    model, seen = open_artifact(artifact), []
    translate(model, photo, Options(tile=32), seed=3, on_step=lambda call, total: seen.append(call.x))
    problem, params, stats = open_bundle(run / "model.safetensors")
    codec, plan = problem.codec, model.plan()
    network = jax.jit(lambda *given: problem.network.apply(params, stats, *given)[0])
    assert model.size == 16 and len(plan) == 2 and model.clamp is None

    def encoded(picture: np.ndarray) -> np.ndarray:
        return np.asarray(codec.encode(jnp.asarray(picture)))

    def windowed(x: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Windows of 4 x 4 states, each 2 from the next; sin^2 of the place in each says how much it counts."""
        total, counts = np.zeros_like(x), np.zeros(x.shape, np.float32)
        bell = np.sin(np.pi * np.array([0.5, 1.5, 2.5, 3.5]) / 4) ** 2
        for top, left in itertools.product(range(0, x.shape[1] - 3, 2), range(0, x.shape[2] - 3, 2)):
            part = slice(None), slice(top, top + 4), slice(left, left + 4)
            total[part] += np.outer(bell, bell)[..., None] * np.asarray(network(x[part], cond[part], t))
            counts[part] += np.outer(bell, bell)[..., None]
        return total / counts

    def drawn(size: int, small: np.ndarray | None) -> np.ndarray:
        cond = encoded(to_float(working(photo, size, "crop", 8))[None])
        x = start_noise(3, cond.shape)
        for i, t in enumerate(plan.t):
            at = np.full(1, t, np.int32)
            out = np.asarray(network(x, cond, at)) if small is None else windowed(x, cond, at)
            x0 = plan.x0_from_output[i] * out + plan.x0_from_x[i] * x
            if small is not None:
                picture = np.asarray(codec.decode(x0.astype(np.float32)))
                change = resized(small - resized(picture[0], *small.shape[:2]), *picture.shape[1:3])
                x0 = x0 + encoded(picture + change) - encoded(picture)
            x = (plan.next_from_x[i] * x + plan.next_from_x0[i] * x0).astype(np.float32)
        return np.asarray(codec.decode(x))

    small = drawn(16, None)[0]
    wanted = drawn(32, small)
    assert seen[-1].shape == wanted.shape == (1, 32, 48, 3)
    np.testing.assert_allclose(seen[-1], wanted, rtol=0, atol=2e-4)
    # Neither the small picture enlarged nor the large one in one piece is as near.
    assert np.abs(wanted - drawn(32, None)).mean() > 1e-2 < np.abs(wanted - resized(small, 32, 48)).mean()


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Floats (h, w, 3) at another size: bicubic, antialiased."""
    planes = [Image.fromarray(values[..., c].astype(np.float32)) for c in range(3)]
    return np.stack([np.asarray(p.resize((width, height), Image.Resampling.BICUBIC)) for p in planes], axis=-1)


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
