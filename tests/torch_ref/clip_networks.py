"""A random image encoder of CLIP, as narrow as a head, in the names of OpenAI's state dict, and its converted file."""

from __future__ import annotations

from pathlib import Path

import torch

from torch_ref.clip import table
from torch_ref.perceptual import main

State = dict[str, torch.Tensor]


def random_clip(width: int = 64, blocks: int = 2, patch: int = 8, grid: int = 3) -> State:
    """A state dict with parts of the text encoder, for pictures of patch · grid pixels."""
    random = torch.Generator().manual_seed(0)
    sizes = {"w": width, "3w": 3 * width, "m": 2 * width, "e": 12, "p": patch, "n": grid**2 + 1}
    state: State = {"logit_scale": torch.tensor(4.6), "positional_embedding": torch.zeros(7, 5)}
    for name, shape, _ in table(blocks):
        sides = [side if isinstance(side, int) else sizes[side] for side in shape]
        drawn = torch.randn(sides, generator=random) / max(1, torch.tensor(sides[1:]).prod().item()) ** 0.5
        state[f"visual.{name}"] = 1.0 + 0.2 * drawn if name.endswith("weight") and len(sides) == 1 else drawn
    return state


def write_clip(folder: Path, state: State) -> Path:
    """The converted file."""
    torch.save(state, folder / "clip.pth")
    main(["clip", str(folder / "clip.pth"), str(folder / "clip.safetensors")])
    return folder / "clip.safetensors"
