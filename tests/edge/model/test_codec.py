"""The codec: read with care, exact where it is the identity, the inverse of itself."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.model.codec import Codec, Transform, of_settings, read_codec


def test_the_identity_gives_back_the_same_array() -> None:
    picture = np.ones((1, 2, 2, 3), np.float32)
    assert Codec().encode(picture) is picture and Codec().decode(picture) is picture
    assert read_codec(Codec().to_json(), "codec") == of_settings({}) == Codec()


def test_statistics_shift_and_scale_and_leave_coordinates_alone() -> None:
    codec = Codec(mean=(0.5, 0.0, -0.5), std=(2.0, 1.0, 0.5))
    cond = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 5)).astype(np.float32)
    state = codec.encode(cond)
    np.testing.assert_allclose(state[..., 0], (cond[..., 0] - 0.5) / 2.0, rtol=1e-6)
    np.testing.assert_array_equal(state[..., 3:], cond[..., 3:])
    np.testing.assert_allclose(codec.decode(codec.encode(cond[..., :3])), cond[..., :3], atol=1e-6)
    assert read_codec(codec.to_json(), "codec") == codec


def test_a_codec_of_blocks() -> None:
    def fold(picture: np.ndarray) -> np.ndarray:
        batch, height, width, _ = picture.shape
        blocks = picture.reshape(batch, height // 2, 2, width // 2, 2, 3).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(batch, height // 2, width // 2, 12)

    def unfold(state: np.ndarray) -> np.ndarray:
        batch, height, width, _ = state.shape
        blocks = state.reshape(batch, height, width, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(batch, 2 * height, 2 * width, 3)

    alone = Codec("fold", 2, 12, (0.1,) * 12, (0.5,) * 12)
    codec = replace(alone, transform=Transform(fold, unfold))
    cond = np.random.default_rng(0).uniform(-1, 1, (1, 4, 6, 5)).astype(np.float32)
    assert codec.encode(cond[..., :3]).shape == codec.state_shape(cond.shape) == (1, 2, 3, 12)
    np.testing.assert_allclose(codec.decode(codec.encode(cond[..., :3])), cond[..., :3], atol=1e-6)
    np.testing.assert_allclose(codec.encode(cond)[0, 0, 0, 12:], cond[0, :2, :2, 3:].mean(axis=(0, 1)), atol=1e-6)
    assert read_codec(codec.to_json(), "codec") == codec == alone
    for call in (alone.encode, alone.decode):
        with pytest.raises(UserError, match="the codec fold is in files of its own; give the folder of the artifact"):
            call(cond[..., :3])


@pytest.mark.parametrize(
    "change",
    [
        {"factor": 0}, {"factor": 2.0}, {"channels": 4}, {"std": [1, 1, 0]}, {"mean": [0, 0]}, {"name": 3}, {"more": 1},
        {"mean": ["a", 0, 0]}, {"std": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_describes_no_codec(change: dict) -> None:
    with pytest.raises(UserError, match=r"codec is no description of a codec .* export it again"):
        read_codec(json.dumps({**Codec().as_entry(), **change}), "codec")
