"""Our own networks, in NETWORKS by importing this."""

from __future__ import annotations

from jax_impl.model.registry import NETWORKS
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig

NETWORKS.add("seed", SeedModelConfig)
NETWORKS.add("unet", UNetModelConfig)
