"""Our own networks, in NETWORKS by importing this, and the codec with weights, in CODECS."""

from __future__ import annotations

from typing import Any

from torch_ref import autoencoder
from torch_ref.base import Denoiser
from torch_ref.codec import CODECS
from torch_ref.registry import NETWORKS, Network
from torch_ref.seed_unet import SEED_MODULES, SeedUNet
from torch_ref.unet import ResidualUNet, UNetSettings


def _residual(timesteps: int, state_channels: int, **settings: Any) -> Denoiser:
    """T does not matter here: the time is embedded as it is."""
    del timesteps
    return ResidualUNet(UNetSettings(**settings), state_channels)


NETWORKS.add("seed", Network(SeedUNet, modules=SEED_MODULES))
NETWORKS.add(
    "unet",
    Network(_residual, ignored=frozenset({"compute_dtype", "remat", "remat_keeps"}), most={"blocks": 16, "refine": 16}),
)
CODECS.add("latent", autoencoder.create)
