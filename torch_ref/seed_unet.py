"""The seed network to the number, with the state-dict keys of the original script's network."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from torch_ref.base import Denoiser

TIME_WIDTH = 256
"""Hidden width of the time embedding, whatever the width of the convolutions."""


def _names(torch_name: str, jax_name: str, first: int) -> dict[str, str]:
    """[conv, norm, ReLU] x 2 in a Sequential, from index `first` on."""
    places = {"conv1": first, "norm1": first + 1, "conv2": first + 3, "norm2": first + 4}
    return {f"{torch_name}.{index}": f"{jax_name}.{part}" for part, index in places.items()}


SEED_MODULES: dict[str, str] = {
    "time_mlp.0": "time_in",
    "time_mlp.2": "time_out",
    "time_proj.0": "time_proj",
    **_names("inc", "inc", 0),
    **{k: v for n in (1, 2, 3) for k, v in _names(f"down{n}", f"down{n}", 1).items()},
    **_names("bottleneck", "bottleneck", 0),
    **{k: v for n in (1, 2, 3) for k, v in {f"up{n}.0": f"up{n}.up", **_names(f"up{n}", f"up{n}.block", 1)}.items()},
    "outc.0": "outc",
}
"""The seed network's modules: torch's name to JAX's."""


def _block(in_channels: int, out_channels: int) -> list[nn.Module]:
    """[conv 3x3 -> BatchNorm -> ReLU] x 2."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels, eps=1e-5, momentum=0.1),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels, eps=1e-5, momentum=0.1),
        nn.ReLU(),
    ]


def _down(in_channels: int, out_channels: int) -> nn.Sequential:
    """Half the side, then a block."""
    return nn.Sequential(nn.MaxPool2d(2), *_block(in_channels, out_channels))


def _up(in_channels: int, skip_channels: int, out_channels: int) -> nn.Sequential:
    """Twice the side with half the channels (index 0), then, behind the skip's concat, a block (index 1 on)."""
    halved = in_channels // 2
    rise = nn.ConvTranspose2d(in_channels, halved, 2, stride=2)
    return nn.Sequential(rise, *_block(halved + skip_channels, out_channels))


class SeedUNet(Denoiser):
    """The seed U-Net: BatchNorm, ReLU, the time as one scalar added at the bottleneck.

    `width`: channels of the first block. `timesteps`: T, by which integer `t` is divided.
    `output_activation`: `tanh` only for weights of the original script. `state_channels`: of its pictures, or of a
    codec's states.
    """

    size_multiple = 8

    def __init__(
        self,
        width: int = 64,
        output_activation: Literal["none", "tanh"] = "none",
        timesteps: int = 1000,
        state_channels: int = 3,
    ) -> None:
        super().__init__()
        if output_activation not in ("none", "tanh"):
            raise ValueError(f"output_activation is {output_activation!r}: choose none or tanh")
        self.timesteps = timesteps
        self.channels = self.cond_channels = state_channels
        self.time_mlp = nn.Sequential(nn.Linear(1, TIME_WIDTH), nn.SiLU(), nn.Linear(TIME_WIDTH, TIME_WIDTH))
        self.time_proj = nn.Sequential(nn.Linear(TIME_WIDTH, 8 * width), nn.SiLU())
        self.inc = nn.Sequential(*_block(2 * state_channels, width))
        self.down1 = _down(width, 2 * width)
        self.down2 = _down(2 * width, 4 * width)
        self.down3 = _down(4 * width, 8 * width)
        self.bottleneck = nn.Sequential(*_block(8 * width, 8 * width))
        self.up1 = _up(8 * width, 4 * width, 4 * width)
        self.up2 = _up(4 * width, 2 * width, 2 * width)
        self.up3 = _up(2 * width, width, width)
        head: list[nn.Module] = [nn.Conv2d(width, state_channels, 3, padding=1)]
        self.outc = nn.Sequential(*head, nn.Tanh()) if output_activation == "tanh" else nn.Sequential(*head)

    def forward(self, x_t: Tensor, cond: Tensor, t: Tensor) -> Tensor:
        first = self.inc(self._joined(x_t, cond))
        second = self.down1(first)
        third = self.down2(second)
        h = self.bottleneck(self.down3(third))
        time = self.time_proj(self.time_mlp(t.to(h.dtype)[:, None] / self.timesteps))
        h = h + time[:, :, None, None]
        for up, skip in ((self.up1, third), (self.up2, second), (self.up3, first)):
            h = up[1:](torch.cat([up[0](h), skip], dim=1))
        return self.outc(h)
