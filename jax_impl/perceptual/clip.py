"""The image encoder of CLIP ViT-B/32, in plain JAX (Radford et al. 2021; Dosovitskiy et al. 2021).

Weights have the names of OpenAI's state dict, without the `visual.` in front. Sizes follow from them; a head has 64
channels.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.model.blocks import everywhere
from jax_impl.perceptual.layers import resized
from jax_impl.perceptual.weights import Weights, check_weights, read_weights
from jax_impl.shapes import Array, Features, Float

FORMAT = "clip"
SOURCE = (
    "`python -m torch_ref.perceptual clip` makes it of model.safetensors or pytorch_model.bin of "
    "openai/clip-vit-base-patch32 on huggingface.co, or of the state dict of OpenAI's ViT-B-32.pt "
    "(github.com/openai/CLIP, MIT licence)"
)
"""Where the weights come from, for messages."""
_HEAD = 64
_EPSILON = 1e-5
_MEAN, _STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])


def open_clip(path: Path, what: str) -> Weights:
    """The weights of a file; UserError, which calls it `what`, for another, a damaged one, or one that does not fill
    the network."""
    weights = read_weights(path, FORMAT, what, SOURCE)
    check_weights(path, clip, weights, (1, 64, 64, 3))
    return weights


def clip(
    weights: Weights, pictures: Features, dtype: jax.typing.DTypeLike | None = None
) -> Float[Array, "batch embedding"]:
    """Embeddings of pictures (batch, height, width, 3) in [-1, 1], of unit length: (batch, embedding).

    Pictures are brought to the network's own side, 224 for ViT-B/32, bicubically and whole, and normalised as CLIP's
    are. `dtype`: what the network computes in, by default that of the pictures, which embeddings always have.
    """
    kernel, places = weights["conv1.weight"], weights["positional_embedding"]
    patch, grid = kernel.shape[-1], round((len(places) - 1) ** 0.5)
    mean, std = (everywhere(jnp.asarray(row, pictures.dtype)) for row in (_MEAN, _STD))
    x = ((0.5 * (resized(pictures, patch * grid, "bicubic") + 1.0) - mean) / std).astype(dtype or pictures.dtype)
    x = jax.lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (patch, patch), "VALID", dimension_numbers=("NHWC", "OIHW", "NHWC"), precision=_EXACT
    )
    x = x.reshape(len(x), grid * grid, -1)
    first = jnp.broadcast_to(weights["class_embedding"].astype(x.dtype)[None, None, :], (len(x), 1, x.shape[-1]))
    x = jnp.concatenate([first, x], axis=1) + places.astype(x.dtype)[None]
    x = _norm(weights, "ln_pre", x)
    block = 0
    while f"transformer.resblocks.{block}.ln_1.weight" in weights:
        x = _block(weights, f"transformer.resblocks.{block}", x)
        block += 1
    x = _norm(weights, "ln_post", x[:, 0]).astype(pictures.dtype)
    x = jnp.matmul(x, weights["proj"].astype(x.dtype), precision=_EXACT)
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True))


_EXACT = jax.lax.Precision.HIGHEST
"""Accelerators would otherwise round float32, and the figures would depend on the device."""


def _block(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """Attention, then two layers with the activation x σ(1.702 x), each added to x, (batch, places, width)."""
    batch, places, width = x.shape
    both = _linear(weights, f"{name}.attn.in_proj_", _norm(weights, f"{name}.ln_1", x))
    query, key, value = jnp.split(both.reshape(batch, places, -1, _HEAD), 3, axis=2)
    scores = jnp.einsum("bqhc,bkhc->bhqk", query, key, precision=_EXACT) / _HEAD**0.5
    shares = jax.nn.softmax(_wide(scores)).astype(x.dtype)
    found = jnp.einsum("bhqk,bkhc->bqhc", shares, value, precision=_EXACT).reshape(batch, places, width)
    x = x + _linear(weights, f"{name}.attn.out_proj.", found)
    hidden = _linear(weights, f"{name}.mlp.c_fc.", _norm(weights, f"{name}.ln_2", x))
    return x + _linear(weights, f"{name}.mlp.c_proj.", hidden * jax.nn.sigmoid(1.702 * hidden))


def _wide(x: jax.Array) -> jax.Array:
    """In float32 where it is bfloat16."""
    return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x


def _linear(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """x Wᵀ + b; the kernel is (out, in)."""
    kernel, bias = (weights[f"{name}{part}"].astype(x.dtype) for part in ("weight", "bias"))
    return jnp.matmul(x, kernel.T, precision=_EXACT) + bias[None, None, :]


def _norm(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """Layer normalisation over the last dimension, its statistics in float32 or more."""
    scale, bias = (weights[f"{name}.{part}"] for part in ("weight", "bias"))
    wide = _wide(x)
    mean = jnp.mean(wide, axis=-1, keepdims=True)
    rest = wide - mean
    unit = rest / jnp.sqrt(jnp.mean(jnp.square(rest), axis=-1, keepdims=True) + _EPSILON)
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (unit * scale.astype(wide.dtype).reshape(shape) + bias.astype(wide.dtype).reshape(shape)).astype(x.dtype)
