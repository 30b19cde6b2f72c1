"""Small networks with weights that reach every part of them, and bundles of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.schedule import cosine_schedule
from torch_ref.base import Denoiser
from torch_ref.weights import build_model, save_bundle

MODELS: dict[str, dict[str, Any]] = {
    "seed": {"architecture": "seed", "width": 8, "output_activation": "none"},
    "tanh": {"architecture": "seed", "width": 8, "output_activation": "tanh"},
    "unet": {
        "architecture": "unet",
        "patch": 2,
        "width": 8,
        "multipliers": [1, 2],
        "blocks": 2,
        "groups": 4,
        "head": "plain",
    },
    "affine": {
        "architecture": "unet",
        "patch": 2,
        "width": 8,
        "multipliers": [2, 1],
        "blocks": 1,
        "groups": 2,
        "head": "affine",
    },
    "options": {
        "architecture": "unet",
        "patch": 2,
        "width": 8,
        "multipliers": [1, 2],
        "blocks": 1,
        "groups": 4,
        "head": "plain",
        "attention_levels": [1],
        "head_channels": 4,
        "cross_attention": True,
        "coordinates": True,
        "resample": "fixed",
        "time_modulation": "add",
        "dropout": 0.3,
        "compute_dtype": "bfloat16",
        "remat": True,
        "remat_keeps": "products",
    },
}


def config_of(kind: str) -> dict[str, Any]:
    """A config tree as a bundle holds it, with T = 100."""
    diffusion = {"timesteps": 100, "prediction": "eps", "clamp": 1.0, "sample_steps": 10, "sampler": "ddim"}
    return {
        "data": {"size": 16, "fit": "crop"},
        "model": MODELS[kind],
        "diffusion": diffusion,
        "optim": {},
        "train": {},
    }


@pytest.fixture(scope="session")
def schedule() -> np.ndarray:
    """alphas_cumprod, float64 (100,)."""
    return cosine_schedule(100)


@pytest.fixture(scope="session")
def make_config() -> Callable[[str], dict[str, Any]]:
    """`make_config(kind)`: kind is one of seed, tanh, unet, affine, options."""
    return config_of


@pytest.fixture(scope="session")
def make_network() -> Callable[[str], Denoiser]:
    """`make_network(kind)`: in evaluation mode, no norm and no statistic at its start value."""

    def make(kind: str) -> Denoiser:
        torch.manual_seed(0)
        model = build_model(config_of(kind)).eval()
        for name, value in model.state_dict().items():
            if name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
                value.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                value.normal_(std=0.1)
        return model

    return make


@pytest.fixture
def make_bundle(tmp_path: Path, schedule: np.ndarray, make_network: Callable[[str], Denoiser]) -> Callable[[str], Path]:
    """`make_bundle(kind)`: path of a model.safetensors."""

    def make(kind: str) -> Path:
        path = tmp_path / f"{kind}.safetensors"
        save_bundle(path, make_network(kind).state_dict(), schedule, config_of(kind))
        return path

    return make
