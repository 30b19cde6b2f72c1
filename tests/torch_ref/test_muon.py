"""The reference's Muon against torch's own, which knows matrices alone, and against torch's AdamW."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from torch_ref.muon import Muon, orthogonal

LR, DECAY = 1e-2, 0.1


class Small(nn.Module):
    """A layer of each kind that the networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.conv, self.norm = nn.Linear(6, 4), nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)
        self.up = nn.ConvTranspose2d(3, 8, 3)


@pytest.fixture
def pair() -> tuple[Small, Small]:
    """The same network twice."""
    torch.manual_seed(0)
    model = Small().double()
    return model, copy.deepcopy(model)


def set_gradients(model: nn.Module, seed: int) -> None:
    """The same random gradients for the same network and seed."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)


def test_vectors_are_moved_by_torch_s_adamw(pair: tuple[Small, Small]) -> None:
    ours, theirs = pair
    muon, adamw = Muon(ours, LR, DECAY), torch.optim.AdamW(theirs.parameters(), lr=LR, weight_decay=DECAY)
    for seed in range(5):
        for model, optimizer in ((ours, muon), (theirs, adamw)):
            set_gradients(model, seed)
            optimizer.step()
    for found, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        close = torch.allclose(found, wanted, rtol=0, atol=1e-14)
        assert close == (found.ndim < 2)


def test_matrices_are_moved_by_torch_s_muon(pair: tuple[Small, Small]) -> None:
    """Which computes in bfloat16."""
    ours, theirs = pair
    before = theirs.linear.weight.detach().clone()
    muon = Muon(ours, LR, DECAY)
    torch_muon = torch.optim.Muon([theirs.linear.weight], lr=LR, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    for seed in range(5):
        for model, optimizer in ((ours, muon), (theirs, torch_muon)):
            set_gradients(model, seed)
            optimizer.step()
    moved = (theirs.linear.weight - before).norm()
    assert (ours.linear.weight - theirs.linear.weight).norm() < 0.02 * moved


def test_a_transposed_convolution_is_the_same_matrix(pair: tuple[Small, Small]) -> None:
    ours, _ = pair
    with torch.no_grad():
        ours.up.weight.copy_(ours.conv.weight.transpose(0, 1))
    set_gradients(ours, 0)
    assert ours.conv.weight.grad is not None
    ours.up.weight.grad = ours.conv.weight.grad.transpose(0, 1).contiguous()
    Muon(ours, LR, DECAY).step()
    torch.testing.assert_close(ours.up.weight.transpose(0, 1), ours.conv.weight, rtol=0, atol=1e-14)


def test_singular_values_end_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((5, 30), (30, 5)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape, dtype=torch.float64)))
        assert values.min() > 0.6 and values.max() < 1.3


def test_a_parameter_without_a_gradient_stays(pair: tuple[Small, Small]) -> None:
    ours, theirs = pair
    muon = Muon(ours, LR, DECAY)
    set_gradients(ours, 0)
    ours.conv.weight.grad = None
    muon.step()
    assert torch.equal(ours.conv.weight, theirs.conv.weight) and not torch.equal(ours.conv.bias, theirs.conv.bias)
