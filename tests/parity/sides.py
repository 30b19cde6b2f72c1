"""The diffusion process as each implementation computes it, behind one border of numpy arrays.

The implementations are JAX, torch, the edge sampler and, as a third party, diffusers.
diffusers makes alphas_cumprod from float32 betas; it is handed our float64 ones in their
place, or no line with it could be tighter than float32.
Pictures are (batch, height, width, channels); none of this cares which axis is which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from export.edge.choices import Spacing
from export.edge.sampling import loop, table
from jax_impl.diffusion import samplers
from jax_impl.diffusion.gaussian import DiffusionConfig, GaussianProcess
from jax_impl.diffusion.process import Bound
from torch_ref import diffusion

CLAMP = 1.0
NAMES_IN_DIFFUSERS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


@dataclass(frozen=True)
class Forward:
    """The forward process and its conversions on one picture for each timestep, (T, height, width, channels).

    The first argument of each is alphas_cumprod, float64 (T,).
    """

    q_sample: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    """x_t from x0 and eps."""
    target: Callable[[np.ndarray, str, np.ndarray, np.ndarray], np.ndarray]
    """What the network should say, from the prediction, x0 and eps."""
    to_x0: Callable[[np.ndarray, str, np.ndarray, np.ndarray], np.ndarray]
    """x0 from the prediction, the network's output and x_t."""


@dataclass(frozen=True)
class Step:
    """One sampler step from timestep t of the chain of all T, with x0_hat clamped to ±1."""

    sampler: str
    eta: float
    prediction: str
    t: int
    x_t: np.ndarray
    output: np.ndarray
    seed: int

    def chain(self, alphas_cumprod: np.ndarray) -> np.ndarray:
        """The schedule of two timesteps, or at t = 0 of one, in which the first step is this one."""
        return alphas_cumprod[max(self.t - 1, 0) : self.t + 1]

    @property
    def generator(self) -> torch.Generator:
        """A fresh one in the same state each time: diffusers' DDPM draws the step's noise by itself."""
        return torch.Generator().manual_seed(self.seed)

    @property
    def z(self) -> np.ndarray:
        """The step's noise, standard normal."""
        dtype = torch.from_numpy(self.x_t[:0]).dtype
        return torch.randn(self.x_t.shape, generator=self.generator, dtype=dtype).numpy()


def jax_process(alphas_cumprod: np.ndarray, prediction: Any = "x0") -> GaussianProcess:
    """JAX's process by any schedule."""
    return GaussianProcess(DiffusionConfig(prediction=prediction), alphas_cumprod)


def _jax_forward() -> Forward:
    def call(function: Callable, alphas_cumprod: np.ndarray, *pictures: np.ndarray) -> np.ndarray:
        with jax.enable_x64(pictures[-1].dtype == np.float64):
            return np.asarray(function(*map(jnp.asarray, pictures), jnp.arange(len(alphas_cumprod))))

    def q_sample(alphas_cumprod: np.ndarray, x0: np.ndarray, eps: np.ndarray) -> np.ndarray:
        by = jax_process(alphas_cumprod)
        return call(lambda x0, eps, t: by.corrupt(x0, x0, t, eps).x_t, alphas_cumprod, x0, eps)

    def target(alphas_cumprod: np.ndarray, prediction: str, x0: np.ndarray, eps: np.ndarray) -> np.ndarray:
        by = jax_process(alphas_cumprod, prediction)
        return call(lambda x0, eps, t: by.target(x0, by.corrupt(x0, x0, t, eps)), alphas_cumprod, x0, eps)

    def to_x0(alphas_cumprod: np.ndarray, prediction: str, output: np.ndarray, x_t: np.ndarray) -> np.ndarray:
        return call(jax_process(alphas_cumprod, prediction).to_x0, alphas_cumprod, output, x_t)

    return Forward(q_sample, target, to_x0)


def _torch_forward() -> Forward:
    def call(function: Callable, alphas_cumprod: np.ndarray, *arguments: Any) -> np.ndarray:
        tensors = [a if isinstance(a, str) else torch.from_numpy(a) for a in arguments]
        return function(*tensors, alphas_cumprod, torch.arange(len(alphas_cumprod))).numpy()

    return Forward(
        lambda *a: call(diffusion.q_sample, *a),
        lambda *a: call(diffusion.target, *a),
        lambda *a: call(diffusion.to_x0, *a),
    )


FORWARD = {"JAX": _jax_forward(), "torch": _torch_forward()}


def edge_to_x0(alphas_cumprod: np.ndarray, prediction: str, output: np.ndarray, x_t: np.ndarray) -> np.ndarray:
    """x0 by the edge sampler's coefficients, which fall from t = T - 1, in the dtype of x_t."""
    plan = table.coefficients(alphas_cumprod, len(alphas_cumprod), prediction=prediction)
    from_x, from_output = (c[::-1, None, None, None].astype(x_t.dtype) for c in (plan.x0_from_x, plan.x0_from_output))
    return from_x * x_t + from_output * output


def torch_to_eps(alphas_cumprod: np.ndarray, x0: np.ndarray, x_t: np.ndarray) -> np.ndarray:
    """eps from x0 and x_t; only torch's samplers take this way."""
    arrays = torch.from_numpy(x0), torch.from_numpy(x_t)
    return diffusion.to_eps(*arrays, alphas_cumprod, torch.arange(len(alphas_cumprod))).numpy()


def diffusers_q_sample(alphas_cumprod: np.ndarray, x0: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """x_t by diffusers' `add_noise`."""
    arrays = torch.from_numpy(x0), torch.from_numpy(eps), torch.arange(len(alphas_cumprod))
    return _scheduler(DDPMScheduler, alphas_cumprod).add_noise(*arrays).numpy()


def diffusers_velocity(alphas_cumprod: np.ndarray, x0: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """v by diffusers' `get_velocity`."""
    arrays = torch.from_numpy(x0), torch.from_numpy(eps), torch.arange(len(alphas_cumprod))
    return _scheduler(DDPMScheduler, alphas_cumprod).get_velocity(*arrays).numpy()


def _scheduler(kind: Any, alphas_cumprod: np.ndarray, prediction: str = "x0", clamp: float | None = None) -> Any:
    """diffusers' scheduler of that kind for our schedule.

    The rest stays at its defaults, which are ours: variance β̃ ("fixed_small"), a last
    step that lands on ᾱ = 1 ("set_alpha_to_one"), no rescaling to a zero terminal SNR.
    """
    made = kind(
        num_train_timesteps=len(alphas_cumprod),
        trained_betas=1.0 - alphas_cumprod / np.append(1.0, alphas_cumprod[:-1]),
        timestep_spacing="trailing",
        prediction_type=NAMES_IN_DIFFUSERS[prediction],
        clip_sample=clamp is not None,
        clip_sample_range=clamp or 1.0,
    )
    made.alphas_cumprod = torch.from_numpy(alphas_cumprod)
    return made


# Timesteps of a grid: (alphas_cumprod, steps, spacing) -> whole numbers (steps,).


def _jax_timesteps(alphas_cumprod: np.ndarray, steps: int, spacing: Spacing) -> np.ndarray:
    return jax_process(alphas_cumprod).plan(steps, "ddim", spacing=spacing).t


def _torch_timesteps(alphas_cumprod: np.ndarray, steps: int, spacing: Spacing) -> np.ndarray:
    return np.array([step.t for step in _torch_walk(alphas_cumprod, steps, "ddim", 0.0, spacing)])


def _edge_timesteps(alphas_cumprod: np.ndarray, steps: int, spacing: Spacing) -> np.ndarray:
    return table.coefficients(alphas_cumprod, steps, prediction="x0", spacing=spacing).t


def _diffusers_timesteps(alphas_cumprod: np.ndarray, steps: int, spacing: Spacing) -> np.ndarray:
    made = DDPMScheduler(len(alphas_cumprod), timestep_spacing=spacing)
    made.set_timesteps(steps)
    return made.timesteps.numpy()


TIMESTEPS: dict[str, Callable[[np.ndarray, int, Spacing], np.ndarray]] = {
    "JAX": _jax_timesteps,
    "torch": _torch_timesteps,
    "edge": _edge_timesteps,
    "diffusers": _diffusers_timesteps,
}

# The steps of a grid: (alphas_cumprod, steps, sampler, eta) -> float64 (steps, 3), for each step the weights of x0
# and of x_t in its mean and the deviation of its noise.


def _jax_table(alphas_cumprod: np.ndarray, steps: int, sampler: str, eta: float) -> np.ndarray:
    plan = jax_process(alphas_cumprod).plan(steps, sampler, eta)
    return np.stack([plan.next_from_x0, plan.next_from_x, plan.noise], axis=1)


def _edge_table(alphas_cumprod: np.ndarray, steps: int, sampler: str, eta: float) -> np.ndarray:
    plan = table.coefficients(alphas_cumprod, steps, sampler, eta, prediction="x0")
    return np.stack([plan.next_from_x0, plan.next_from_x, plan.noise], axis=1)


def _torch_walk(alphas_cumprod: np.ndarray, steps: int, sampler: str, eta: float, spacing: str = "trailing") -> Any:
    """Three walks of one number at once: only the start is 1, only x0_hat is 1, only the noise is 1."""
    start, x0, z = torch.eye(3, dtype=torch.float64).reshape(3, 3, 1, 1, 1)
    return diffusion.sample(
        lambda x_t, cond, t: x0, start, start, alphas_cumprod, lambda index: z,
        diffusion.SamplerSettings(steps, "x0", cast(Any, sampler), eta, None, spacing=spacing),
    )  # fmt: skip


def _torch_table(alphas_cumprod: np.ndarray, steps: int, sampler: str, eta: float) -> np.ndarray:
    after = np.array([step.x.flatten().numpy() for step in _torch_walk(alphas_cumprod, steps, sampler, eta)])
    before = np.concatenate([[[1.0, 0.0, 0.0]], after[:-1]])
    from_x_t = after[:, 0] / before[:, 0]
    added = after - from_x_t[:, None] * before
    return np.stack([added[:, 1], from_x_t, added[:, 2]], axis=1)


def _diffusers_table(alphas_cumprod: np.ndarray, steps: int, sampler: str, eta: float) -> np.ndarray:
    made = _scheduler(DDPMScheduler if sampler == "ddpm" else DDIMScheduler, alphas_cumprod)
    made.set_timesteps(steps)
    x_t, x0, only_noise = torch.eye(3, dtype=torch.float64)[..., None]
    rows = []
    for t in made.timesteps:
        if sampler == "ddpm":  # draws its noise by itself
            z = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(0), dtype=x_t.dtype)
            after = made.step(x0, t, x_t, generator=torch.Generator().manual_seed(0)).prev_sample
        else:
            z = only_noise
            after = made.step(x0, t, x_t, eta, use_clipped_model_output=True, variance_noise=z).prev_sample
        deviation = after[2] / z[2]
        from_x_t, from_x0, _ = after - deviation * z
        rows.append([float(number) for number in (from_x0, from_x_t, deviation)])
    return np.array(rows)


TABLES: dict[str, Callable[[np.ndarray, int, str, float], np.ndarray]] = {
    "JAX": _jax_table,
    "torch": _torch_table,
    "edge": _edge_table,
    "diffusers": _diffusers_table,
}

# One step: (alphas_cumprod, step) -> x at the next timestep, in the dtype of step.x_t.


def _jax_step(alphas_cumprod: np.ndarray, step: Step) -> np.ndarray:
    chain = step.chain(alphas_cumprod)
    plan = jax_process(chain, step.prediction).plan(len(chain), step.sampler, step.eta)
    # Without jit a step takes milliseconds; as a program of its own it would be compiled for longer.
    with jax.enable_x64(step.x_t.dtype == np.float64), jax.disable_jit():
        x_t, output, z = jnp.asarray(step.x_t), jnp.asarray(step.output), jnp.asarray(step.z)
        drawn = samplers.sample(lambda x, cond, t: output, x_t, x_t, plan, lambda call: z, Bound(CLAMP), (0,))
        return np.asarray(drawn.frames[0])


def _torch_step(alphas_cumprod: np.ndarray, step: Step) -> np.ndarray:
    chain = step.chain(alphas_cumprod)
    x_t, output, z = (torch.from_numpy(array) for array in (step.x_t, step.output, step.z))
    walk = diffusion.sample(
        lambda x, cond, t: output, x_t, x_t, chain, lambda index: z,
        diffusion.SamplerSettings(len(chain), cast(Any, step.prediction), cast(Any, step.sampler), step.eta, CLAMP),
    )  # fmt: skip
    return next(iter(walk)).x.numpy()


def _edge_step(alphas_cumprod: np.ndarray, step: Step) -> np.ndarray:
    chain = step.chain(alphas_cumprod)
    plan = table.coefficients(chain, len(chain), step.sampler, step.eta, prediction=step.prediction)
    walk = loop.iterate(lambda x, cond, t: step.output, step.x_t, step.x_t, plan, CLAMP, lambda index: step.z)
    return next(walk).x


def _diffusers_step(alphas_cumprod: np.ndarray, step: Step) -> np.ndarray:
    x_t, output, z = (torch.from_numpy(array) for array in (step.x_t, step.output, step.z))
    if step.sampler == "ddpm":
        made = _scheduler(DDPMScheduler, alphas_cumprod, step.prediction, CLAMP)
        return made.step(output, step.t, x_t, generator=step.generator).prev_sample.numpy()
    made = _scheduler(DDIMScheduler, alphas_cumprod, step.prediction, CLAMP)
    made.set_timesteps(len(alphas_cumprod))
    moved = made.step(output, step.t, x_t, step.eta, use_clipped_model_output=True, variance_noise=z)
    return moved.prev_sample.numpy()


STEP: dict[str, Callable[[np.ndarray, Step], np.ndarray]] = {
    "JAX": _jax_step,
    "torch": _torch_step,
    "edge": _edge_step,
    "diffusers": _diffusers_step,
}
