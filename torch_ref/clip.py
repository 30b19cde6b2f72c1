"""The image encoder of CLIP ViT-B/32 (Radford et al. 2021): its weights from the usual files, and its value in PyTorch.

Written from the paper, and not from `jax_impl`, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from export.edge.errors import UserError
from torch_ref.frozen import Layout, Sizes, read_state

FORMAT = "clip"
Shape = Sequence[int | str]
Row = tuple[str, Shape, tuple[str, ...]]
"""A tensor's name in OpenAI's state dict and here, its shape, and its name, or its parts' names, in Hugging Face's."""


def _pairs(names: Mapping[str, tuple[str, str, str]]) -> list[Row]:
    """Weight and bias of modules: (letter of the outputs, of the inputs or empty, Hugging Face's name)."""
    rows: list[Row] = []
    for name, (out, into, theirs) in names.items():
        rows += [(f"{name}.weight", (out, into) if into else (out,), (f"{theirs}.weight",))]
        rows += [(f"{name}.bias", (out,), (f"{theirs}.bias",))]
    return rows


_IN = "vision_model.embeddings."
TOP: list[Row] = [
    ("class_embedding", ("w",), (f"{_IN}class_embedding",)),
    ("positional_embedding", ("n", "w"), (f"{_IN}position_embedding.weight",)),
    ("conv1.weight", ("w", 3, "p", "p"), (f"{_IN}patch_embedding.weight",)),
    ("proj", ("w", "e"), ("visual_projection.weight",)),
    *_pairs(
        {
            "ln_pre": ("w", "", "vision_model.pre_layrnorm"),
            "ln_post": ("w", "", "vision_model.post_layernorm"),
        }
    ),
]
"""The table, without the blocks."""
BLOCK: list[Row] = [
    *(
        (f"attn.in_proj_{part}", shape, tuple(f"self_attn.{which}_proj.{part}" for which in "qkv"))
        for part, shape in (("weight", ("3w", "w")), ("bias", ("3w",)))
    ),
    *_pairs(
        {
            "attn.out_proj": ("w", "w", "self_attn.out_proj"),
            "ln_1": ("w", "", "layer_norm1"),
            "ln_2": ("w", "", "layer_norm2"),
            "mlp.c_fc": ("m", "w", "mlp.fc1"),
            "mlp.c_proj": ("w", "m", "mlp.fc2"),
        }
    ),
]
"""The table of a block, in OpenAI's `visual.transformer.resblocks.N.`, `vision_model.encoder.layers.N.` there."""
OPENAI_LEFT_OUT = (
    r"(transformer\.|token_embedding\.|ln_final\.|(positional_embedding|text_projection|logit_scale|input_resolution|"
    r"context_length|vocab_size)$)"
)
HUGGING_FACE_LEFT_OUT = r"(text_model\.|text_projection\.|logit_scale$|vision_model\.embeddings\.position_ids$)"
"""What belongs to the text encoder, or is no weight."""


def table(blocks: int) -> list[Row]:
    """The whole table of an encoder of so many blocks."""
    rows = list(TOP)
    for n in range(blocks):
        here, there = f"transformer.resblocks.{n}.", f"vision_model.encoder.layers.{n}."
        rows += [(here + name, shape, tuple(there + part for part in parts)) for name, shape, parts in BLOCK]
    return rows


def clip_weights(path: Path) -> dict[str, np.ndarray]:
    """The image encoder's weights, float32, in OpenAI's names without `visual.`.

    path: a state dict with OpenAI's or Hugging Face's names. Raises UserError for a file that cannot be read, lacks a
    tensor, has one left over or of another shape.
    """
    state, sizes = read_state(path), Sizes()
    here = any(name.startswith("visual.") for name in state)
    place, first = ("visual.transformer.resblocks", "ln_1") if here else ("vision_model.encoder.layers", "layer_norm1")
    rows = table(next(n for n in range(len(state) + 1) if f"{place}.{n}.{first}.weight" not in state))
    if here:
        layout = Layout({f"visual.{name}": shape for name, shape, _ in rows}, OPENAI_LEFT_OUT)
        weights = {name.removeprefix("visual."): held for name, held in layout.of(state, path, sizes).items()}
    else:
        weights = _from_hugging_face(state, path, rows, sizes)
    grid, width = round((sizes["n"] - 1) ** 0.5), sizes["w"]
    if grid * grid + 1 != sizes["n"] or width % 64 or sizes["3w"] != 3 * width:
        raise UserError(
            f"{path} has {sizes['n']} places and a width of {width}, expected a square number and one more, and a "
            "multiple of 64; is it of another network?"
        )
    return weights


def _from_hugging_face(
    state: Mapping[str, object], path: Path, rows: Sequence[Row], sizes: Sizes
) -> dict[str, np.ndarray]:
    """The same of a state dict with Hugging Face's names: the projection the other way round, attention in parts."""
    shapes: dict[str, Shape] = {}
    for name, shape, parts in rows:
        one = tuple("w" if letter == "3w" else letter for letter in shape)
        shapes |= dict.fromkeys(parts, one[::-1] if name == "proj" else one)
    found = Layout(shapes, HUGGING_FACE_LEFT_OUT).of(state, path, sizes)
    sizes["3w"] = 3 * sizes["w"]
    return {
        name: np.ascontiguousarray(found[parts[0]].T) if name == "proj" else np.concatenate([found[p] for p in parts])
        for name, _, parts in rows
    }


def clip(weights: Mapping[str, Tensor], pictures: Tensor) -> Tensor:
    """Embeddings of unit length, (batch, embedding), of pictures (batch, 3, height, width) in [-1, 1]."""
    weights = {name: held.to(pictures) for name, held in weights.items()}
    kernel, places = weights["conv1.weight"], weights["positional_embedding"]
    side = kernel.shape[-1] * int((len(places) - 1) ** 0.5 + 0.5)
    if pictures.shape[2:] != (side, side):
        pictures = F.interpolate(pictures, (side, side), mode="bicubic", antialias=True)
    mean = pictures.new_tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = pictures.new_tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    x = F.conv2d(((pictures + 1) / 2 - mean) / std, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat([weights["class_embedding"].expand(len(x), 1, -1), x], dim=1) + places

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    x, n = norm("ln_pre", x), 0
    while (name := f"transformer.resblocks.{n}") + ".ln_1.weight" in weights:
        own = {key.removeprefix(f"{name}."): held for key, held in weights.items() if key.startswith(f"{name}.")}
        x = x + _attention(own, norm(f"{name}.ln_1", x))
        hidden = F.linear(norm(f"{name}.ln_2", x), own["mlp.c_fc.weight"], own["mlp.c_fc.bias"])
        x = x + F.linear(hidden * torch.sigmoid(1.702 * hidden), own["mlp.c_proj.weight"], own["mlp.c_proj.bias"])
        n += 1
    return F.normalize(norm("ln_post", x[:, 0]) @ weights["proj"], dim=1)


def _attention(own: Mapping[str, Tensor], x: Tensor) -> Tensor:
    width = x.shape[-1]
    x = x.transpose(0, 1)
    found, _ = F.multi_head_attention_forward(
        x, x, x, width, width // 64, own["attn.in_proj_weight"], own["attn.in_proj_bias"],
        None, None, False, 0.0, own["attn.out_proj.weight"], own["attn.out_proj.bias"], need_weights=False,
    )  # fmt: skip
    return found.transpose(0, 1)
