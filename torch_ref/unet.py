"""The residual family: a space-to-depth stem, GroupNorm, the time in every block, attention where wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.attention import Attention, CondEncoder
from torch_ref.base import Denoiser
from torch_ref.blocks import GroupNorm, ResBlock, TimeEmbedding, conv3x3

BINS = 8
"""Brightness levels of the bilateral head, from black to white."""


class Level(nn.Module):
    """Residual blocks at one resolution, attention after each if any, and the weights that lead to the next level."""

    def __init__(self, blocks: list[ResBlock], attention: list[Attention], resample: nn.Conv2d | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.attention = nn.ModuleList(attention) if attention else None
        self.resample = resample

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None) -> Tensor:
        """Run blocks and attention, not the resampling, on (batch, channels, height, width)."""
        for i, block in enumerate(self.blocks):
            x = block(x, emb)
            if self.attention is not None:
                x = self.attention[i](x, context)
        return x


@dataclass(frozen=True)
class UNetSettings:
    """Settings of a ResidualUNet, as a bundle's configuration names them. Raises ValueError for an unknown choice."""

    width: int
    """Channels of the first level."""
    multipliers: Sequence[int]
    """Channels of each level as multiples of `width`; each level halves the side."""
    blocks: int = 2
    """Residual blocks per level, on the way down and on the way up."""
    groups: int = 8
    """Of every GroupNorm."""
    patch: int = 2
    head: str = "affine"
    """`affine` adds a local colour change of both input pictures to the output, `affine_cond` of cond, `bilateral` of
    cond by its brightness, `plain` none."""
    unfold: str = "blocks"
    """From blocks to pixels: `blocks` by depth-to-space, `bilinear` between the blocks' centres."""
    refine: int = 0
    """3x3 convolutions after the unfolding."""
    refine_width: int = 16
    """Channels between them."""
    attention_levels: Sequence[int] = ()
    """Levels, counted from 0, whose blocks are each followed by attention, which then also is in the middle."""
    head_channels: int = 32
    """Channels of each attention head."""
    cross_attention: bool = False
    """Attention uses features of cond too."""
    coordinates: bool = False
    """The network receives the place of each pixel."""
    resample: str = "learned"
    """`learned` convolutions or `fixed` averages and interpolation."""
    time_modulation: str = "scale_shift"
    """`scale_shift` or `add`."""
    dropout: float = 0.0
    """Share of a block's features dropped in training mode."""

    def __post_init__(self) -> None:
        last = len(self.multipliers) - 1
        if self.head not in ("plain", "affine", "affine_cond", "bilateral"):
            raise ValueError(f"head is {self.head!r}: choose plain, affine, affine_cond or bilateral")
        if self.unfold not in ("blocks", "bilinear") or (self.unfold == "bilinear" and not self.refine):
            raise ValueError(f"unfold is {self.unfold!r}: choose blocks, or bilinear with refine")
        if self.resample not in ("learned", "fixed"):
            raise ValueError(f"resample is {self.resample!r}: choose learned or fixed")
        if not set(self.attention_levels) <= set(range(last + 1)):
            raise ValueError(f"attention_levels is {self.attention_levels!r}: choose from 0 to {last}")


class ResidualUNet(Denoiser):
    """Residual U-Net over patch x patch pixel blocks (Ho et al. 2020, appendix B, made cheap for CPUs).

    Its fresh weights are torch's own: nothing starts at zero as it does in JAX.
    """

    def __init__(self, settings: UNetSettings, state_channels: int = 3) -> None:
        super().__init__()
        width, groups, patch = settings.width, settings.groups, settings.patch
        channels = [width * multiplier for multiplier in settings.multipliers]
        last, time_channels = len(channels) - 1, 4 * width
        context_channels = channels[-1] if settings.cross_attention else None
        self.patch = patch
        self.fixed = settings.resample == "fixed"
        self.size_multiple = patch * 2**last
        self.time_embedding = TimeEmbedding(width)
        self.time_in = nn.Linear(2 * width, time_channels)
        self.time_out = nn.Linear(time_channels, time_channels)
        self.coordinates, self.channels = settings.coordinates, state_channels
        self.cond_channels = state_channels + (2 if settings.coordinates else 0)
        self.stem = conv3x3((state_channels + self.cond_channels) * patch * patch, width)
        self.encoder = CondEncoder(channels, patch, groups, self.cond_channels) if settings.cross_attention else None

        def residual(before: int, after: int) -> ResBlock:
            return ResBlock(before, after, time_channels, groups, settings.time_modulation, settings.dropout)

        def attention(c: int) -> Attention:
            return Attention(c, settings.head_channels, groups, context_channels)

        def parts(i: int, before: int) -> tuple[list[ResBlock], list[Attention]]:
            c, attended = channels[i], i in settings.attention_levels
            residuals = [residual(before if j == 0 else c, c) for j in range(settings.blocks)]
            return residuals, [attention(c) for _ in residuals if attended]

        before = [width, *channels[:-1]]
        self.down = nn.ModuleList(
            Level(*parts(i, before[i]), conv3x3(c, c, stride=2) if i < last and not self.fixed else None)
            for i, c in enumerate(channels)
        )
        self.middle = nn.ModuleList(residual(channels[-1], channels[-1]) for _ in range(2))
        self.middle_attention = attention(channels[-1]) if settings.attention_levels else None
        self.up = nn.ModuleList(
            Level(*parts(i, 2 * c), nn.Conv2d(c, channels[i - 1], 1) if i > 0 else None) for i, c in enumerate(channels)
        )
        self.norm_out = GroupNorm(groups, channels[0])
        self.smooth, self.head = settings.unfold == "bilinear", settings.head
        unfolded = settings.refine_width if settings.refine else state_channels
        self.conv_out = conv3x3(channels[0], unfolded if self.smooth else unfolded * patch * patch)
        self.refine = Refinement(unfolded, state_channels, settings.refine) if settings.refine else None
        # For every channel a weight of each of x_t's, unless it is left out, and of cond's, and a constant.
        weights = state_channels * ((2 if self.head == "affine" else 1) * state_channels + 1)
        sets = BINS if self.head == "bilateral" else 1
        self.affine_out = conv3x3(channels[0], sets * weights) if self.head != "plain" else None

    def forward(self, x_t: Tensor, cond: Tensor, t: Tensor) -> Tensor:
        if self.coordinates:
            cond = with_coordinates(cond)
        pictures = self._joined(x_t, cond)
        x = self.stem(F.pixel_unshuffle(pictures, self.patch))
        emb = self.time_embedding(t, x.dtype)
        emb = F.silu(self.time_out(F.silu(self.time_in(emb))))
        context = None if self.encoder is None else self.encoder(cond)
        skips: list[Tensor] = []
        for level in _levels(self.down):
            x = level(x, emb, context)
            skips.append(x)
            if len(skips) < len(self.down):
                x = F.avg_pool2d(x, 2) if level.resample is None else level.resample(x)
        for i, block in enumerate(self.middle):
            if i > 0 and self.middle_attention is not None:
                x = self.middle_attention(x, context)
            x = block(x, emb)
        for level in reversed(_levels(self.up)):
            x = level(torch.cat([x, skips.pop()], dim=1), emb, context)
            if level.resample is not None:
                x = enlarge(level.resample(x), self.fixed)
        features = F.silu(self.norm_out(x))
        output, picture = self.conv_out(features), cond[:, : self.channels]
        if self.smooth:
            output = F.interpolate(output, scale_factor=float(self.patch), mode="bilinear", align_corners=False)
        else:
            output = F.pixel_shuffle(output, self.patch)
        if self.refine is not None:
            output = self.refine(output, picture)
        if self.affine_out is None:
            return output
        return output + recolour(self.head, self.affine_out(features), x_t, picture, self.patch)


class Refinement(nn.Module):
    """3x3 convolutions at full resolution on unfolded features, which also see the input picture."""

    def __init__(self, width: int, out: int, count: int) -> None:
        """`width`: channels of the features and between the convolutions; `out`: of the picture."""
        super().__init__()
        before = [width + out, *[width] * (count - 1)]
        self.convs = nn.ModuleList(conv3x3(c, width if i < count - 1 else out) for i, c in enumerate(before))

    def forward(self, features: Tensor, cond: Tensor) -> Tensor:
        """Features and cond (batch, channels, height, width) to a picture (batch, out, height, width)."""
        x = torch.cat([F.silu(features), cond], dim=1)
        for i, conv in enumerate(self.convs):
            x = conv(x if i == 0 else F.silu(x))
        return x


def with_coordinates(cond: Tensor) -> Tensor:
    """cond (batch, 3, height, width) with each pixel's height and width in the picture, centres from -1 to 1, as
    channels 4 and 5 (Wang et al. 2023, "Patch Diffusion"); one that has five comes back as it is."""
    if cond.shape[1] != 3:
        return cond
    sides = cond.shape[2:]
    axes = [torch.linspace(1 / n - 1, 1 - 1 / n, n, dtype=cond.dtype, device=cond.device) for n in sides]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return torch.cat([cond, grid.expand(cond.shape[0], 2, *sides)], dim=1)


def enlarge(x: Tensor, smooth: bool) -> Tensor:
    """Double the side: `smooth` interpolates bilinearly between pixel centres, else every pixel is repeated."""
    if smooth:
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def recolour(head: str, coefficients: Tensor, x_t: Tensor, cond: Tensor, patch: int) -> Tensor:
    """A local affine colour change of cond, of x_t too for `affine`; pictures (batch, channels, height, width).

    `coefficients`: (batch, terms, height/patch, width/patch), for each output channel the weights of the
    sources' channels, and a constant, as departures from copying cond; interpolated bilinearly, and for
    `bilateral`, which has BINS such sets, between them by the brightness of cond (Gharbi et al. 2017).

    Between the centres of four blocks all pixels share the four corners. So the changes of all four are one small
    matrix product, and what is interpolated is the colours: far fewer numbers than coefficients.
    """
    channels, levels = cond.shape[1], BINS if head == "bilateral" else 1
    sources = (x_t, cond) if head == "affine" else (cond,)
    terms = torch.cat([*sources, torch.ones_like(cond[:, :1])], dim=1)
    cells = _cells(terms, patch)
    if head == "bilateral":
        bins = brightness_bins(_cells(cond, patch))
        cells = (bins[:, :, :, :, None] * cells[:, :, :, None]).flatten(3, 4)
    rows, columns = coefficients.shape[2:]
    padded = F.pad(coefficients, (1, 1, 1, 1), mode="replicate").unflatten(1, (levels, channels, -1))
    padded = padded.permute(0, 4, 5, 2, 1, 3).flatten(4, 5)
    # Of the blocks above left, above right, below left and below right of each cell.
    corners = [padded[:, i : i + rows + 1, j : j + columns + 1] for i in (0, 1) for j in (0, 1)]
    changes = torch.cat(corners, dim=3) @ cells
    shares = _corner_shares(patch).to(changes)
    parts = [changes[..., channels * n : channels * (n + 1), :] * shares[n] for n in range(4)]
    return cond + _from_cells(parts[0] + parts[1] + parts[2] + parts[3], patch)


def _cells(picture: Tensor, patch: int) -> Tensor:
    """The pixels between the centres of each four neighbouring blocks; beyond the picture's edge, zeros.

    (batch, channels, height, width) to (batch, height / patch + 1, width / patch + 1, channels, patch * patch).
    """
    before, after = patch - patch // 2, patch // 2
    padded = F.pad(picture, (before, after, before, after))
    split = padded.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))
    return split.permute(0, 2, 4, 1, 3, 5).flatten(4, 5)


def _from_cells(cells: Tensor, patch: int) -> Tensor:
    """The inverse of `_cells`."""
    before, after = patch - patch // 2, patch // 2
    split = cells.unflatten(4, (patch, patch)).permute(0, 3, 1, 4, 2, 5)
    return split.flatten(4, 5).flatten(2, 3)[:, :, before : -after or None, before : -after or None]


def _corner_shares(patch: int) -> Tensor:
    """How much of each corner a pixel of a cell takes, by bilinear interpolation, (4, patch * patch)."""
    below = (torch.arange(patch) + 0.5 + patch // 2) / patch - 0.5
    ways = torch.stack([1.0 - below, below])
    return torch.einsum("iy,jx->ijyx", ways, ways).reshape(4, patch * patch)


def brightness_bins(cells: Tensor) -> Tensor:
    """Weight of each of BINS brightness levels at each pixel, for colours in [-1, 1], (..., channels, pixels)."""
    bright = (0.5 * cells.mean(dim=-2, keepdim=True) + 0.5).clamp(0.0, 1.0)
    levels = torch.arange(BINS, dtype=cells.dtype, device=cells.device)[:, None]
    return (1.0 - ((BINS - 1) * bright - levels).abs()).clamp(min=0.0)


def _levels(levels: nn.ModuleList) -> list[Level]:
    """The same levels, as what they are."""
    return [level for level in levels if isinstance(level, Level)]
