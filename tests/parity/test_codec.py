"""A codec and the networks on its states: JAX and PyTorch with the same weights give the same."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jax_impl.config.tree import Config
from jax_impl.model.codec import PatchesCodecConfig, codec_of
from jax_impl.model.network import flatten
from jax_impl.model.registry import NetworkConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig
from tests.drawing import drawn
from torch_ref.codec import codec_of as codec_in_torch
from torch_ref.weights import build_model, from_jax

MODELS = [SeedModelConfig(width=4), UNetModelConfig(width=8, groups=4, multipliers=(1, 2), blocks=1, patch=1)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.architecture)
def test_networks_on_states_agree(model: NetworkConfig) -> None:
    config = Config(model=model, codec=PatchesCodecConfig(std=(0.5,) * 12, mean=(0.1,) * 12))
    network, params, stats = drawn(config)
    settings = dataclasses.asdict(config)
    in_torch = build_model(settings).eval()
    weights = {name: np.array(leaf) for name, leaf in (flatten(params) | flatten(stats)).items()}
    in_torch.load_state_dict(from_jax(weights, settings))

    cond, x0 = np.random.default_rng(0).uniform(-1, 1, (2, 2, 16, 32, 3)).astype(np.float32)
    t = np.array([7, 900])
    codec, theirs = codec_of(config.codec), codec_in_torch(settings)
    output = jax.jit(network.apply)(
        params, stats, codec.encode(jnp.asarray(x0)), codec.encode(jnp.asarray(cond)), jnp.asarray(t)
    )[0]
    found = codec.decode(output)
    with torch.inference_mode():
        encoded = [theirs.encode(torch.from_numpy(picture.transpose(0, 3, 1, 2).copy())) for picture in (x0, cond)]
        wanted = theirs.decode(in_torch(*encoded, torch.from_numpy(t))).permute(0, 2, 3, 1).numpy()
    assert output.shape == (2, 8, 16, 12)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))
