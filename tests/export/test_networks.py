"""A bundle whose tables start from a second network becomes an artifact with both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from export import to_onnx, verify
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.bundles import bundle_metadata, bundle_tensors
from export.edge.model.layout import DENOISER, networks
from export.edge.pictures.arrays import to_float, to_uint8
from export.edge.sampling.noise import start_noise
from export.edge.sampling.table import Plan
from export.probes import paint_probe
from export.scoring import draw, nchw
from export.web.build import build_page
from torch_ref.weights import load_bundle


def write_two(path: Path, one: Path, other: str) -> Path:
    """The bundle `one`, with its weights halved as a network `other`, from which the only sampler starts."""
    bundle = load_bundle(one)
    bundle.config["diffusion"] |= {"sampler": "direct", "sample_steps": 2}
    weights = bundle.networks[DENOISER]
    held = {DENOISER: weights, other: {name: value / 2 for name, value in weights.items()}}
    columns = {"x0_from_output": [1.0, 1.0], "next_from_x0": [1.0, 1.0], "start_from_noise": 0.5}
    plan = Plan.from_columns({"t": [99, 49], **columns, "start_from_source": 1.0, "source": "mean"})
    tensors = bundle_tensors(held, None)
    save_file(tensors, path, bundle_metadata(tensors, json.dumps(bundle.config), (), held, {"direct": {2: plan}}))
    return path


def test_both_networks_are_exported_and_used(
    make_bundle: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_two(tmp_path / "two.safetensors", make_bundle(tmp_path / "one.safetensors", "unet"), "mean")
    folder = tmp_path / "artifact"
    to_onnx.main([str(bundle), "--output", str(folder), "--variants", "fp16"])
    assert "left out: " in capsys.readouterr().out  # sampler.onnx, which holds one network
    assert {name: [one.file for one in held.values()] for name, held in networks(folder).items()} == {
        DENOISER: ["model.onnx", "model_fp16.onnx"],
        "mean": ["mean.onnx"],
    }
    verify.main([str(folder), "--steps", "2"])
    assert capsys.readouterr().out.count("largest difference") == 3  # two networks and the golden picture
    with pytest.raises(UserError, match="starts from the network 'mean', and the page runs one network"):
        build_page(folder, tmp_path / "site")
    picture = paint_probe(3, 24)
    cond = torch.from_numpy(nchw(to_float(picture)[None]))
    denoiser, mean = (load_bundle(bundle, name).model for name in (DENOISER, "mean"))
    with torch.inference_mode():
        x = mean(torch.zeros_like(cond), cond, torch.tensor([99]))
        x = x + 0.5 * torch.from_numpy(nchw(start_noise(5, (1, 24, 24, 3))))
        for t in (99, 49):
            x = denoiser(x, cond, torch.tensor([t]))
    wanted = to_uint8(np.clip(x[0].permute(1, 2, 0).numpy(), -1.0, 1.0))
    for path in (folder, folder / "onnx/model.onnx"):
        assert np.abs(draw(open_artifact(path), picture, 5).picture.astype(int) - wanted).max() <= 1


def test_a_network_that_is_not_in_the_bundle_is_named(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    bundle = write_two(tmp_path / "two.safetensors", make_bundle(tmp_path / "one.safetensors", "unet"), "other")
    with pytest.raises(UserError, match=r"two\.safetensors: it has no network 'mean', only denoiser, other"):
        to_onnx.main([str(bundle), "--output", str(tmp_path / "artifact")])
    assert not (tmp_path / "artifact").exists()
