"""Small bundles, and the files exported from them once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from export.to_onnx import main
from tests.export.two_networks import write_two
from tests.schedule import cosine_schedule
from tests.sharing.graphs import exact_graphs, shared_graphs
from torch_ref.weights import build_model, save_bundle

UNET: dict[str, Any] = {
    "architecture": "unet",
    "patch": 2,
    "width": 8,
    "multipliers": [1, 2],
    "blocks": 1,
    # At the bottom of the smallest picture a group is one value.
    "groups": 8,
    "head": "affine",
}
# On one level: the exporter takes time for every layer. Others have more levels; the parity suite attends to cond too.
# Groups of one value would give the bias alone, whatever the coordinates of the smallest picture.
ATTENTION = {"multipliers": [1], "groups": 4, "attention_levels": [0], "head_channels": 4}
MODELS: dict[str, dict[str, Any]] = {
    "seed": {"architecture": "seed", "width": 4, "output_activation": "none"},
    "unet": UNET,
    "coordinates": {**UNET, **ATTENTION, "coordinates": True},
    "patches": {**UNET, "patch": 1, "multipliers": [1]},
}
CODECS: dict[str, dict[str, Any]] = {
    "patches": {"codec": "patches", "factor": 2, "channels": 12, "mean": [0.1] * 12, "std": [0.5, 0.6, 0.7] * 4},
}
"""Of those of MODELS that have one."""


def write_bundle(path: Path, kind: str, gain: float = 1.0) -> Path:
    """A bundle with T = 100, prediction v, no norm and no statistic at its start value; `gain` times the head."""
    diffusion = {"timesteps": 100, "prediction": "v", "clamp": None, "sample_steps": 7, "sampler": "ddpm"}
    config = {"data": {"size": 24, "fit": "letterbox"}, "model": MODELS[kind], "diffusion": diffusion}
    config |= {"codec": CODECS[kind]} if kind in CODECS else {}
    torch.manual_seed(0)
    state = build_model(config).state_dict()
    for name, value in state.items():
        if name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(std=0.1)
        elif name.startswith(("outc", "conv_out")):
            value.mul_(gain)
    save_bundle(path, state, cosine_schedule(100), config)
    return path


@pytest.fixture(scope="module", autouse=True)
def _traced_once(once: Callable[..., Path]) -> Iterator[None]:
    with shared_graphs(once), exact_graphs():
        yield


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """`make_bundle(path, kind, gain=1.0)`: kind is one of MODELS; returns the path."""
    return write_bundle


@pytest.fixture(scope="session")
def make_artifact(once: Callable[..., Path]) -> Callable[[str], Path]:
    """`make_artifact(kind)`: a folder with model.safetensors and the artifact made of it; nobody may change them."""

    def fill(folder: Path, kind: str) -> None:
        # What becomes of the other variants has nothing to do with coordinates.
        less = ["--variants", "fp32"] if kind == "coordinates" else []
        main([str(write_bundle(folder / "model.safetensors", kind)), "--output", str(folder / "artifact"), *less])

    return lambda kind: once(f"export_{kind}", lambda folder: fill(folder, kind))


@pytest.fixture(scope="session")
def two_networks(once: Callable[..., Path]) -> Path:
    """An artifact with a codec of 12 channels and a second network, from which it starts; nobody may change it."""

    def fill(folder: Path) -> None:
        one = write_bundle(folder / "one.safetensors", "patches")
        two = write_two(folder / "model.safetensors", one, "mean")
        main([str(two), "--output", str(folder / "artifact"), "--variants", "fp16"])

    return once("two_networks", fill)


@pytest.fixture(scope="session", params=["seed", "unet"])
def exported(request: pytest.FixtureRequest, make_artifact: Callable[[str], Path]) -> tuple[Path, Path]:
    """A bundle and the file exported from it by the command, which nobody may change."""
    folder = make_artifact(request.param)
    return folder / "model.safetensors", folder / "artifact" / "onnx" / "model.onnx"
