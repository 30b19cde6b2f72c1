"""Codecs of the settings: sizes that follow from the factor, exact inverses, statistics, coordinates."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.config.tree import Config
from jax_impl.model.codec import PatchesCodecConfig, codec_of
from jax_impl.model.unet import UNetModelConfig


def test_patches_are_the_blocks_of_a_picture_and_back() -> None:
    config = PatchesCodecConfig(factor=2, mean=(0.5,) * 12, std=(2.0,) * 12)
    codec, cond = codec_of(config), jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 4, 6, 5)), jnp.float32)
    state = codec.encode(cond)
    assert state.shape == (2, 2, 3, 14) and config.state_shape(cond.shape) == (2, 2, 3, 12)
    # Channel 4 c + 2 row + column, by its definition.
    wanted = [cond[1, 2 + row, 4 + column, c] for c in range(3) for row in range(2) for column in range(2)]
    np.testing.assert_allclose(state[1, 1, 2, :12] * 2 + 0.5, np.array(wanted), atol=1e-6)
    np.testing.assert_allclose(state[1, 1, 2, 12:], cond[1, 2:4, 4:6, 3:].mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(codec.decode(state[..., :12]), cond[..., :3], atol=1e-6)


def test_sizes_follow_from_the_factor_and_are_checked() -> None:
    four = PatchesCodecConfig(factor=4)
    assert (four.channels, len(four.mean), set(four.std)) == (48, 48, {1.0})
    assert Config(codec=four).size_multiple == 32
    for settings, said in (
        ({"factor": 1}, r"codec\.factor is 1: choose 2 to 16"),
        ({"channels": 3}, r"codec\.channels is 3: 12 belong to this factor"),
        ({"mean": (0.0,)}, r"codec\.mean .* name 12 values"),
    ):
        with pytest.raises(UserError, match=said):
            PatchesCodecConfig(**settings)
    with pytest.raises(UserError, match=r"codec\.channels is 12: coordinates need 3"):
        Config(codec=PatchesCodecConfig(), model=UNetModelConfig(coordinates=True))
