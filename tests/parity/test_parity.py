"""JAX, PyTorch and onnxruntime give the same numbers from the same weights.

Bounds are absolute, on outputs of unit size, a little above what float32 rounding
leaves. Where float64 is used, only a mistake could leave more than its bound.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from export.edge import sampler as edge
from jax_impl.diffusion.process import levels_at, q_sample
from jax_impl.diffusion.samplers import SamplerConfig, sample
from jax_impl.model.network import flatten
from jax_impl.training.step import diffusion_loss
from torch_ref import diffusion as reference
from torch_ref.weights import from_jax, to_jax

if TYPE_CHECKING:
    from tests.parity.conftest import Trio


def to_torch(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def to_nhwc(pictures: torch.Tensor) -> np.ndarray:
    return pictures.detach().numpy().transpose(0, 2, 3, 1)


def inputs(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x_t = rng.normal(size=shape).astype(np.float32)
    cond = rng.uniform(-1, 1, shape).astype(np.float32)
    return x_t, cond, rng.integers(0, 1000, shape[0])


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (3, 16, 48, 3), (2, 32, 16, 3), (5, 48, 32, 3)])
def test_forward(trio: Trio, shape: tuple[int, ...]) -> None:
    x_t, cond, t = inputs(shape)
    ours = np.asarray(
        trio.problem.network.apply(trio.params, trio.stats, jnp.asarray(x_t), jnp.asarray(cond), jnp.asarray(t))[0]
    )
    with torch.no_grad():
        theirs = to_nhwc(trio.bundle.model(to_torch(x_t), to_torch(cond), torch.from_numpy(t)))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(trio.artifact.denoise(x_t, cond, t), theirs, atol=1e-5)


def test_forward_in_training_mode_and_the_statistics_after_it(trio: Trio) -> None:
    x_t, cond, t = inputs((3, 16, 32, 3))
    ours, stats = trio.problem.network.apply(
        trio.params, trio.stats, jnp.asarray(x_t), jnp.asarray(cond), jnp.asarray(t), train=True
    )
    model = copy.deepcopy(trio.bundle.model).train()
    theirs = to_nhwc(model(to_torch(x_t), to_torch(cond), torch.from_numpy(t)))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    back = to_jax(model.state_dict(), trio.tree)
    for name, array in flatten(stats).items():
        np.testing.assert_allclose(array, back[name], rtol=1e-4, atol=1e-5, err_msg=name)


def loss_and_gradients(trio: Trio, dtype: str):
    """Loss and flat gradients of the same batch in JAX and in torch, in `dtype`."""
    x0, cond, t = inputs((4, 32, 32, 3), seed=1)
    x0 = np.clip(x0 / 3, -1, 1)
    eps = np.random.default_rng(2).normal(size=x0.shape)
    x0, cond, eps = (a.astype(dtype) for a in (x0, cond, eps))
    with jax.enable_x64(dtype == "float64"):
        params = jax.tree.map(lambda a: jnp.asarray(a, dtype), trio.params)
        stats = jax.tree.map(lambda a: jnp.asarray(a, dtype), trio.stats)
        arrays = [jnp.asarray(a) for a in (cond, x0, t, eps)]
        (loss, _), grads = jax.jit(
            jax.value_and_grad(lambda p: diffusion_loss(trio.problem, p, stats, *arrays), has_aux=True)
        )(params)
        ours = {name: np.array(g) for name, g in flatten(grads).items()}
    model = copy.deepcopy(trio.bundle.model).to(getattr(torch, dtype)).train()
    tensors = [to_torch(a) for a in (cond, x0, eps)]
    x_t = reference.q_sample(tensors[1], tensors[2], trio.alphas_cumprod, torch.from_numpy(t))
    prediction = trio.config.diffusion.prediction
    goal = reference.target(prediction, tensors[1], tensors[2], trio.alphas_cumprod, torch.from_numpy(t))
    value = reference.hybrid_loss(model(x_t, tensors[0], torch.from_numpy(t)), goal, 0.1)
    value.backward()
    state = {name: p.grad for name, p in model.named_parameters()}
    state = {name: state.get(name, tensor) for name, tensor in model.state_dict().items()}
    theirs = to_jax(state, trio.tree)
    return float(loss), ours, float(value.detach()), {name: theirs[name] for name in ours}


@pytest.mark.parametrize(("dtype", "bar"), [("float32", 1e-4), ("float64", 1e-10)])
def test_loss_and_the_gradient_of_every_parameter(trio: Trio, dtype: str, bar: float) -> None:
    loss, ours, expected, theirs = loss_and_gradients(trio, dtype)
    assert loss == pytest.approx(expected, rel=bar)
    total = np.sqrt(sum(np.sum(np.square(g)) for g in theirs.values()))
    apart = np.sqrt(sum(np.sum(np.square(ours[name] - theirs[name])) for name in theirs))
    # Relative to the global norm: biases in front of BatchNorm have no true gradient, only rounding.
    assert apart <= bar * total
    assert total > 1e-3


def test_a_swapped_axis_is_seen_in_every_block(trio: Trio) -> None:
    flat = trio.flat()
    # Large enough that a 3×3 kernel reaches beyond its centre on the deepest level too.
    x_t, cond, t = inputs((2, 32, 32, 3))
    arrays = to_torch(x_t), to_torch(cond), torch.from_numpy(t)
    names = [name for name in flat if name.endswith("conv2.kernel")]
    assert len(names) > 4
    model = copy.deepcopy(trio.bundle.model)
    with torch.no_grad():
        right = trio.bundle.model(*arrays)
        for name in names:
            model.load_state_dict(from_jax(flat | {name: flat[name].transpose(1, 0, 2, 3)}, trio.tree))
            # A hundred times what `test_forward` lets pass.
            assert float((model(*arrays) - right).abs().max()) > 1e-3, name


@pytest.mark.parametrize(("dtype", "bar"), [("float32", 1e-6), ("float64", 1e-14)])
def test_q_sample(trio: Trio, dtype: str, bar: float) -> None:
    x0, eps, _ = inputs((5, 8, 8, 3))
    x0, eps = x0.astype(dtype), eps.astype(dtype)
    t = np.array([0, 1, 500, 998, 999])
    with jax.enable_x64(dtype == "float64"):
        signal, noise = levels_at(trio.problem.levels, jnp.asarray(t), jnp.dtype(dtype))
        ours = np.asarray(q_sample(jnp.asarray(x0), jnp.asarray(eps), signal, noise))
    theirs = reference.q_sample(to_torch(x0), to_torch(eps), trio.alphas_cumprod, torch.from_numpy(t))
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, to_nhwc(theirs), atol=bar * 10)


def raw_endings(trio: Trio, sampler: str, steps: int, eta: float = 0.0) -> dict[str, np.ndarray]:
    """The last clean estimate before its clamp, from the same start noise and step noise, by implementation."""
    x_start, _, _ = inputs(trio.cond.shape, seed=5)
    z = np.random.default_rng(6).normal(size=(steps, *x_start.shape)).astype(np.float32)
    diffusion = trio.config.diffusion
    apply = trio.problem.network.apply

    def denoise(x_t, cond, t):
        return apply(trio.params, trio.stats, x_t, cond, t)[0]

    ours = jax.jit(
        lambda cond, x, z: sample(
            denoise, cond, x, jax.random.key(0), trio.alphas_cumprod, SamplerConfig(sampler, steps, eta),
            prediction=diffusion.prediction, clamp=diffusion.clamp, step_noise=z,
        )
    )(jnp.asarray(trio.cond), jnp.asarray(x_start), jnp.asarray(z))  # fmt: skip
    steps_in_torch = reference.sample(
        trio.bundle.model, to_torch(trio.cond), to_torch(x_start), trio.alphas_cumprod, lambda i: to_torch(z[i]),
        steps=steps, prediction=diffusion.prediction, sampler=sampler, eta=eta, clamp=diffusion.clamp,
    )  # fmt: skip
    plan = edge.coefficients(trio.alphas_cumprod, steps, sampler, eta, prediction=diffusion.prediction)
    steps_on_edge = edge.iterate(trio.artifact.denoise, trio.cond, x_start, plan, diffusion.clamp, lambda i: z[i])
    return {
        "jax": np.asarray(ours.x0_raw),
        "torch": to_nhwc(list(steps_in_torch)[-1].x0_raw),
        "onnx": list(steps_on_edge)[-1].x0_raw,
    }


@pytest.mark.parametrize(
    ("sampler", "steps", "eta"), [("ddim", 50, 0.0), ("ddim", 10, 0.5), ("ddpm", 50, 0.0), ("ddim", 1, 0.0)]
)
def test_whole_trajectories(trio: Trio, sampler: str, steps: int, eta: float) -> None:
    endings = raw_endings(trio, sampler, steps, eta)
    at_the_clamp = np.mean(np.abs(endings["torch"]) >= 1.0)
    if steps > 1:  # One step of an eps network divides by √ᾱ = 1.6e-5: everything is at the clamp.
        assert at_the_clamp < 0.05, "saturated pictures would make the comparison empty"
        assert np.std(endings["torch"]) > 0.05
        for other in ("jax", "onnx"):
            np.testing.assert_allclose(endings[other], endings["torch"], atol=1e-4, err_msg=other)
    else:
        scale = np.abs(endings["torch"]).max()
        for other in ("jax", "onnx"):
            np.testing.assert_allclose(endings[other] / scale, endings["torch"] / scale, atol=1e-4, err_msg=other)
