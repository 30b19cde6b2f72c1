"""Level f: whole sampling trajectories, from the same start noise and the same noise in every step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from export.edge.choices import Spacing
from export.edge.sampling import loop
from export.edge.sampling.spacing import timesteps
from jax_impl.diffusion.process import Bound
from jax_impl.diffusion.samplers import sample
from tests.parity.ladder import Line, compare
from tests.parity.sides import CLAMP
from tests.parity.solvers import diffusers_dpmpp, diffusers_heun
from tests.parity.subject import Subject, to_nhwc, to_torch
from torch_ref import diffusion as reference

AT_THE_CLAMP = 0.25
"""Largest share of pixels beyond the clamp: where all of them are, any two implementations agree."""
LONG, SHORT = 1e-3, 1e-4
"""Bounds of long walks, absolute, and of short ones, relative to the norm."""
DIFFUSERS_PREDICTION = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


@dataclass(frozen=True)
class Walk:
    """How to walk from noise to a picture."""

    sampler: str
    steps: int
    eta: float = 0.0
    spacing: Spacing = "trailing"
    threshold: float = 0.0

    def __str__(self) -> str:
        name = {"dpmpp": "DPM-Solver++(2M)", "heun": "Heun", "one-pass": "one pass"}.get(
            self.sampler, self.sampler.upper()
        )
        name += f" (eta {self.eta})" if self.eta else ""
        more = "" if self.spacing == "trailing" else f" by {self.spacing}"
        more += f" thresholded at {self.threshold}" if self.threshold else ""
        return f"{name}, {self.steps} step{'s'[: self.steps - 1]}{more}"


WALKS = (
    Walk("ddpm", 1000),
    Walk("ddim", 1),
    Walk("ddim", 2),
    Walk("ddim", 10),
    Walk("ddim", 10, 0.5),
    Walk("ddim", 50),
    Walk("ddim", 250),
    Walk("heun", 10),
    Walk("dpmpp", 20),
    Walk("dpmpp", 20, spacing="logsnr", threshold=0.9),
)
"""What the table shows."""
FEW = (Walk("ddpm", 250), Walk("ddim", 2), Walk("ddim", 10, 0.5), Walk("heun", 4), WALKS[-1])
"""Each sampler and each option at least once."""


def samplers(subject: Subject, walks: Sequence[Walk] | None = None) -> Iterator[Line]:
    """The clean estimate of the last call, before it is bounded, by JAX, torch, onnxruntime and diffusers.

    By default of WALKS, or of a process without a schedule of all its tables; diffusers does not know those.
    """
    if walks is None:
        tables = subject.bundle.tables
        walks = WALKS if tables is None else [Walk(name, steps) for name, plans in tables.items() for steps in plans]
    for walk in walks:
        yield from (long_walk if walk.steps > 50 else short_walk)(subject, walk)


def long_walk(subject: Subject, walk: Walk) -> Iterator[Line]:
    """Many small steps, which forget what rounding did to the first ones."""
    endings = _endings(subject, walk, "float32")
    reason = f"float32 rounding of {walk.steps} passes, each clamped"
    for other in ("JAX", "onnxruntime", "diffusers"):
        pair = f"{other} · torch"
        what = _what(walk, endings["torch"])
        yield compare("f", what, endings[other], endings["torch"], pair=pair, tolerance=LONG, reason=reason)
    yield _share(walk, endings["torch"], subject.config.diffusion.clamp)


def short_walk(subject: Subject, walk: Walk) -> Iterator[Line]:
    """Few large steps, judged in float64, and in float32 by what rounding alone does to torch.

    The first step of an eps network divides the rounding of its output by √ᾱ = 1.6e-5:
    the few pixels that then land inside the clamp carry it on, and few steps cannot mend it.
    """
    single, double = (_endings(subject, walk, dtype) for dtype in ("float32", "float64"))
    what = _what(walk, single["torch"])

    def line(ours: np.ndarray, reference: np.ndarray, pair: str, tolerance: float, reason: str) -> Line:
        return compare("f", what, ours, reference, pair=pair, measure="relative", tolerance=tolerance, reason=reason)

    yield line(double["JAX"], double["torch"], "JAX · torch", 1e-9, "float64 rounding, divided by √ᾱ in the first step")
    control = line(
        single["torch"], double["torch"], "torch · torch in float64", 0.1, "the yardstick: what rounding does by itself"
    )
    yield control
    for other in [name for name in single if name != "torch"]:
        reason = f"3 times the yardstick, or {SHORT:.0e}"
        tolerance = max(SHORT, 3 * control.relative)
        yield line(single[other], single["torch"], f"{other} · torch", tolerance, reason)
    if walk.steps > 2:
        yield _share(walk, single["torch"], subject.config.diffusion.clamp)


def _endings(subject: Subject, walk: Walk, dtype: str) -> dict[str, np.ndarray]:
    """The last clean estimate before its clamp, by implementation; in float64 without the file, which is float32."""
    cond = subject.cond[:1].astype(dtype)
    # The same numbers in either dtype, but for their rounding.
    x_T = np.random.default_rng(5).normal(size=cond.shape).astype("float32").astype(dtype)
    if subject.bundle.tables is not None:
        plan = subject.bundle.tables[walk.sampler][walk.steps]
        x_T = (plan.start_from_source * cond + plan.start_from_noise * x_T).astype(dtype)

    def step_noise(index: int) -> np.ndarray:
        return np.random.default_rng((6, index)).normal(size=x_T.shape).astype("float32").astype(dtype)

    by = {"torch": _torch, "JAX": _jax}
    if dtype == "float32":
        by |= {"onnxruntime": _onnxruntime}
        # Of these two diffusers has none without a clamp, and DPM-Solver++ with 1 only.
        second_order = walk.sampler in ("dpmpp", "heun")
        if subject.bundle.tables is None and (not second_order or subject.config.diffusion.clamp == CLAMP):
            by |= {"diffusers": _diffusers}
    return {name: ending(subject, cond, x_T, step_noise, walk) for name, ending in by.items()}


def _what(walk: Walk, ending: np.ndarray) -> str:
    return f"{walk}, {ending.shape[1]} × {ending.shape[2]}, before the last clamp"


def _share(walk: Walk, ending: np.ndarray, clamp: float | None) -> Line:
    """Not how far two implementations are apart, but that the comparison says something."""
    beyond = float(np.mean(np.abs(ending) > clamp)) if clamp is not None else 0.0
    return Line(
        "f",
        f"{_what(walk, ending)}: share of pixels beyond it",
        "torch",
        str(ending.dtype),
        beyond,
        beyond,
        "absolute",
        AT_THE_CLAMP,
        "with all pixels at the clamp any two implementations would agree",
    )


StepNoise = Callable[[int], np.ndarray]


def _jax(subject: Subject, cond: np.ndarray, x_T: np.ndarray, step_noise: StepNoise, walk: Walk) -> np.ndarray:
    diffusion = subject.config.diffusion
    plan = subject.problem.process.plan(walk.steps, walk.sampler, walk.eta, spacing=walk.spacing)
    z = np.stack([step_noise(i) for i in range(len(plan))]) if plan.noise.any() else None
    with jax.enable_x64(x_T.dtype == np.float64):
        params, stats = (
            jax.tree.map(lambda a: jnp.asarray(a, x_T.dtype), tree) for tree in (subject.params, subject.stats)
        )

        def draw(params, stats, cond, x_T, z):
            def denoise(x_t, cond, t):
                return subject.problem.network.apply(params, stats, x_t, cond, t)[0]

            bound = Bound(diffusion.clamp, walk.threshold)
            return sample(denoise, cond, x_T, plan, lambda call: z[call], bound).x0_raw

        arguments = [None if a is None else jnp.asarray(a) for a in (cond, x_T, z)]
        return np.asarray(jax.jit(draw)(params, stats, *arguments))


def _torch(subject: Subject, cond: np.ndarray, x_T: np.ndarray, step_noise: StepNoise, walk: Walk) -> np.ndarray:
    diffusion = subject.config.diffusion
    model = copy.deepcopy(subject.bundle.model).to(to_torch(x_T).dtype)
    guide, start = to_torch(cond), to_torch(x_T)

    def noise(index: int) -> torch.Tensor:
        return to_torch(step_noise(index))

    if subject.bundle.tables is not None:
        plan = subject.bundle.tables[walk.sampler][walk.steps]
        steps = reference.sample_by_table(model, guide, start, plan, noise, diffusion.clamp)
    else:
        how = reference.SamplerSettings(
            walk.steps, diffusion.prediction, walk.sampler, walk.eta, diffusion.clamp, walk.threshold, walk.spacing
        )
        steps = reference.sample(model, guide, start, subject.schedule, noise, how)
    *_, last = steps
    return to_nhwc(last.x0_raw)


def _onnxruntime(subject: Subject, cond: np.ndarray, x_T: np.ndarray, step_noise: StepNoise, walk: Walk) -> np.ndarray:
    plan = subject.artifact.plan(walk.steps, walk.sampler, walk.eta, spacing=walk.spacing)
    clamp = subject.config.diffusion.clamp
    for step in loop.iterate(subject.artifact.denoise, cond, x_T, plan, clamp, step_noise, walk.threshold):
        ending = step.x0_raw
    return ending


def _diffusers(subject: Subject, cond: np.ndarray, x_T: np.ndarray, step_noise: StepNoise, walk: Walk) -> np.ndarray:
    """torch's network driven by diffusers' scheduler, a third implementation of the sampler."""
    if walk.sampler in ("dpmpp", "heun"):
        return _diffusers_of_second_order(subject, cond, x_T, walk)
    clamped, free = (_scheduler(subject, walk.sampler, clip, walk.steps) for clip in (True, False))
    x, guide = to_torch(x_T), to_torch(cond)
    noises: list[torch.Tensor] = []
    with torch.no_grad(), patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: noises[-1]):
        for index, t in enumerate(clamped.timesteps.tolist()):
            output = subject.bundle.model(x, guide, torch.full((len(x),), t, dtype=torch.int64))
            if index == walk.steps - 1:
                return to_nhwc(free.step(output, t, x).pred_original_sample)
            noises.append(to_torch(step_noise(index)))
            if isinstance(clamped, DDIMScheduler):
                # Only this option takes the eps that belongs to the clamped x0.
                noise = noises[-1] if walk.eta > 0 else None
                done = clamped.step(output, t, x, eta=walk.eta, use_clipped_model_output=True, variance_noise=noise)
            else:
                done = clamped.step(output, t, x)
            x = done.prev_sample
    raise AssertionError("no step was taken")


def _diffusers_of_second_order(subject: Subject, cond: np.ndarray, x_T: np.ndarray, walk: Walk) -> np.ndarray:
    diffusion, guide = subject.config.diffusion, to_torch(cond)
    calls: list[tuple[torch.Tensor, int, torch.Tensor]] = []

    def network(x: torch.Tensor, t: int) -> torch.Tensor:
        with torch.no_grad():
            calls.append((subject.bundle.model(x, guide, torch.full((len(x),), t, dtype=torch.int64)), t, x))
        return calls[-1][0]

    drive = diffusers_dpmpp if walk.sampler == "dpmpp" else diffusers_heun
    grid = timesteps(subject.schedule, walk.steps, walk.spacing)
    for _ in drive(
        network, to_torch(x_T), subject.schedule, grid,
        prediction=diffusion.prediction, clamp=diffusion.clamp, threshold=walk.threshold,
    ):  # fmt: skip
        pass
    return to_nhwc(_scheduler(subject, "ddim", False, walk.steps).step(*calls[-1]).pred_original_sample)


def _scheduler(subject: Subject, sampler: str, clip: bool, steps: int) -> DDIMScheduler | DDPMScheduler:
    """diffusers' scheduler on our ᾱ. Its own table is a float32 product, whose 1 - ᾱ has three digits at t = 0."""
    diffusion, alphas = subject.config.diffusion, subject.schedule
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
