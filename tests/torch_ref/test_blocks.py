"""Blocks against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from torch_ref.attention import attend
from torch_ref.blocks import GroupNorm, ResBlock, TimeEmbedding
from torch_ref.unet import enlarge


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_time_embedding_is_its_formula(dtype: torch.dtype) -> None:
    half, t = 5, [0, 1, 37, 999]
    got = TimeEmbedding(half)(torch.tensor(t), dtype)
    assert got.dtype == dtype
    for row, time in zip(got.double().numpy(), t, strict=True):
        angles = [time * 10000.0 ** (-k / half) for k in range(half)]
        wanted = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        np.testing.assert_allclose(row, wanted, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-12)


def test_time_embedding_keeps_no_weights() -> None:
    assert TimeEmbedding(4).state_dict() == {}


@pytest.mark.parametrize("side", [1, 3])
def test_group_norm_is_its_formula_for_one_value_a_group_too(side: int) -> None:
    """torch's own module, which assumes that it trains, refuses one value."""
    norm = GroupNorm(4, 4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    x = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
    variance, mean = torch.var_mean(x.double(), (2, 3), correction=0, keepdim=True)
    wanted = (x - mean) / (variance + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    # What is left of one value after its mean is rounding, over the root of 1e-5.
    torch.testing.assert_close(norm(x), wanted.float(), rtol=0, atol=3e-4 if side == 1 else 1e-5)


def test_residual_block_is_the_identity_when_its_branch_is_silent() -> None:
    block = ResBlock(8, 8, 6, groups=4)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.get_parameter("conv2.bias"))
    x, emb = torch.randn(2, 8, 5, 4), torch.randn(2, 6)
    torch.testing.assert_close(block(x, emb), x, rtol=0, atol=0)
    assert block.skip is None


def test_residual_block_against_numpy() -> None:
    """1 x 1 pixels, so that a convolution is its middle tap and a group norm a sum over channels."""
    torch.manual_seed(0)
    block = ResBlock(4, 6, 3, groups=2).double()
    x, emb = torch.randn(1, 4, 1, 1, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
    p = {name: value.numpy() for name, value in block.state_dict().items()}

    def norm(v: np.ndarray, name: str) -> np.ndarray:
        g = v.reshape(2, -1)
        g = (g - g.mean(1, keepdims=True)) / np.sqrt(g.var(1, keepdims=True) + 1e-5)
        return g.reshape(-1) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def silu(v: np.ndarray) -> np.ndarray:
        return v / (1 + np.exp(-v))

    h = p["conv1.weight"][:, :, 1, 1] @ silu(norm(x.numpy().ravel(), "norm1")) + p["conv1.bias"]
    scale, shift = np.split(p["time.weight"] @ emb.numpy().ravel() + p["time.bias"], 2)
    h = norm(h, "norm2") * (1 + scale) + shift
    h = p["conv2.weight"][:, :, 1, 1] @ silu(h) + p["conv2.bias"]
    wanted = h + p["skip.weight"][:, :, 0, 0] @ x.numpy().ravel() + p["skip.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(block(x, emb).numpy().ravel(), wanted, rtol=0, atol=1e-12)


def test_attention_is_torchs_own() -> None:
    q, k, v = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 7), torch.randn(2, 3, 4, 7)
    wanted = torch.nn.functional.scaled_dot_product_attention(*(part.transpose(2, 3) for part in (q, k, v)))
    torch.testing.assert_close(attend(q, k, v), wanted.transpose(2, 3), rtol=0, atol=1e-6)


def test_fixed_resampling_keeps_what_is_constant_and_gradients_straight() -> None:
    ramp = torch.arange(6.0).expand(1, 1, 4, 6)
    torch.testing.assert_close(enlarge(ramp, smooth=True)[0, 0, 0, 1:-1], 0.25 + 0.5 * torch.arange(10.0))
    torch.testing.assert_close(enlarge(ramp, smooth=False)[0, 0, 0], torch.arange(6.0).repeat_interleave(2))
