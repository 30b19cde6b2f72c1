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
LONG, SHORT = 1e-3, 1e-4
"""Bounds of long walks, absolute, and of short ones, relative to the norm."""
DIFFUSERS_PREDICTION = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def samplers(subject: Subject) -> Iterator[Line]:
    """The clean estimate of the last step, before its clamp, by JAX, torch, onnxruntime and diffusers."""
    for sampler, steps, eta in (
        ("ddpm", 1000, 0.0),
        ("ddim", 1, 0.0),
        ("ddim", 2, 0.0),
        ("ddim", 10, 0.0),
        ("ddim", 10, 0.5),
        ("ddim", 50, 0.0),
        ("ddim", 250, 0.0),
    ):
        yield from (long_walk if steps > 50 else short_walk)(subject, sampler, steps, eta)


def long_walk(subject: Subject, sampler: str, steps: int, eta: float) -> Iterator[Line]:
    """Many small steps, which forget what rounding did to the first ones."""
    endings = _endings(subject, sampler, steps, eta, "float32")
    reason = f"float32 rounding of {steps} passes, each clamped"
    for other in ("JAX", "onnxruntime", "diffusers"):
        pair = f"{other} · torch"
        what = _what(sampler, steps, eta, endings["torch"])
        yield compare("f", what, endings[other], endings["torch"], pair=pair, tolerance=LONG, reason=reason)
    yield _share(sampler, steps, eta, endings["torch"], subject.config.diffusion.clamp)


def short_walk(subject: Subject, sampler: str, steps: int, eta: float) -> Iterator[Line]:
    """Few large steps, judged in float64, and in float32 by what rounding alone does to torch.

    The first step of an eps network divides the rounding of its output by √ᾱ = 1.6e-5:
    the few pixels that then land inside the clamp carry it on, and few steps cannot mend it.
    """
    single, double = (_endings(subject, sampler, steps, eta, dtype) for dtype in ("float32", "float64"))
    what = _what(sampler, steps, eta, single["torch"])

    def line(ours: np.ndarray, reference: np.ndarray, pair: str, tolerance: float, reason: str) -> Line:
        return compare("f", what, ours, reference, pair=pair, measure="relative", tolerance=tolerance, reason=reason)

    yield line(double["JAX"], double["torch"], "JAX · torch", 1e-9, "float64 rounding, divided by √ᾱ in the first step")
    control = line(
        single["torch"], double["torch"], "torch · torch in float64", 0.1, "the yardstick: what rounding does by itself"
    )
    yield control
    for other in ("JAX", "onnxruntime", "diffusers"):
        reason = f"3 times the yardstick, or {SHORT:.0e}"
        tolerance = max(SHORT, 3 * control.relative)
        yield line(single[other], single["torch"], f"{other} · torch", tolerance, reason)
    if steps > 2:
        yield _share(sampler, steps, eta, single["torch"], subject.config.diffusion.clamp)


def _endings(subject: Subject, sampler: str, steps: int, eta: float, dtype: str) -> dict[str, np.ndarray]:
    """The last clean estimate before its clamp, by implementation; in float64 without the file, which is float32."""
    cond = subject.cond[:1].astype(dtype)
    # The same numbers in either dtype, but for their rounding.
    x_T = np.random.default_rng(5).normal(size=cond.shape).astype("float32").astype(dtype)

    def step_noise(index: int) -> np.ndarray:
        return np.random.default_rng((6, index)).normal(size=x_T.shape).astype("float32").astype(dtype)

    by = {"torch": _torch, "JAX": _jax}
    if dtype == "float32":
        by |= {"onnxruntime": _onnxruntime, "diffusers": _diffusers}
    return {name: walk(subject, cond, x_T, step_noise, sampler, steps, eta) for name, walk in by.items()}


def _what(sampler: str, steps: int, eta: float, ending: np.ndarray) -> str:
    name = f"{sampler.upper()} (eta {eta})" if eta else sampler.upper()
    size = f"{ending.shape[1]} × {ending.shape[2]}"
    return f"{name}, {steps} step{'s'[: steps - 1]}, {size}, before the last clamp"


def _share(sampler: str, steps: int, eta: float, ending: np.ndarray, clamp: float | None) -> Line:
    """Not how far two implementations are apart, but that the comparison says something."""
    beyond = float(np.mean(np.abs(ending) > clamp)) if clamp is not None else 0.0
    return Line(
        "f",
        f"{_what(sampler, steps, eta, ending)}: share of pixels beyond it",
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
