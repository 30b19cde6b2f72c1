"""The codec `latent`: sizes, bounds, statistics, what it refuses, and what it computes before it is trained."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.config.as_json import entry, to_text
from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config
from jax_impl.model.codec import CodecConfig, codec_of
from jax_impl.model.latent import LatentCodecConfig, block_transform
from jax_impl.model.learned_codec import ReconstructionConfig, with_statistics
from jax_impl.model.network import count
from tests.drawing import drawn

SMALL = LatentCodecConfig(factor=8, channels=3, patch=4, width=4, blocks=1)


def test_states_are_bounded_and_the_statistics_are_taken_out_and_put_back() -> None:
    weights = SMALL.fresh(jax.random.key(0))
    picture = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 16, 24, 3)), jnp.float32)
    plain = codec_of(SMALL.filled(weights))
    state = plain.encode(picture)
    assert state.shape == SMALL.state_shape(picture.shape) == (2, 2, 3, 3)
    assert np.std(state) > 0.05 and np.abs(plain.encode(100 * picture)).max() <= 3.0
    assert plain.decode(state).shape == picture.shape
    # A state is (encoded - mean) / std; decoding undoes that.
    mean, std = np.float32([0.1, -0.2, 0.3]), np.float32([0.5, 0.25, 2.0])
    measured = codec_of(SMALL.filled(with_statistics(weights, jnp.asarray(mean), jnp.asarray(std))))
    np.testing.assert_allclose(measured.encode(picture), (np.asarray(state) - mean) / std, atol=1e-6)
    np.testing.assert_allclose(measured.decode(measured.encode(picture)), plain.decode(state), atol=1e-5)


def test_a_fresh_codec_keeps_the_mean_colours() -> None:
    codec, cond = codec_of(SMALL.filled(SMALL.fresh(jax.random.key(0)))), np.zeros((1, 16, 16, 3), np.float32)
    cond[:, :8, :, 0], cond[:, :, 8:, 2] = 0.5, -0.25
    state = np.asarray(codec.encode(jnp.asarray(cond)))
    np.testing.assert_allclose(state[0, :, :, :3], 3 * np.tanh(cond[0, 4::8, 4::8] / 3), atol=1e-6)
    np.testing.assert_allclose(codec.decode(jnp.asarray(state))[0, 0, 0, :], state[0, 0, 0, :3], atol=1e-6)


def test_the_fixed_transform_is_an_orthonormal_one_of_cosines() -> None:
    forth, back = block_transform(4, 3 + 15)
    # Back and forth changes no state; 15 cosines of a grey block and its mean are all that there is of it.
    np.testing.assert_allclose(back @ forth, np.eye(18), atol=1e-6)
    grey = np.tile(np.random.default_rng(0).normal(size=16), 3)
    np.testing.assert_allclose(grey @ forth @ back, grey, atol=1e-5)
    # The lowest frequency down a block, by its definition.
    ramp = np.cos(np.pi * (np.arange(4) + 0.5) / 4)
    wave = np.outer(np.ones(4), ramp)
    assert int(np.abs(np.tile(wave.ravel(), 3) @ forth).argmax()) == 3
    assert not block_transform(2, 8)[0][:, 6:].any()  # A block of 2 × 2 has three cosines.


def test_a_state_depends_on_the_pixels_near_it_alone() -> None:
    """Without norms: those 6 states away, 48 pixels, change nothing."""
    plain = Config(model=ReconstructionConfig(codec=SMALL), data=DataConfig(size=16))
    codec = SMALL.apply(drawn(plain)[1])
    picture = np.zeros((1, 16, 128, 3), np.float32)
    other = picture.copy()
    other[:, :, 96:] = 1.0
    before, after = (np.asarray(codec.encode(jnp.asarray(one))) for one in (picture, other))
    np.testing.assert_array_equal(before[:, :, :6], after[:, :, :6])
    assert np.abs(before - after)[:, :, 12:].max() > 1e-3


def test_settings_are_checked_and_written_without_weights() -> None:
    assert LatentCodecConfig(factor=4).widths == (32,) and LatentCodecConfig(factor=16).widths == (32, 64, 128)
    assert Config(codec=SMALL).size_multiple == 64
    assert entry(CodecConfig, to_text(SMALL), "codec") == SMALL
    for settings, said in (
        ({"factor": 12}, r"codec\.factor is 12: choose codec\.patch \(4\) times a power of two, up to 32"),
        ({"factor": 2}, r"codec\.factor is 2: choose"),
        ({"patch": 3}, r"codec\.patch is 3: choose 1, 2, 4 or 8"),
        ({"channels": 2}, r"codec\.channels is 2: choose 3 to 64"),
        ({"width": 0}, r"codec\.width is 0: choose 1 to 1024"),
    ):
        with pytest.raises(UserError, match=said):
            LatentCodecConfig(**settings)
    with pytest.raises(UserError, match="the codec latent has no weights; train them with --stages autoencoder"):
        codec_of(SMALL)


def test_the_default_is_small_enough_for_a_phone() -> None:
    assert count(jax.eval_shape(LatentCodecConfig().fresh, jax.random.key(0))) < 500_000
