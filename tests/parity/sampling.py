"""Level f: whole sampling trajectories, from the same start noise and the same noise in every step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from export.edge import sampler as edge
from jax_impl.diffusion.samplers import SamplerConfig, sample
from tests.parity.ladder import Line, compare
from tests.parity.subject import Subject, to_nhwc, to_torch
from torch_ref import diffusion as reference

AT_THE_CLAMP = 0.25
"""Largest share of pixels beyond the clamp: where all of them are, any two implementations agree."""
DIFFUSERS_PREDICTION = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def samplers(subject: Subject) -> Iterator[Line]:
    """The clean estimate of the last step, before its clamp, by JAX, torch, onnxruntime and diffusers."""
    for sampler, steps, eta in (
        ("ddim", 1, 0.0),
        ("ddim", 2, 0.0),
        ("ddim", 10, 0.0),
        ("ddim", 10, 0.5),
        ("ddim", 50, 0.0),
        ("ddim", 250, 0.0),
        ("ddpm", 50, 0.0),
        ("ddpm", 1000, 0.0),
    ):
        yield from trajectory(subject, sampler, steps, eta)
    yield from trajectory(subject, "ddim", 50, 0.0, dtype="float64")


def trajectory(subject: Subject, sampler: str, steps: int, eta: float, dtype: str = "float32") -> Iterator[Line]:
    """One sampler over one grid; in float64 JAX and torch alone, since the file and its runtime are float32."""
    cond = subject.cond[:1].astype(dtype)
    x_T = np.random.default_rng(5).normal(size=cond.shape).astype(dtype)

    def step_noise(index: int) -> np.ndarray:
        return np.random.default_rng((6, index)).normal(size=x_T.shape).astype(dtype)

    endings = {"torch": _torch(subject, cond, x_T, step_noise, sampler, steps, eta)}
    endings["JAX"] = _jax(subject, cond, x_T, step_noise, sampler, steps, eta)
    if dtype == "float32":
        endings["onnxruntime"] = _onnxruntime(subject, cond, x_T, step_noise, sampler, steps, eta)
        endings["diffusers"] = _diffusers(subject, cond, x_T, step_noise, sampler, steps, eta)
    name = f"{sampler.upper()}{f' (eta {eta})' if eta else ''}, {steps} steps"
    blown_up = steps == 1 and subject.config.diffusion.prediction == "eps"
    for other in list(endings)[1:]:
        yield compare(
            "f",
            f"{name}, {cond.shape[1]} × {cond.shape[2]}, before the last clamp",
            endings[other],
            endings["torch"],
            pair=f"{other} · torch",
            measure="relative" if blown_up else "absolute",
            tolerance=1e-9 if dtype == "float64" else 1e-3 if steps > 50 else 1e-4,
            reason=_reason(dtype, blown_up, steps),
        )
    if steps > 2:
        yield _share(name, endings["torch"], subject.config.diffusion.clamp)


def _reason(dtype: str, blown_up: bool, steps: int) -> str:
    if blown_up:
        return "relative: one step of an eps network divides by √ᾱ = 1.6e-5"
    if dtype == "float64":
        return "rounding, amplified over the steps"
    return f"float32 rounding of each pass, carried on by {steps} passes"


def _share(name: str, ending: np.ndarray, clamp: float | None) -> Line:
    """Not how far two implementations are apart, but that the comparison says something."""
    beyond = float(np.mean(np.abs(ending) > clamp)) if clamp is not None else 0.0
    return Line(
        "f",
        f"{name}: share of pixels beyond the clamp",
        "torch",
        str(ending.dtype),
        beyond,
        beyond,
        "absolute",
        AT_THE_CLAMP,
        "with all pixels at the clamp any two implementations would agree",
    )


StepNoise = Callable[[int], np.ndarray]


def _jax(
    subject: Subject, cond: np.ndarray, x_T: np.ndarray, step_noise: StepNoise, sampler: str, steps: int, eta: float
) -> np.ndarray:
    diffusion = subject.config.diffusion
    stochastic = sampler == "ddpm" or eta > 0
    z = np.stack([step_noise(i) for i in range(steps)]) if stochastic else None
    with jax.enable_x64(x_T.dtype == np.float64):
        params, stats = (
            jax.tree.map(lambda a: jnp.asarray(a, x_T.dtype), tree) for tree in (subject.params, subject.stats)
        )

        def draw(params, stats, cond, x_T, z):
            def denoise(x_t, cond, t):
                return subject.problem.network.apply(params, stats, x_t, cond, t)[0]

            keys = jnp.broadcast_to(jax.random.key(0), (x_T.shape[0],))
            return sample(
                denoise, cond, x_T, keys, subject.alphas_cumprod, SamplerConfig(sampler, steps, eta),
                prediction=diffusion.prediction, clamp=diffusion.clamp, step_noise=z,
            ).x0_raw  # fmt: skip

        arguments = [None if a is None else jnp.asarray(a) for a in (cond, x_T, z)]
        return np.asarray(jax.jit(draw)(params, stats, *arguments))


def _torch(
    subject: Subject, cond: np.ndarray, x_T: np.ndarray, step_noise: StepNoise, sampler: str, steps: int, eta: float
) -> np.ndarray:
    diffusion = subject.config.diffusion
    model = copy.deepcopy(subject.bundle.model).to(to_torch(x_T).dtype)
    for step in reference.sample(
        model, to_torch(cond), to_torch(x_T), subject.alphas_cumprod, lambda i: to_torch(step_noise(i)),
        steps=steps, prediction=diffusion.prediction, sampler=sampler, eta=eta, clamp=diffusion.clamp,
    ):  # fmt: skip
        ending = step.x0_raw
    return to_nhwc(ending)


def _onnxruntime(
    subject: Subject, cond: np.ndarray, x_T: np.ndarray, step_noise: StepNoise, sampler: str, steps: int, eta: float
) -> np.ndarray:
    diffusion = subject.config.diffusion
    plan = edge.coefficients(subject.alphas_cumprod, steps, sampler, eta, prediction=diffusion.prediction)
    for step in edge.iterate(subject.artifact.denoise, cond, x_T, plan, diffusion.clamp, step_noise):
        ending = step.x0_raw
    return ending


def _diffusers(
    subject: Subject, cond: np.ndarray, x_T: np.ndarray, step_noise: StepNoise, sampler: str, steps: int, eta: float
) -> np.ndarray:
    """torch's network driven by diffusers' scheduler, a third implementation of the sampler."""
    clamped, free = (_scheduler(subject, sampler, clip, steps) for clip in (True, False))
    x, guide = to_torch(x_T), to_torch(cond)
    noises: list[torch.Tensor] = []
    with torch.no_grad(), patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: noises[-1]):
        for index, t in enumerate(clamped.timesteps.tolist()):
            output = subject.bundle.model(x, guide, torch.full((len(x),), t, dtype=torch.int64))
            if index == steps - 1:
                return to_nhwc(free.step(output, t, x).pred_original_sample)
            noises.append(to_torch(step_noise(index)))
            if isinstance(clamped, DDIMScheduler):
                # Only this option takes the eps that belongs to the clamped x0.
                noise = noises[-1] if eta > 0 else None
                done = clamped.step(output, t, x, eta=eta, use_clipped_model_output=True, variance_noise=noise)
            else:
                done = clamped.step(output, t, x)
            x = done.prev_sample
    raise AssertionError("no step was taken")


def _scheduler(subject: Subject, sampler: str, clip: bool, steps: int) -> DDIMScheduler | DDPMScheduler:
    """diffusers' scheduler on our ᾱ. Its own table is a float32 product, whose 1 - ᾱ has three digits at t = 0."""
    diffusion, alphas = subject.config.diffusion, subject.alphas_cumprod
    kind = DDIMScheduler if sampler == "ddim" else DDPMScheduler
    scheduler = kind(
        num_train_timesteps=len(alphas),
        trained_betas=(1.0 - alphas / np.append(1.0, alphas[:-1])).tolist(),
        clip_sample=clip and diffusion.clamp is not None,
        clip_sample_range=diffusion.clamp or 1.0,
        prediction_type=DIFFUSERS_PREDICTION[diffusion.prediction],
        timestep_spacing="trailing",
    )
    scheduler.alphas_cumprod = torch.from_numpy(alphas.copy())
    scheduler.set_timesteps(steps)
    return scheduler
