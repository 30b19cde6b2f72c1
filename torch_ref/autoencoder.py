"""The codec `latent` in PyTorch: a small convolutional autoencoder without norms, `jax_impl.model.latent`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.edge.errors import UserError
from torch_ref.blocks import conv3x3
from torch_ref.codec import Transform

MOST = {"factor": 32, "channels": 64, "patch": 8, "width": 1024, "blocks": 16}
"""Largest values of the settings."""
LEAST = {"channels": 3}
"""Smallest values, where that is not 1."""

COLOURS, BOUND = 3, 3.0
"""Channels of a state that start as mean colours, and the largest absolute value of any."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness (ITU-R BT.601)."""


@dataclass(frozen=True)
class Settings:
    """Those of `config.codec` that say what the networks look like."""

    factor: int
    channels: int
    patch: int
    width: int
    blocks: int

    @staticmethod
    def of(settings: Mapping[str, Any]) -> Settings:
        """Raises UserError for a setting that is missing, or that makes no network."""
        found = {name: settings.get(name) for name in MOST}
        fine = all(type(value) is int and LEAST.get(name, 1) <= value <= MOST[name] for name, value in found.items())
        if not fine or not math.log2(found["factor"] / found["patch"]).is_integer() or found["factor"] < found["patch"]:  # type: ignore[operator]
            raise UserError(f"config.codec {found} makes no network; bundle the run again")
        return Settings(**found)  # type: ignore[arg-type]

    @property
    def widths(self) -> list[int]:
        """Channels at each side, the largest first."""
        return [self.width * 2**i for i in range(int(math.log2(self.factor // self.patch)) + 1)]


class Block(nn.Module):
    """x + conv(relu(conv(x))) (after He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3x3(channels, channels), conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Any (batch, channels, height, width) to the same shape."""
        return x + self.conv2(F.relu(self.conv1(x)))


class Encoder(nn.Module):
    """(batch, 3, height, width) in [-1, 1] to states, (batch, channels, height / factor, width / factor).

    Their values are in [-BOUND, BOUND]. The fixed transform of blocks is added.
    """

    matrix: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        widths, self.patch, self.factor = settings.widths, settings.patch, settings.factor
        self.stem = conv3x3(3 * settings.patch**2, widths[0])
        self.levels = nn.ModuleList(nn.ModuleList(Block(width) for _ in range(settings.blocks)) for width in widths)
        self.down = nn.ModuleList(conv3x3(*pair, stride=2) for pair in itertools.pairwise(widths))
        self.last = conv3x3(widths[-1], settings.channels)
        self.register_buffer("matrix", blocks_to_states(self.factor, settings.channels), persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        """The states of pictures."""
        x = self.stem(F.pixel_unshuffle(picture, self.patch))
        for i, blocks in enumerate(self.levels):
            x = self.down[i - 1](x) if i else x
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x)
        fixed = F.conv2d(picture, self.matrix, stride=self.factor)
        return BOUND * torch.tanh((self.last(x) + fixed) / BOUND)


class Decoder(nn.Module):
    """The way back, not clamped; the fixed transform of blocks, backwards, is added."""

    matrix: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        widths, self.patch, self.factor = settings.widths[::-1], settings.patch, settings.factor
        self.stem = conv3x3(settings.channels, widths[0])
        self.levels = nn.ModuleList(nn.ModuleList(Block(width) for _ in range(settings.blocks)) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in itertools.pairwise(widths))
        self.last = conv3x3(widths[-1], COLOURS * settings.patch**2)
        self.register_buffer("matrix", states_to_blocks(self.factor, settings.channels), persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        """The pictures of states."""
        x = self.stem(state)
        for i, blocks in enumerate(self.levels):
            x = F.interpolate(self.up[i - 1](x), scale_factor=2.0, mode="nearest") if i else x
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x)
        fixed = F.conv_transpose2d(state, self.matrix, stride=self.factor)
        return F.pixel_shuffle(self.last(F.relu(x)), self.patch) + fixed


def cosines(factor: int, count: int) -> np.ndarray:
    """The lowest `count` frequencies of a block's orthonormal DCT-II but the constant, (count, side, side)."""
    k, n = np.mgrid[:factor, :factor]
    rows = np.sqrt(2 / factor) * np.cos(np.pi / factor * (n + 0.5) * k)
    rows[0] = 1 / np.sqrt(factor)
    pairs = sorted(np.ndindex(factor, factor), key=lambda pair: (sum(pair), pair))[1 : count + 1]
    found = [np.multiply.outer(rows[down], rows[right]) for down, right in pairs]
    return (
        np.stack(found + [np.zeros((factor, factor))] * (count - len(found)))
        if count
        else np.zeros((0, factor, factor))
    )


def blocks_to_states(factor: int, channels: int) -> Tensor:
    """The kernel of the fixed transform, (channels, 3, factor, factor): mean colours, cosines of the brightness."""
    means = np.broadcast_to(np.eye(COLOURS)[:, :, None, None] / factor**2, (COLOURS, COLOURS, factor, factor))
    waves = np.einsum("kyx,c->kcyx", cosines(factor, channels - COLOURS), LUMA) * 2 / factor
    return torch.from_numpy(np.concatenate([means, waves])).float()


def states_to_blocks(factor: int, channels: int) -> Tensor:
    """The kernel of the way back, (channels, 3, factor, factor); each cosine goes to all three colours."""
    means = np.broadcast_to(np.eye(COLOURS)[:, :, None, None], (COLOURS, COLOURS, factor, factor))
    waves = np.repeat(cosines(factor, channels - COLOURS)[:, None], COLOURS, axis=1) * factor / 2
    return torch.from_numpy(np.concatenate([means, waves])).float()


class Statistics(nn.Module):
    """Mean and standard deviation of each channel of encoded training pictures, (channels,)."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def columns(self) -> tuple[Tensor, Tensor]:
        """Both as (channels, 1, 1), to go with states (batch, channels, height, width)."""
        return self.mean[:, None, None], self.std[:, None, None]


class Autoencoder(nn.Module):
    """Both sides and their statistics: all that the network `codec` of a bundle holds."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.encode, self.decode = Encoder(settings), Decoder(settings)
        self.statistics = Statistics(settings.channels)


class Encode(nn.Module):
    """Pictures to states, by the statistics."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.encode, self.statistics = autoencoder.encode, autoencoder.statistics

    def forward(self, picture: Tensor) -> Tensor:
        """(batch, 3, height, width) to states with about mean 0 and standard deviation 1."""
        mean, std = self.statistics.columns()
        return (self.encode(picture) - mean) / std


class Decode(nn.Module):
    """The way back."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.decode, self.statistics = autoencoder.decode, autoencoder.statistics

    def forward(self, state: Tensor) -> Tensor:
        """States to (batch, 3, height, width)."""
        mean, std = self.statistics.columns()
        return self.decode(state * std + mean)


def create(settings: Mapping[str, Any]) -> Transform:
    """The codec with torch's fresh weights. Raises UserError for settings that make no network."""
    autoencoder = Autoencoder(Settings.of(settings)).eval().requires_grad_(False)
    return Transform(Encode(autoencoder), Decode(autoencoder), autoencoder)
