"""The codec `latent` and a network in its states, forward and backward, beside torch."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jax_impl.config.tree import Config
from jax_impl.diffusion.gaussian import DiffusionConfig
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.laplacian import LaplacianConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.model.codec import codec_of
from jax_impl.model.latent import LatentCodecConfig
from jax_impl.model.learned_codec import ReconstructionConfig, with_statistics
from jax_impl.model.network import flatten
from jax_impl.model.unet import UNetModelConfig
from jax_impl.training.batches import Drawn
from jax_impl.training.objective import Problem, diffusion_loss
from tests.drawing import drawn
from torch_ref.autoencoder import Autoencoder
from torch_ref.codec import codec_of as codec_in_torch
from torch_ref.codec import transform_of
from torch_ref.codec_weights import fill
from torch_ref.losses import Losses, LossSample
from torch_ref.trainer import Trainer
from torch_ref.weights import build_model, from_jax, to_jax

CODEC = LatentCodecConfig(factor=8, channels=5, patch=4, width=8, blocks=1)
CONFIG = Config(
    model=UNetModelConfig(width=8, groups=4, multipliers=(1,), blocks=1, patch=1),
    codec=CODEC,
    diffusion=DiffusionConfig(prediction="x0", clamp=None),
    losses=(HybridConfig(mae_weight=1.0), LaplacianConfig()),
)
FORWARD, GRADIENTS = 1e-5, {"float32": 1e-4, "float64": 1e-10}
PICTURES = np.random.default_rng(0).uniform(-1, 1, (2, 2, 32, 48, 3))


def tree_of_codec(dtype: str) -> Any:
    """Weights of about the size of trained ones, nothing of which is zero, and statistics."""
    plain = dataclasses.replace(CONFIG, model=ReconstructionConfig(codec=CODEC), codec=type(Config().codec)())
    _, weights, _ = drawn(plain)
    mean, std = jnp.array([0.1, -0.2, 0.05, 0.0, 0.3]), jnp.array([0.5, 0.25, 0.75, 0.1, 0.2])
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, dtype)), with_statistics(weights, mean, std))


def flat(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.array(leaf) for name, leaf in flatten(tree).items()}


def to_torch(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())


def assert_same_gradient(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], bound: float) -> None:
    """By the norm of the difference of all parameters together."""
    assert ours.keys() == theirs.keys()
    apart, norm = (
        np.sqrt(sum(np.sum(np.square(value, dtype=np.float64)) for value in values))
        for values in ([ours[name] - theirs[name] for name in theirs], theirs.values())
    )
    assert norm > 0 and apart <= bound * norm, apart / norm


def filled(weights: Any) -> Any:
    """The codec in torch with these weights."""
    found = transform_of(dataclasses.asdict(CONFIG))
    assert found.module is not None
    dtype = next(iter(flat(weights).values())).dtype
    fill(found.module.to(torch.from_numpy(np.zeros(0, dtype)).dtype), flat(weights))
    return found


def test_both_sides_agree() -> None:
    weights, picture = tree_of_codec("float32"), PICTURES[0].astype(np.float32)
    codec, theirs = codec_of(CODEC.filled(weights)), codec_in_torch(dataclasses.asdict(CONFIG), (), filled(weights))
    state = codec.encode(jnp.asarray(picture))
    back = codec.decode(state)
    with torch.inference_mode():
        wanted = theirs.encode(to_torch(picture))
        pictures = theirs.decode(wanted)
    assert wanted.shape == (2, 5, 4, 6) and float(wanted.std()) > 0.1
    for found, other in ((state, wanted), (back, pictures)):
        other = other.permute(0, 2, 3, 1).numpy()
        scale = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(found, other, rtol=0, atol=FORWARD * scale)


@pytest.mark.parametrize("dtype", GRADIENTS)
def test_gradients_of_the_codec_agree(dtype: str) -> None:
    """Of the loss that the stage autoencoder minimises, in terms without chance."""
    with jax.enable_x64(dtype == "float64"):
        tree = tree_of_codec(dtype)
        params = {name: tree[name] for name in ("encode", "decode")}
        plain = dataclasses.replace(
            CONFIG, model=ReconstructionConfig(codec=CODEC), codec=type(Config().codec)(), diffusion=OnePassConfig(),
            train=dataclasses.replace(CONFIG.train, sample_steps=1),
        )  # fmt: skip
        network, _, _ = drawn(plain)
        problem, picture = Problem.of(network, plain), jnp.asarray(PICTURES[0].astype(dtype))
        given = Drawn(picture, picture, jnp.zeros(2, jnp.int32), jnp.zeros_like(picture))
        loss, grads = jax.jit(jax.value_and_grad(lambda p: diffusion_loss(problem, p, {}, given)[0]))(params)
        loss, ours = float(loss), flat(grads)
    found = filled(tree)
    autoencoder = found.module.requires_grad_(True)
    assert isinstance(autoencoder, Autoencoder)
    x0 = to_torch(PICTURES[0].astype(dtype))
    output, zero, one = autoencoder.decode(autoencoder.encode(x0)), torch.zeros_like(x0), torch.ones_like(x0[:, :1])
    sample = LossSample(x0, x0, zero, torch.zeros(2, dtype=torch.int64), zero, output, x0, 0 * one, one, "x0")
    value = Losses(dataclasses.asdict(CONFIG))(sample)["loss"]
    value.backward()
    assert loss == pytest.approx(float(value.detach()), rel=GRADIENTS[dtype])
    named = {name: parameter.grad for name, parameter in autoencoder.named_parameters()}
    layouts = {"weight": (2, 3, 1, 0), "bias": (0,)}
    theirs = {
        name.replace("weight", "kernel"): grad.permute(layouts[name.rpartition(".")[2]]).numpy()
        for name, grad in named.items()
        if grad is not None
    }
    assert_same_gradient(ours, theirs, GRADIENTS[dtype])


@pytest.mark.parametrize("dtype", GRADIENTS)
def test_gradients_of_a_network_in_latents_agree(dtype: str) -> None:
    """From pictures on: torch's own trainer encodes them, adds noise, and takes the loss in states."""
    t, rng = np.array([7, 900]), np.random.default_rng(1)
    cond, x0 = (side.astype(dtype) for side in PICTURES)
    eps = rng.normal(size=(2, 4, 6, 5)).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        tree = tree_of_codec(dtype)
        config = dataclasses.replace(CONFIG, codec=CODEC.filled(tree))
        network, params, _ = drawn(CONFIG)
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, dtype)), params)
        problem = Problem.of(network, config)

        def loss_of(params: Any) -> jax.Array:
            states = [problem.codec.encode(jnp.asarray(side)) for side in (cond, x0)]
            return diffusion_loss(problem, params, {}, Drawn(*states, jnp.asarray(t), jnp.asarray(eps)))[0]

        loss, grads = jax.jit(jax.value_and_grad(loss_of))(params)
        loss, ours = float(loss), flat(grads)
    settings = dataclasses.asdict(CONFIG)
    model = build_model(settings)
    model.load_state_dict(from_jax(flat(params), settings))
    schedule = CONFIG.diffusion.create().published().alphas_cumprod
    assert schedule is not None
    kind = to_torch(x0).dtype
    trainer = Trainer(model.to(kind), schedule, settings, steps_per_epoch=1, codec=filled(tree))
    value = trainer.objective(to_torch(cond), to_torch(x0), torch.from_numpy(t), to_torch(eps))["loss"]
    value.backward()
    assert loss == pytest.approx(float(value.detach()), rel=GRADIENTS[dtype])
    theirs = to_jax({name: parameter.grad for name, parameter in model.named_parameters()}, settings)  # type: ignore[misc]
    assert_same_gradient(ours, theirs, GRADIENTS[dtype])
