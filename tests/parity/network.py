"""Levels b and c: the whole network, forward and backward, in JAX and in torch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jax_impl.diffusion.bridge import BridgeConfig
from jax_impl.diffusion.flow import FlowConfig
from jax_impl.model.codec import codec_of
from jax_impl.model.network import Network, flatten
from jax_impl.training.batches import Drawn
from jax_impl.training.objective import diffusion_loss
from tests.parity.ladder import Line, compare, worst
from tests.parity.subject import Subject, to_nhwc, to_torch
from torch_ref import bridges
from torch_ref import diffusion as reference
from torch_ref.codec_weights import codec_in
from torch_ref.losses import Losses, LossSample
from torch_ref.weights import to_jax

DTYPES = ("float32", "float64")
FORWARD = {"float32": 1e-5, "float64": 1e-10}
GRADIENTS = {"float32": 1e-4, "float64": 1e-10}
ROUNDING = {
    "float32": "float32 rounding of sums over thousands of products",
    "float64": "what is left of rounding in float64: more would be a mistake",
}
NO_GRADIENT = 1e-9
"""Of the global norm. Below it a gradient is rounding alone: biases in front of BatchNorm cancel out."""


def shapes(size: int, multiple: int) -> list[tuple[int, int, int]]:
    """(batch, height, width): the working size, then odd batches of lying and standing pictures."""
    half = max(size // 2 // multiple, 2) * multiple
    return [(1, size, size), (3, half, half + 3 * multiple), (5, 4 * multiple, 2 * multiple)]


def inputs(
    shape: tuple[int, int, int], timesteps: int, seed: int, cond_channels: int = 3, channels: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x_t (standard normal), cond (in [-1, 1]), float64 (*shape, channels), int64 t (batch,), 0 and T-1 among them.

    With 5 `cond_channels` cond is a part of a larger picture, in another place for each of the batch.
    """
    rng = np.random.default_rng(seed)
    t = rng.integers(0, timesteps, shape[0])
    t[: min(2, shape[0])] = (timesteps - 1, 0)[: min(2, shape[0])]
    x_t, cond = rng.normal(size=(*shape, channels)), rng.uniform(-1.0, 1.0, (*shape, channels))
    if cond_channels == 5:
        middle = np.moveaxis(np.mgrid[: shape[1], : shape[2]] + 0.5, 0, -1) / shape[1:] - 0.5
        cond = np.concatenate([cond, middle + rng.uniform(-0.5, 0.5, (shape[0], 1, 1, 2))], axis=-1)
    return x_t, cond, t


def network(subject: Subject, *, size: int) -> Iterator[Line]:
    """Level b: outputs in evaluation and in training mode, and the running statistics that training leaves."""
    square, lying, standing = shapes(size, subject.config.model.size_multiple)
    for shape, dtype in ((square, "float32"), (lying, "float32"), (standing, "float32"), (lying, "float64")):
        yield from forward(subject, shape, dtype)
    if subject.config.codec.learned:
        yield from codec(subject)


def codec(subject: Subject) -> Iterator[Line]:
    """Both sides of a codec with weights, on pictures that are not square."""
    settings, theirs = subject.config.codec, codec_in(subject.bundle)
    ours, side = codec_of(settings), settings.factor
    picture = np.random.default_rng(3).uniform(-1.0, 1.0, (3, 2 * side, 5 * side, 3)).astype(np.float32)
    with torch.no_grad():
        state = theirs.encode(to_torch(picture))
        wanted = {"encoder": to_nhwc(state), "decoder": to_nhwc(theirs.decode(state))}
    found = {
        "encoder": ours.encode(jnp.asarray(picture)),
        "decoder": ours.decode(jnp.asarray(wanted["encoder"])),
    }
    for name, values in found.items():
        yield forward_line("b", f"codec, {name}", np.asarray(values), wanted[name], "JAX · torch")


def _channels(subject: Subject, shape: tuple[int, int, int]) -> int:
    """With coordinates, squares are whole pictures, to which each side adds them, and the others parts of one."""
    return 3 if shape[1] == shape[2] else subject.config.model.cond_channels


@partial(jax.jit, static_argnames=("network", "train"))
def apply(network: Network, params: Any, stats: Any, x_t: Any, cond: Any, t: Any, *, train: bool) -> tuple[Any, Any]:
    """The network in JAX, compiled once for each shape and mode."""
    return network.apply(params, stats, x_t, cond, t, train=train)


def forward(subject: Subject, shape: tuple[int, int, int], dtype: str) -> Iterator[Line]:
    """One shape in one dtype, in either mode; in float32 also how far torch is from its own float64."""
    timesteps, states = subject.config.diffusion.timesteps, subject.config.codec.channels
    x_t, cond, t = inputs(shape, timesteps, sum(shape), _channels(subject, shape), states)
    x_t, cond = x_t.astype(dtype), cond.astype(dtype)
    where = f"{shape[0]} × {shape[1]} × {shape[2]}"
    model = _torch_model(subject, dtype)
    exact = _torch_model(subject, "float64")
    arguments = to_torch(x_t), to_torch(cond), torch.from_numpy(t)
    for train in (False, True):
        with jax.enable_x64(dtype == "float64"):
            params, stats = _jax_weights(subject, dtype)
            arrays = jnp.asarray(x_t), jnp.asarray(cond), jnp.asarray(t)
            ours, after = apply(subject.problem.network, params, stats, *arrays, train=train)
            ours, after = np.asarray(ours), {name: np.array(leaf) for name, leaf in flatten(after).items()}
        with torch.no_grad():
            theirs = to_nhwc(model.train(train)(*arguments))
        mode = "training" if train else "evaluation"
        what = f"forward, {mode} mode, {where}"
        yield forward_line("b", what, ours, theirs, "JAX · torch")
        if dtype == "float32":
            with torch.no_grad():
                wanted = to_nhwc(exact.train(train)(*(a.double() for a in arguments[:2]), arguments[2]))
            yield forward_line("b", what, theirs, wanted, "torch · torch in float64")
        if train and after:
            theirs = _like(after, to_jax(model.state_dict(), subject.tree))
            yield _statistics("b", after, theirs, where)


def forward_line(level: str, what: str, ours: np.ndarray, theirs: np.ndarray, pair: str) -> Line:
    """Two outputs, whose rounding grows with their size: an eps reaches 5."""
    dtype = str(ours.dtype)
    scale = max(1.0, float(np.abs(theirs).max()))
    reason = f"{ROUNDING[dtype]}; {FORWARD[dtype]:.0e} of the largest output, {scale:.1f}"
    return compare(level, what, ours, theirs, pair=pair, tolerance=FORWARD[dtype] * scale, reason=reason)


def gradients(subject: Subject, *, size: int, batch: int, every: bool = True) -> Iterator[Line]:
    """Level c: loss, the gradient of every parameter, and the statistics, after one backward pass.

    every: also pictures that are not square in float32, each program of which takes seconds to compile.
    """
    multiple = subject.config.model.size_multiple
    square, lying = (batch, size, size), (batch + 1, 2 * multiple, 4 * multiple)
    for shape, dtype in ((square, "float32"), *([(lying, "float32")] if every else []), (lying, "float64")):
        yield from _backward(subject, shape, dtype)


def _backward(subject: Subject, shape: tuple[int, int, int], dtype: str) -> Iterator[Line]:
    timesteps, states = subject.config.diffusion.timesteps, subject.config.codec.channels
    eps, cond, t = inputs(shape, timesteps, 1, _channels(subject, shape), states)
    x0 = np.clip(np.random.default_rng(2).normal(size=eps.shape) / 3, -1, 1)
    eps, cond, x0 = (a.astype(dtype) for a in (eps, cond, x0))
    where = f"{shape[0]} × {shape[1]} × {shape[2]}"
    with jax.enable_x64(dtype == "float64"):
        params, stats = _jax_weights(subject, dtype)
        arrays = [jnp.asarray(a) for a in (cond, x0, t, eps)]
        (loss, (_, after)), grads = jax.jit(
            jax.value_and_grad(lambda p: diffusion_loss(subject.problem, p, stats, Drawn(*arrays)), has_aux=True)
        )(params)
        ours = {name: np.array(g) for name, g in flatten(grads).items()}
        after = {name: np.array(leaf) for name, leaf in flatten(after).items()}
    model = _torch_model(subject, dtype).train()
    value = _torch_loss(subject, model, *(to_torch(a) for a in (cond, x0, eps)), torch.from_numpy(t))
    value.backward()
    named = dict(model.named_parameters())
    state = {name: named[name].grad if name in named else tensor for name, tensor in model.state_dict().items()}
    theirs = to_jax({name: tensor for name, tensor in state.items() if tensor is not None}, subject.tree)

    def line(what: str, found: Any, wanted: Any, tolerance: float, reason: str) -> Line:
        return compare("c", f"{what}, {where}", found, wanted, measure="relative", tolerance=tolerance, reason=reason)

    yield line("loss", np.asarray(loss), value.detach().numpy(), GRADIENTS[dtype], ROUNDING[dtype])
    reason = "of the global norm: a bias in front of BatchNorm has no true gradient, only rounding"
    wanted = _like(ours, theirs)
    yield line("gradients, all parameters", ours, wanted, GRADIENTS[dtype], reason)
    if dtype == "float64":
        reason = f"of its own norm; below {NO_GRADIENT:.0e} of the global norm there is no true gradient"
        yield worst("c", f"worst gradient, {where}", ours, wanted, tolerance=1e-8, reason=reason, share=NO_GRADIENT)
    if after:
        yield _statistics("c", after, _like(after, theirs), where)


def _torch_loss(
    subject: Subject, model: torch.nn.Module, cond: torch.Tensor, x0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    """The loss of a batch in torch; other processes than gaussian diffusion have no schedule."""
    alphas, prediction = subject.alphas_cumprod, subject.config.diffusion.prediction
    one = torch.ones_like(x0[:, :1, :1, :1])
    # No term of the presets reads these where there is no schedule.
    levels = 0.0 * one, one
    settings, source = subject.config.diffusion, cond[:, : x0.shape[1]]
    share = (t + 1).to(x0.dtype) / settings.timesteps
    if isinstance(settings, BridgeConfig):
        x_t, goal = bridges.bridge_state(x0, source, eps, share, settings.noise), x0
    elif isinstance(settings, FlowConfig):
        start = source + settings.start_noise * eps
        x_t, goal = bridges.flow_state(x0, start, share), start - x0 if prediction == "velocity" else x0
    elif alphas is None:
        ((plan,),) = (tables.values() for tables in (subject.bundle.tables or {}).values())
        # With a slider, training spreads t over the timesteps from realism 0 to realism 1.
        mean_t = int((plan.t if plan.mean_t is None else plan.mean_t)[0])
        t = mean_t - t * (mean_t - int(plan.t[0]) + 1) // settings.timesteps
        x_t, goal = reference.start_by_table(plan, source, eps), x0
    else:
        x_t = reference.q_sample(x0, eps, alphas, t)
        goal = reference.target(prediction, x0, eps, alphas, t)
        levels = reference.levels_at(alphas, t, x0.dtype)
    output = model(x_t, cond, t)
    return Losses(subject.tree)(LossSample(cond, x0, x_t, t, eps, output, goal, *levels, prediction))["loss"]


def _statistics(level: str, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], where: str) -> Line:
    dtype = str(next(iter(ours.values())).dtype)
    what = f"worst of the running statistics, {where}"
    return worst(level, what, ours, theirs, tolerance=10 * FORWARD[dtype], reason="of its own norm; " + ROUNDING[dtype])


def _jax_weights(subject: Subject, dtype: str) -> tuple[Any, Any]:
    return tuple(jax.tree.map(lambda a: jnp.asarray(a, dtype), tree) for tree in (subject.params, subject.stats))


def _torch_model(subject: Subject, dtype: str) -> torch.nn.Module:
    return copy.deepcopy(subject.bundle.model).to(getattr(torch, dtype))


def _like(names: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values[name] for name in names}
