"""A network that a user's module registers: its weights out of a bundle, and the message without the module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.edge import plugins
from export.edge.errors import UserError
from export.edge.model.bundles import bundle_metadata, bundle_tensors
from torch_ref.registry import NETWORKS
from torch_ref.weights import build_model, from_jax, load_bundle, save_bundle, to_jax

MODULE = "toy_for_torch"
TOY = """
import torch
from torch import nn

from torch_ref.base import Denoiser
from torch_ref.registry import NETWORKS, Network


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(3))


class Pointwise(Denoiser):
    size_multiple = 1

    def __init__(self, timesteps, state_channels, channels):
        super().__init__()
        self.start = nn.Conv2d(2 * state_channels, channels, 1)
        self.last = nn.Conv2d(channels, state_channels, 1)
        self.scale = Scale()

    def forward(self, x_t, cond, t):
        x = self.last(nn.functional.silu(self.start(torch.cat([x_t, cond], 1))))
        return self.scale.factor[:, None, None] * x


names = {"start": "first", "last": "last", "scale": "scale"}
NETWORKS.add("pointwise", Network(Pointwise, modules=names, leaves={(Scale, "factor"): ("value", (0,))}))
NETWORKS.add("nameless", Network(Pointwise, modules=names))
"""
TENSORS = {
    "first.kernel": np.arange(24, dtype=np.float32).reshape(1, 1, 6, 4),
    "first.bias": np.arange(4, dtype=np.float32),
    "last.kernel": np.ones((1, 1, 4, 3), np.float32),
    "last.bias": np.zeros(3, np.float32),
    "scale.value": np.full(3, 2.0, np.float32),
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_config: Any) -> Iterator[dict[str, Any]]:
    """A configuration of the toy network; its module is forgotten after the test."""
    monkeypatch.setattr(NETWORKS, "_entries", dict(NETWORKS))
    (tmp_path / f"{MODULE}.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    plugins.load_plugins([MODULE], "torch")
    model = {"architecture": "pointwise", "compute_dtype": "bfloat16", "channels": 4}
    yield make_config("unet") | {"model": model}
    del sys.modules[MODULE]


def test_weights_fill_it_both_ways(config: dict[str, Any], schedule: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    state = from_jax(TENSORS, config)
    assert {name: array.tolist() for name, array in to_jax(state, config).items()} == {
        name: array.tolist() for name, array in TENSORS.items()
    }
    save_bundle(path, state, schedule, config)
    bundle = load_bundle(path)
    assert bundle.plugins == (("network", "pointwise", MODULE),)
    assert torch.equal(bundle.model.state_dict()["start.weight"][:, :, 0, 0], torch.arange(24.0).reshape(6, 4).T)


def test_without_the_module_its_name_is_said(
    config: dict[str, Any], schedule: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_bundle(path, build_model(config).state_dict(), schedule, config)
    monkeypatch.setattr(NETWORKS, "_entries", {k: v for k, v in NETWORKS.items() if k != "pointwise"})
    with pytest.raises(UserError, match=rf"^bundle .* is 'pointwise': load its network with --plugin {MODULE}$"):
        load_bundle(path)


def test_a_parameter_without_a_name_in_jax_is_named(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"scale\.factor of Scale has no name in JAX; add it to `leaves`"):
        from_jax(TENSORS, config | {"model": config["model"] | {"architecture": "nameless"}})


def test_networks_of_a_bundle_are_told_apart(schedule: np.ndarray) -> None:
    networks = {"denoiser": {"a": np.ones(1, np.float32)}, "critic": {"a": np.zeros(1, np.float32)}}
    tensors = bundle_tensors(networks, schedule)
    assert sorted(tensors) == ["a", "critic/a", "schedule.alphas_cumprod"]
    assert bundle_metadata(tensors, "{}", (), networks)["networks"] == '{"denoiser": "", "critic": "critic/"}'
