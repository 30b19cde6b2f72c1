"""The seed network: its size, its names, and what it does with time and sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from export.edge.errors import UserError
from torch_ref.base import Denoiser
from torch_ref.seed_unet import SeedUNet

LINEARS = {"time_mlp.0", "time_mlp.2", "time_proj.0"}
BLOCKS = {"inc": 0, "bottleneck": 0, "down1": 1, "down2": 1, "down3": 1, "up1": 1, "up2": 1, "up3": 1}


def original_keys() -> set[str]:
    """The state-dict keys of the original script's network, from the description of its Sequentials."""
    plain = LINEARS | {"outc.0"} | {f"up{n}.0" for n in (1, 2, 3)}
    plain |= {f"{name}.{first + step}" for name, first in BLOCKS.items() for step in (0, 3)}
    norms = {f"{name}.{first + step}" for name, first in BLOCKS.items() for step in (1, 4)}
    keys = {f"{name}.{leaf}" for name in plain | norms for leaf in ("weight", "bias")}
    return keys | {f"{n}.{leaf}" for n in norms for leaf in ("running_mean", "running_var", "num_batches_tracked")}


def draw(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    x_t, cond = torch.randn(2, batch, 3, height, width, generator=generator)
    return x_t, cond


def test_number_of_parameters() -> None:
    with torch.device("meta"):
        model = SeedUNet()
    assert sum(p.numel() for p in model.parameters()) == 12_625_923


@pytest.mark.parametrize("kind", ["seed", "tanh"])
def test_keys_are_those_of_the_original(kind: str, make_network: Callable[[str], Denoiser]) -> None:
    assert set(make_network(kind).state_dict()) == original_keys()


def test_transposed_convolutions_halve_the_channels(make_network: Callable[[str], Denoiser]) -> None:
    state = make_network("seed").state_dict()
    assert [tuple(state[f"up{n}.0.weight"].shape) for n in (1, 2, 3)] == [(64, 32, 2, 2), (32, 16, 2, 2), (16, 8, 2, 2)]


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (3, 16, 40), (2, 24, 8)])
def test_any_batch_and_any_multiple_of_eight(
    batch: int, height: int, width: int, make_network: Callable[[str], Denoiser]
) -> None:
    model, (x_t, cond) = make_network("seed"), draw(batch, height, width)
    with torch.no_grad():
        out = model(x_t, cond, torch.arange(batch))
        alone = model(x_t[-1:], cond[-1:], torch.tensor([batch - 1]))
    assert out.shape == x_t.shape
    torch.testing.assert_close(out[-1:], alone, rtol=0, atol=1e-6)


def test_time_is_divided_by_the_number_of_timesteps() -> None:
    x_t, cond = (picture.double() for picture in draw(1, 8, 8))
    torch.manual_seed(0)
    model = SeedUNet(8, timesteps=100).double().eval()
    longer = SeedUNet(8, timesteps=1000).double().eval()
    longer.load_state_dict(model.state_dict())
    with torch.no_grad():
        here, there = model(x_t, cond, torch.tensor([7])), longer(x_t, cond, torch.tensor([70]))
        other = model(x_t, cond, torch.tensor([70]))
    torch.testing.assert_close(here, there, rtol=0, atol=1e-12)
    assert (here - other).abs().max() > 1e-8  # fresh weights hardly hear the time


def test_tanh_is_the_same_network_squashed(make_network: Callable[[str], Denoiser]) -> None:
    plain, squashed = make_network("seed"), make_network("tanh")
    with torch.no_grad():
        plain.get_parameter("outc.0.weight").mul_(10)  # so that there is something to squash
    squashed.load_state_dict(plain.state_dict())
    x_t, cond = draw(2, 8, 8)
    with torch.no_grad():
        free, bounded = (m(x_t, cond, torch.tensor([3, 90])) for m in (plain, squashed))
    assert free.abs().max() > 1
    torch.testing.assert_close(bounded, free.tanh())


@pytest.mark.parametrize(("height", "width"), [(12, 16), (16, 20), (7, 7)])
def test_other_sizes_are_refused(height: int, width: int, make_network: Callable[[str], Denoiser]) -> None:
    x_t, cond = draw(1, height, width)
    with pytest.raises(UserError, match=f"{height} x {width} pixels: this model needs multiples of 8"):
        make_network("seed")(x_t, cond, torch.tensor([0]))
