"""pix2pix: the paper's sizes, the same pictures from the same seed, and files that evaluate reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from export.edge.errors import UserError
from jax_impl.config.data import DataConfig
from jax_impl.data.loader import Pairs
from jax_impl.evaluation.held_out import open_held_out
from jax_impl.evaluation.methods import of_pictures
from tests.figures import pix2pix
from tests.figures.pix2pix import BETAS, LEARNING_RATE, Batches, Course, Networks, RivalArgs
from tests.figures.pix2pix_networks import discriminator, generator

TOY = ["--size", "32", "--width", "4", "--batch", "2", "--device", "cpu", "--data.synthetic-pairs", "4"]


def train(folder: Path, seed: int, *words: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    pix2pix.main([*TOY, "--images", "6", "--seed", str(seed), "--output", str(folder), *words])
    pictures = {path.name: path.read_bytes() for path in sorted((folder / "pictures").iterdir())}
    return json.loads((folder / "pix2pix.json").read_text()), pictures


def test_the_same_seed_gives_the_same_pictures_which_evaluate_reads(tmp_path: Path) -> None:
    words = ("--data.synthetic-val-pairs", "2")
    found, pictures = train(tmp_path / "a", 3, *words)
    assert (found["images"], found["steps"], found["losses"][-1]["images"]) == (6, 3, 6)
    assert pictures == train(tmp_path / "b", 3, *words)[1]
    assert pictures.keys() == (other := train(tmp_path / "c", 4, *words)[1]).keys() and pictures != other
    held_out = open_held_out(DataConfig(size=32, synthetic_pairs=4, synthetic_val_pairs=2), "val")
    drawn = of_pictures(tmp_path / "a/pictures", held_out).draw(held_out.pairs.cond, [0, 0])
    assert drawn.shape == (2, 32, 32, 3) and drawn.std() > 0


def test_the_networks_have_the_papers_sizes() -> None:
    # Counted by hand from section 6.1.1: 4 × 4 kernels and biases, and scale and shift of each normalisation.
    encoder = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 512), (512, 512), (512, 512), (512, 512)]
    decoder = [(512, 512), (1024, 512), (1024, 512), (1024, 512), (1024, 256), (512, 128), (256, 64), (128, 3)]
    normalised = [after for _, after in encoder[1:-1]] + [after for _, after in decoder[:-1]]
    expected = sum(16 * a * b + b for a, b in encoder + decoder) + 2 * sum(normalised)
    paper = generator(256, 64)
    assert sum(weight.numel() for weight in paper.parameters()) == expected
    assert sum(isinstance(module, nn.Dropout) for module in paper.modules()) == 3
    patches = [(6, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    expected = sum(16 * a * b + b for a, b in patches) + 2 * (128 + 256 + 512)
    assert sum(weight.numel() for weight in discriminator(256, 64).parameters()) == expected


@pytest.mark.parametrize(("size", "patch"), [(128, 70), (64, 34), (32, 16)])
def test_a_logit_sees_a_patch_of_the_stated_side(size: int, patch: int) -> None:
    torch.manual_seed(0)
    # Without normalisation, which lets every pixel reach every logit.
    network = nn.Sequential(*(each for each in discriminator(size, 2) if not isinstance(each, nn.BatchNorm2d)))
    x = torch.randn(1, 6, size, size, requires_grad=True)
    logits = network(x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(dim=(0, 1)).nonzero()
    assert (seen.max(dim=0).values - seen.min(dim=0).values + 1).tolist() == [patch, patch]


def test_a_step_is_adams_on_the_papers_losses() -> None:
    torch.manual_seed(1)
    networks = Networks.begin(RivalArgs(Path(), size=16, width=2), torch.device("cpu"))
    cond, x0 = torch.rand(2, 1, 3, 16, 16) * 2 - 1
    both = (networks.generator.double(), networks.discriminator.double())  # Adam amplifies rounding.
    cond, x0 = cond.double(), x0.double()
    first = [[weight.detach().clone() for weight in each.parameters()] for each in both]
    torch.manual_seed(2)  # Dropout draws the same again.
    loss, adversarial, l1 = networks.step(cond, x0)
    after = [[weight.detach().clone() for weight in each.parameters()] for each in both]

    for network, weights in zip(both, first, strict=True):
        for weight, value in zip(network.parameters(), weights, strict=True):
            weight.data.copy_(value)
    torch.manual_seed(2)
    drawn = networks.generator(cond)
    real, fake = (torch.sigmoid(networks.discriminator(torch.cat([cond, each], 1))) for each in (x0, drawn.detach()))
    expected = -0.5 * (torch.log(real).mean() + torch.log(1 - fake).mean())
    torch.testing.assert_close(loss, expected.detach())
    adam = torch.optim.Adam(networks.discriminator.parameters(), LEARNING_RATE, BETAS)
    adam.zero_grad()
    expected.backward()
    adam.step()
    for weight, value in zip(networks.discriminator.parameters(), after[1], strict=True):
        torch.testing.assert_close(weight.detach(), value, rtol=0, atol=1e-6)
    fooled = torch.sigmoid(networks.discriminator(torch.cat([cond, drawn], 1)))
    torch.testing.assert_close(adversarial, -torch.log(fooled).mean().detach())
    torch.testing.assert_close(l1, (drawn - x0).abs().mean().detach())
    moved = [not torch.equal(a, b) for a, b in zip(first[0], after[0], strict=True)]
    assert all(moved)


def test_an_epoch_holds_every_pair_once_and_both_pictures_are_cropped_alike() -> None:
    place = np.arange(5 * 9 * 9, dtype=np.uint16).reshape(5, 9, 9, 1)
    cond = np.concatenate([place % 256, place // 256, place * 0], axis=-1).astype(np.uint8)
    batches = Batches(Pairs(tuple("abcde"), cond, 255 - cond), 8, 5, np.random.default_rng(0))
    turned = set()
    for _ in range(8):
        left, right = batches.draw()
        np.testing.assert_array_equal(left, 255 - right)
        pixels = left[..., 0].astype(int) + 256 * left[..., 1].astype(int)
        assert sorted((pixels // 81)[:, 0, 0].tolist()) == [0, 1, 2, 3, 4]
        steps = np.diff(pixels, axis=2)
        assert (np.abs(steps) == 1).all() and (np.diff(pixels, axis=1) == 9).all()
        turned |= set(steps[:, 0, 0].tolist())
    assert turned == {-1, 1}


def test_the_first_of_time_and_pictures_ends_it() -> None:
    began = Course(None, 1).began
    assert Course(None, 8, began).share(2) == 0.25
    assert Course(1e9, 8, began).share(8) == 1.0
    assert Course(1e-9, 8, began).share(0) > 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "48", "--images", "1"], "--size is 48: choose a power of two"),
        ([], "neither --seconds nor --images"),
        (["--seconds", "-1"], "--seconds is -1.0: choose a value above 0"),
    ],
)
def test_what_cannot_be_trained_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        pix2pix.main([*words, "--output", str(tmp_path / "out")])
    assert list(tmp_path.iterdir()) == []
