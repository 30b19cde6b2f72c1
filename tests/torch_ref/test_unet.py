"""The residual family: shapes, names, and that every input reaches the output."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from export.edge.errors import UserError
from torch_ref.base import Denoiser
from torch_ref.unet import ResidualUNet, UNetSettings, recolour


def draw(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    x_t, cond = torch.randn(2, batch, 3, height, width, generator=generator)
    return x_t, cond


def test_names_of_the_modules(make_network: Callable[[str], Denoiser]) -> None:
    block = {"norm1", "conv1", "time", "norm2", "conv2"}
    names = {"stem", "time_in", "time_out", "norm_out", "conv_out", "down.0.resample", "up.1.resample"}
    for place in ("down.0.blocks.0", "down.0.blocks.1", "down.1.blocks.0", "down.1.blocks.1", "middle.0", "middle.1"):
        names |= {f"{place}.{part}" for part in block}
    for place in ("up.0.blocks.0", "up.0.blocks.1", "up.1.blocks.0", "up.1.blocks.1"):
        names |= {f"{place}.{part}" for part in block}
    names |= {f"{place}.skip" for place in ("down.1.blocks.0", "up.0.blocks.0", "up.1.blocks.0")}
    state = make_network("unet").state_dict()
    assert set(state) == {f"{name}.{leaf}" for name in names for leaf in ("weight", "bias")}


def test_names_that_the_options_add(make_network: Callable[[str], Denoiser]) -> None:
    names = {name.rpartition(".")[0] for name in make_network("options").state_dict()}
    attention = {"norm", "qkv", "context", "out"}
    places = ("down.1.attention.0", "up.1.attention.0", "middle_attention")
    added = {f"{place}.{part}" for place in places for part in attention}
    added |= {f"encoder.{part}" for part in ("stem", "norms.0", "norms.1", "convs.0")}
    assert {name for name in names if "attention" in name or "encoder" in name} == added
    assert "down.0.resample" not in names
    assert "up.1.resample" in names


@pytest.mark.parametrize(("kind", "multiple"), [("unet", 4), ("affine", 4), ("options", 4)])
def test_size_multiple_is_the_smallest_that_works(
    kind: str, multiple: int, make_network: Callable[[str], Denoiser]
) -> None:
    model = make_network(kind)
    assert model.size_multiple == multiple
    x_t, cond = draw(3, multiple, 5 * multiple)
    with torch.no_grad():
        assert model(x_t, cond, torch.tensor([0, 50, 99])).shape == x_t.shape
    for height, width in ((multiple + 1, multiple), (multiple, multiple // 2)):
        x_t, cond = draw(1, height, width)
        with pytest.raises(UserError, match=f"{height} x {width} pixels: this model needs multiples of {multiple}"):
            model(x_t, cond, torch.tensor([0]))


@pytest.mark.parametrize("kind", ["unet", "affine", "options"])
def test_items_of_a_batch_do_not_mix(kind: str, make_network: Callable[[str], Denoiser]) -> None:
    model, (x_t, cond), t = make_network(kind), draw(3, 8, 12), torch.tensor([0, 40, 99])
    with torch.no_grad():
        together = model(x_t, cond, t)
        alone = torch.cat([model(x_t[i : i + 1], cond[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["unet", "affine", "options"])
def test_every_input_and_every_parameter_matters(kind: str, make_network: Callable[[str], Denoiser]) -> None:
    model, (x_t, cond) = make_network(kind), draw(2, 8, 8)
    x_t.requires_grad_(), cond.requires_grad_()
    out = model(x_t, cond, torch.tensor([3, 60]))
    out.square().sum().backward()
    gradients = {"x_t": x_t.grad, "cond": cond.grad} | {name: p.grad for name, p in model.named_parameters()}
    assert [name for name, g in gradients.items() if g is None or not g.abs().max() > 0] == []
    with torch.no_grad():
        later = model(x_t, cond, torch.tensor([4, 61]))
    assert (out - later).abs().amax(dim=(1, 2, 3)).min() > 1e-4


def test_dropout_is_for_training_alone(make_network: Callable[[str], Denoiser]) -> None:
    model, (x_t, cond), t = make_network("options"), draw(2, 8, 8), torch.tensor([3, 60])
    with torch.no_grad():
        drawn = model(x_t, cond, t)
        assert torch.equal(model(x_t, cond, t), drawn)
        first, second = (model.train()(x_t, cond, t) for _ in range(2))
    assert not torch.equal(first, second)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            assert module.p == 0.3
            dropped = module(torch.ones(100_000))
            assert abs(dropped.eq(0).double().mean().item() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 100_000)
            module.p = 0.0
    with torch.no_grad():
        assert torch.equal(model(x_t, cond, t), drawn)


def test_a_silent_last_convolution_leaves_zero() -> None:
    model = ResidualUNet(UNetSettings(8, (1,), blocks=1, groups=4, patch=1, head="plain"))
    torch.nn.init.zeros_(model.conv_out.weight)
    torch.nn.init.zeros_(model.get_parameter("conv_out.bias"))
    x_t, cond = draw(1, 5, 7)
    assert model.size_multiple == 1
    assert not model(x_t, cond, torch.tensor([1])).any()


def test_recolouring_starts_as_a_copy_and_is_affine_in_the_pictures() -> None:
    x_t, cond = draw(2, 6, 4)
    assert torch.equal(recolour("affine", torch.zeros(2, 21, 3, 2), x_t, cond, 2), cond)
    coefficients = torch.zeros(2, 3, 7, 3, 2)
    coefficients[:, 0, 1], coefficients[:, 1, 5], coefficients[:, 2, 6] = 2.0, -1.0, 0.25
    got = recolour("affine", coefficients.flatten(1, 2), x_t, cond, 2)
    wanted = cond + torch.stack([2 * x_t[:, 1], -cond[:, 2], torch.full_like(cond[:, 0], 0.25)], dim=1)
    torch.testing.assert_close(got, wanted)


def test_recolouring_fades_from_one_patch_to_the_next() -> None:
    constant = torch.zeros(1, 3, 7, 1, 2)
    constant[:, :, 6, 0, 1] = 1.0
    black = torch.zeros(1, 3, 2, 4)
    got = recolour("affine", constant.flatten(1, 2), black, black, 2)
    torch.testing.assert_close(got, torch.tensor([0.0, 0.25, 0.75, 1.0]).expand(1, 3, 2, 4))
