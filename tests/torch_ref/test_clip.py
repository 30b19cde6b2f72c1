"""CLIP's image encoder beside that of transformers, from their file through the converter; and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from export.edge.errors import UserError
from jax_impl.perceptual import clip as ours
from jax_impl.perceptual.layers import resized
from jax_impl.perceptual.weights import read_weights
from tests.torch_ref.clip_networks import random_clip, write_clip
from torch_ref import clip as theirs
from torch_ref.frozen import open_saved, read_state
from torch_ref.perceptual import main

SIDE, CLOSE = 24, 1e-10


def tiny(**vision: Any) -> CLIPModel:
    """A whole model with random weights, biases included, in float64."""
    text = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 9,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        **vision,
    }
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    for name, held in model.named_parameters():
        held.data = 0.3 * torch.randn_like(held) + (name.endswith("norm.weight") or "layrnorm.weight" in name)
    return model.double().eval()


@pytest.fixture(scope="module")
def model() -> CLIPModel:
    return tiny()


@pytest.fixture(scope="module")
def converted(model: CLIPModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    save_file(model.float().state_dict(), folder / "model.safetensors")
    model.double()
    main(["clip", str(folder / "model.safetensors"), str(folder / "clip.safetensors")])
    return folder / "clip.safetensors"


def test_embeddings_and_gradients_are_those_of_transformers(model: CLIPModel, converted: Path) -> None:
    """At the network's own size, in float64; on the other side the normalisation is CLIP's, written out."""
    rng = np.random.default_rng(0)
    pictures, pull = rng.uniform(-1, 1, (2, SIDE, SIDE, 3)), rng.normal(size=(2, 12))
    mean, std = (
        torch.tensor(row, dtype=torch.float64)[:, None, None]
        for row in ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    )
    given = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).requires_grad_()
    values = (given / 2 + 0.5 - mean) / std
    found = model.visual_projection(model.vision_model(pixel_values=values).pooler_output)
    wanted = found / found.norm(dim=-1, keepdim=True)
    (wanted * torch.from_numpy(pull)).sum().backward()
    assert given.grad is not None

    weights = ours.open_clip(converted, "--clip")
    with jax.enable_x64(True):
        embed = jax.jit(lambda pictures: jax.vjp(lambda p: ours.clip(weights, p), pictures))
        values_here, back = embed(jnp.asarray(pictures))
        (slope,) = back(jnp.asarray(pull))
    np.testing.assert_allclose(values_here, wanted.detach().numpy(), rtol=CLOSE, atol=CLOSE)
    there = given.grad.numpy().transpose(0, 2, 3, 1)
    assert np.abs(there).max() > 1e-3
    np.testing.assert_allclose(slope, there, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("side", [17, 60])
def test_pictures_are_resampled_as_pillow_does(side: int) -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (1, side, side, 1)).astype(np.float32)
    wanted = np.asarray(Image.fromarray(rows[0, :, :, 0]).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(resized(jnp.asarray(rows), SIDE, "bicubic")[0, :, :, 0], wanted, atol=1e-5)


def test_openais_names_and_hugging_faces_lead_to_the_same_file(
    model: CLIPModel, converted: Path, tmp_path: Path
) -> None:
    """The state dict in OpenAI's names, in half precision as they publish it."""
    held = {name: value.float() for name, value in model.state_dict().items()}
    block, there = "visual.transformer.resblocks", "vision_model.encoder.layers"
    state = {
        "visual.class_embedding": held["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": held["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": held["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": held["visual_projection.weight"].T,
        "transformer.resblocks.0.ln_1.weight": torch.ones(8), "logit_scale": torch.ones(()),
    }  # fmt: skip
    for part in ("weight", "bias"):
        state[f"visual.ln_pre.{part}"] = held[f"vision_model.pre_layrnorm.{part}"]
        state[f"visual.ln_post.{part}"] = held[f"vision_model.post_layernorm.{part}"]
        for n in range(2):
            attention = [held[f"{there}.{n}.self_attn.{which}_proj.{part}"] for which in "qkv"]
            state[f"{block}.{n}.attn.in_proj_{part}"] = torch.cat(attention)
            state[f"{block}.{n}.attn.out_proj.{part}"] = held[f"{there}.{n}.self_attn.out_proj.{part}"]
            for ours_named, named in (("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1")):
                state[f"{block}.{n}.{ours_named}.{part}"] = held[f"{there}.{n}.{named}.{part}"]
            state[f"{block}.{n}.mlp.c_proj.{part}"] = held[f"{there}.{n}.mlp.fc2.{part}"]
    first, second = (read_weights(path, "clip", "") for path in (converted, write_clip(tmp_path, state)))
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    half = write_clip(tmp_path, {name: value.half() for name, value in state.items()})
    assert {value.dtype for value in read_weights(half, "clip", "").values()} == {np.dtype(np.float32)}


def test_its_real_size_is_that_of_transformers() -> None:
    """ViT-B/32 is their default; as shapes alone."""
    with torch.device("meta"):
        wanted = sum(p.numel() for p in CLIPVisionModelWithProjection(CLIPVisionConfig()).parameters())
    sizes = {"w": 768, "3w": 2304, "m": 3072, "e": 512, "p": 32, "n": 50}
    weights = {
        name: jax.ShapeDtypeStruct([n if isinstance(n, int) else sizes[n] for n in shape], jnp.float32)
        for name, shape, _ in theirs.table(12)
    }
    assert sum(math.prod(leaf.shape) for leaf in weights.values()) == wanted == 87_849_216
    found = jax.eval_shape(ours.clip, weights, jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32))
    assert found.shape == (2, 512)


def test_it_may_be_computed_in_bfloat16(converted: Path) -> None:
    weights, pictures = ours.open_clip(converted, ""), jax.random.uniform(jax.random.key(0), (2, 30, 30, 3))
    rough = jax.jit(lambda pictures: ours.clip(weights, pictures, jnp.bfloat16))(pictures)
    exact = jax.jit(ours.clip)(weights, pictures)
    assert rough.dtype == exact.dtype == jnp.float32
    np.testing.assert_allclose(jnp.linalg.norm(rough, axis=1), 1.0, rtol=1e-5)
    assert 1e-6 < 1.0 - float(jnp.sum(rough[0] * exact[0])) < 0.05


def without(state: dict, name: str) -> dict:
    return {held: value for held, value in state.items() if held != name}


BLOCK = "visual.transformer.resblocks"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "visual.proj"), "lacks visual.proj"),
        (
            lambda s: without(s, f"{BLOCK}.1.ln_1.weight"),
            f"holds {BLOCK}.1.attn.in_proj_bias, which this",
        ),
        (lambda s: s | {"visual.attnpool.k": torch.ones(1)}, "holds visual.attnpool.k, which this network lacks"),
        (lambda s: s | {"visual.ln_pre.bias": torch.ones(63)}, r"ln_pre.bias has the shape \(63,\), expected 64;"),
        (lambda s: s | {"visual.proj": torch.ones(64)}, r"visual.proj has the shape \(64,\), expected 64 × e;"),
        (lambda s: s | {"visual.positional_embedding": torch.ones(9, 64)}, "has 9 places and a width of 64, expected"),
        (lambda s: random_clip(width=40), "has 10 places and a width of 40, expected"),
        (lambda s: {"features.0.weight": torch.ones(1)}, "holds features.0.weight, which this network lacks"),
    ],
)
def test_files_of_other_networks(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        write_clip(tmp_path, change(random_clip()))
    assert not (tmp_path / "clip.safetensors").exists()


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"weight": torch.zeros(200)}, path)
    whole = path.read_bytes()
    directory = whole.rindex(b"PK\x01\x02")
    path.write_bytes(whole[:directory] + b"PK__" + whole[directory + 4 :])
    with pytest.raises(UserError, match=r"pytorch_model.bin is .*damaged"):
        read_state(path)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_openais_own_file_is_code(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "ViT-B-32.pt")
    with pytest.raises(UserError, match=r"ViT-B-32.pt is a TorchScript archive, which holds code .*torch.jit.load"):
        main(["clip", str(tmp_path / "ViT-B-32.pt"), str(tmp_path / "clip.safetensors")])


def test_the_reference_takes_only_its_own_files(converted: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config losses.lpips.file .* holds no dawn2dusk-lpips weights; make it with"):
        open_saved(converted, "lpips", "config losses.lpips.file")
    damaged = bytearray(converted.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    with pytest.raises(UserError, match="does not fit its digest"):
        open_saved(tmp_path / "damaged.safetensors", "clip", "file")
