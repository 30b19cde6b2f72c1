"""A bundle whose tables start from a second network becomes an artifact with both, with a codec or without."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export import to_onnx, verify
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.codec import of_settings
from export.edge.model.layout import DENOISER, networks
from export.edge.pictures.arrays import to_float, to_uint8
from export.edge.sampling.noise import start_noise
from export.probes import paint_probe
from export.scoring import draw, nchw
from tests.export.two_networks import write_two
from torch_ref.codec import codec_of
from torch_ref.weights import load_bundle


@pytest.mark.parametrize(("source", "kind"), [("mean", "patches"), (DENOISER, "unet")])
def test_both_networks_are_exported_and_used(
    source: str,
    kind: str,
    make_bundle: Callable[..., Path],
    two_networks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle, folder = two_networks / "model.safetensors", two_networks / "artifact"
    if source == DENOISER:
        one = make_bundle(tmp_path / "one.safetensors", kind)
        bundle, folder = write_two(tmp_path / "two.safetensors", one, "mean", source), tmp_path / "artifact"
        to_onnx.main([str(bundle), "--output", str(folder), "--variants", "fp16"])
    more = {} if kind == "unet" else {"codec_encode": ["codec_encode.onnx"], "codec_decode": ["codec_decode.onnx"]}
    assert {name: [one.file for one in held.values()] for name, held in networks(folder).items()} == {
        DENOISER: ["model.onnx", "model_fp16.onnx"],
        **({"mean": ["mean.onnx"]} if source == "mean" else {}),
        **more,
    }
    assert "left out" not in capsys.readouterr().out
    verify.main([str(folder), "--steps", "2"])
    # Networks, sampler.onnx, photo.onnx, the golden picture, and the codec.
    assert capsys.readouterr().out.count("largest difference") == 4 + (source == "mean") + (kind == "patches")
    wanted, noise = in_torch(bundle, source, picture := paint_probe(3, 24))
    for path in (folder, folder / "onnx/model.onnx"):
        assert np.abs(draw(open_artifact(path), picture, 5).picture.astype(int) - to_uint8(wanted)).max() <= 1
    model = onnx.load(folder / "onnx/sampler.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"cond": nchw(to_float(picture)[None]), "noise": noise})
    np.testing.assert_allclose(found[0].transpose(1, 2, 0), wanted / 2 + 0.5, rtol=0, atol=1e-4)
    # A network's weights stand in it once, however often it is called.
    files = [folder / "onnx" / held["fp32"].file for held in networks(folder).values()]
    assert values_in(model.graph) < sum(values_in(onnx.load(file).graph) for file in files) + 500


def values_in(graph: onnx.GraphProto) -> int:
    """Numbers in the initializers of a graph and of the bodies of its loops."""
    inner = (attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g"))
    return sum(math.prod(tensor.dims) for tensor in graph.initializer) + sum(values_in(body) for body in inner)


def in_torch(bundle: Path, source: str, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sampler of `write_two`, by hand: a picture (24, 24, 3), clipped, and the noise of seed 5 that it took."""
    held = load_bundle(bundle)
    codec, sizes = codec_of(held.config), of_settings(held.config.get("codec", {}))
    denoiser, start = (load_bundle(bundle, name).model for name in (DENOISER, source))
    noise = nchw(start_noise(5, sizes.state_shape((1, 24, 24))))
    with torch.inference_mode():
        cond = codec.encode(torch.from_numpy(nchw(to_float(picture)[None])))
        x = start(torch.zeros_like(cond), cond, torch.tensor([99])) + 0.5 * torch.from_numpy(noise)
        for t in (99, 49):
            x = denoiser(x, cond, torch.tensor([t]))
        return codec.decode(x)[0].permute(1, 2, 0).clip(-1.0, 1.0).numpy(), noise


def test_a_network_that_is_not_in_the_bundle_is_named(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    bundle = write_two(tmp_path / "two.safetensors", make_bundle(tmp_path / "one.safetensors", "unet"), "other")
    with pytest.raises(UserError, match=r"two\.safetensors: it has no network 'mean', only denoiser, other"):
        to_onnx.main([str(bundle), "--output", str(tmp_path / "artifact")])
    assert not (tmp_path / "artifact").exists()
