"""Level e: schedule, forward process, conversions and single sampler steps, each against the papers.

Every implementation is held against `tests.parity.paper`, and JAX against torch too;
diffusers is the third party. No line depends on a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import numpy as np
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from export.edge.choices import Prediction, Sampler, Spacing
from jax_impl.diffusion.gaussian import DiffusionConfig
from tests.parity import paper, sides
from tests.parity.ladder import Line, compare
from tests.parity.solvers import WALK, Walk
from tests.parity.subject import Subject

DTYPES = ("float32", "float64")
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)
SAMPLERS = {"DDPM": ("ddpm", 0.0), "DDIM (eta 0)": ("ddim", 0.0), "DDIM (eta 1)": ("ddim", 1.0)}
WALKS: dict[str, tuple[Sampler, Spacing, float]] = {
    "DPM-Solver++(2M)": ("dpmpp", "trailing", 0.0),
    "DPM-Solver++(2M) even in log SNR, thresholded at 0.9": ("dpmpp", "logsnr", 0.9),
    "Heun": ("heun", "trailing", 0.0),
}
STEPS = (1, 2, 10, 20, 50, 250, 1000)
Bound = tuple[float, str]
"""A tolerance and why it is that."""
ROUNDING: dict[str, Bound] = {
    "float32": (3e-6, "a few float32 roundings, 6e-8 each, in sums of up to about 8"),
    "float64": (1e-12, "float64 rounding: more would be a mistake"),
}
FLOAT32_SCHEDULE: Bound = (2e-5, "diffusers takes 1 - ᾱ in float32, which leaves three digits where it is 1e-4")
EPS_AT_THE_END: Bound = (
    5e-5,
    "at T - 1, x0 from eps multiplies float32 rounding by 1/√ᾱ = 64,000; the step weighs that by 1.5e-3",
)
SMALL_BETAS: Bound = (1e-11, "float64 rounding of β and 1 - ᾱ, which start at 1e-4 and are divided by each other")
VARIANCE_FLOOR: Bound = (2e-10, "diffusers keeps the variance above 1e-20, so its last step adds 1e-10 of noise")
FLOAT32_STATE: Bound = (2e-5, "diffusers moves on in float32, whatever it is given; x0 from eps divides that by √ᾱ")
EPS_IN_FLOAT64: Bound = (1e-10, "float64 rounding of an output, times 1/√ᾱ = 64,000 at T - 1")
FALL_FROM_64000: Bound = (1e-10, "float64 rounding of x/√ᾱ, diffusers' state, which is 64,000 at T - 1")
CANCELLATION: Bound = (
    1e-10,
    "float64; 1 - ᾱ_s - σ² cancels where a long step at full noise leaves x_t next to nothing",
)


def process(subject: Subject) -> Iterator[Line]:
    """All lines of the level, for the schedule that came with the weights."""
    yield from of_schedule(subject.config.diffusion, subject.schedule)


def of_schedule(config: DiffusionConfig, alphas_cumprod: np.ndarray) -> Iterator[Line]:
    """All lines of the level. `alphas_cumprod`: float64 (T,), said to be the one that `config` asks for."""
    yield from schedule(config, alphas_cumprod)
    for dtype in DTYPES:
        yield from conversions(alphas_cumprod, dtype)
    yield from timesteps(alphas_cumprod)
    yield from step_tables(alphas_cumprod)
    for dtype in DTYPES:
        yield from single_steps(alphas_cumprod, dtype)
    for dtype in DTYPES:
        yield from walks(alphas_cumprod, dtype)


def schedule(config: DiffusionConfig, alphas_cumprod: np.ndarray) -> Iterator[Line]:
    """The cosine schedule, the betas recovered from it, and what diffusers makes of those betas."""
    betas, expected = paper.cosine_schedule(config.timesteps, config.cosine_offset, config.beta_min, config.beta_max)
    for name, found in (("JAX", config.create().alphas_cumprod), ("bundle", alphas_cumprod)):
        yield compare(
            "e",
            f"log ᾱ of the cosine schedule, ({config.timesteps},)",
            np.log(found),
            np.log(expected),
            pair=f"{name} · paper",
            tolerance=1e-11,
            reason="float64 rounding, relative to each ᾱ; near T the cosine is near 0 and loses digits",
        )
    recovered = 1.0 - alphas_cumprod / np.append(1.0, alphas_cumprod[:-1])
    yield compare(
        "e",
        f"betas recovered from ᾱ, ({config.timesteps},)",
        recovered,
        betas,
        pair="bundle · paper",
        tolerance=1e-12,
        reason="float64 rounding of a quotient of neighbouring ᾱ",
    )
    yield compare(
        "e",
        f"ᾱ made from our betas, ({config.timesteps},)",
        DDPMScheduler(trained_betas=recovered).alphas_cumprod.numpy(),
        alphas_cumprod,
        pair="diffusers · bundle",
        tolerance=1e-5,
        reason="diffusers keeps betas and ᾱ in float32; below it is handed the float64 ᾱ instead",
    )


def conversions(alphas_cumprod: np.ndarray, dtype: str) -> Iterator[Line]:
    """q_sample and eps ↔ x0 ↔ v at every timestep, on values of unit size."""
    rng, shape = np.random.default_rng(0), (len(alphas_cumprod), 2, 2, 3)
    signal, noise = (level[:, None, None, None] for level in paper.levels(alphas_cumprod))
    x0, eps = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    x_t = signal * x0 + noise * eps
    target = {"eps": eps, "x0": x0, "v": signal * eps - noise * x0}
    rounding = {"diffusers": FLOAT32_SCHEDULE} if dtype == "float32" else {}

    found = {name: side.q_sample(alphas_cumprod, x0, eps) for name, side in sides.FORWARD.items()}
    found["diffusers"] = sides.diffusers_q_sample(alphas_cumprod, x0, eps)
    yield from _lines(f"q_sample, {shape}, each t", found, x_t, dtype, rounding)
    said = {
        name: {p: side.target(alphas_cumprod, p, x0, eps) for p in PREDICTIONS} for name, side in sides.FORWARD.items()
    }
    yield from _lines(f"target eps, x0 and v, {shape}, each t", said, target, dtype)
    velocity = {"diffusers": sides.diffusers_velocity(alphas_cumprod, x0, eps)}
    yield from _lines(f"target v, {shape}, each t", velocity, target["v"], dtype, rounding)

    # From here on x_t and the outputs are rounded inputs. What is divided by √ᾱ or √(1 - ᾱ) is multiplied by it
    # again, or the one timestep where that is smallest would set the error of all.
    x_t, output = x_t.astype(dtype), {p: array.astype(dtype) for p, array in target.items()}
    undo = {"eps": signal, "x0": 1.0, "v": 1.0}
    makers = {name: side.to_x0 for name, side in sides.FORWARD.items()} | {"edge": sides.edge_to_x0}
    clean = {
        name: {p: (undo[p] * to_x0(alphas_cumprod, p, output[p], x_t)).astype(dtype) for p in PREDICTIONS}
        for name, to_x0 in makers.items()
    }
    x0_hat = {"eps": x_t - noise * eps, "x0": x0, "v": signal * x_t - noise * output["v"]}
    yield from _lines(f"√ᾱ · x0 from eps, x0 from x0 and from v, {shape}, each t", clean, x0_hat, dtype)
    found = {"torch": (noise * sides.torch_to_eps(alphas_cumprod, x0, x_t)).astype(dtype)}
    yield from _lines(f"√(1-ᾱ) · eps from x0, {shape}, each t", found, x_t - signal * x0, dtype)


def timesteps(alphas_cumprod: np.ndarray) -> Iterator[Line]:
    """The grids of every spacing, for step counts that divide T.

    For others diffusers' own trailing grid may be one too long or round a half the other
    way, and its DDIM moves by T // steps whatever the grid says. diffusers has no grid even
    in log SNR, and makes one "linspace" step at t = 0.
    """
    counts = _counts(alphas_cumprod)
    more = tuple(steps for steps in counts if 1 < steps <= 50)
    for spacing in get_args(Spacing):
        kept = counts if spacing == "trailing" else more
        for name, grid in sides.TIMESTEPS.items():
            if (name, spacing) == ("diffusers", "logsnr"):
                continue
            yield compare(
                "e",
                f"{spacing} timesteps of {_listed(kept)} steps",
                {str(steps): grid(alphas_cumprod, steps, spacing) for steps in kept},
                {str(steps): paper.timesteps(alphas_cumprod, steps, spacing) for steps in kept},
                pair=f"{name} · paper",
                tolerance=0.5,
                reason="whole numbers: a wrong one is off by 1 at least",
            )


def step_tables(alphas_cumprod: np.ndarray) -> Iterator[Line]:
    """Every step of every grid as three numbers: the weights of x0 and of x_t, and the deviation of the noise.

    For DDPM on all T timesteps they are mean and deviation of the posterior (Ho et al.
    2020, equations 6 and 7); on fewer they are its re-spaced version.
    """
    total, counts = len(alphas_cumprod), _counts(alphas_cumprod)
    fewer = tuple(steps for steps in counts if steps != total)
    chosen = {f"posterior of the chain of {total}": ("DDPM", (total,), {})}
    chosen |= {
        f"{name} in {_listed(grids)} steps": (name, grids, bounds)
        for name, grids, bounds in (
            ("DDPM", fewer, {"JAX": CANCELLATION, "JAX · torch": CANCELLATION, "diffusers": VARIANCE_FLOOR}),
            ("DDIM (eta 0)", counts, {}),
            ("DDIM (eta 1)", counts, dict.fromkeys([*sides.TABLES, "JAX · torch"], CANCELLATION)),
        )
    }
    for what, (name, grids, bounds) in chosen.items():
        sampler = SAMPLERS[name]
        expected = {
            str(steps): paper.step_table(alphas_cumprod, paper.timesteps(alphas_cumprod, steps), *sampler)
            for steps in grids
        }
        tables = {
            side: {str(steps): table(alphas_cumprod, steps, *sampler) for steps in grids}
            for side, table in sides.TABLES.items()
        }
        bounds = dict.fromkeys([*sides.TABLES, "JAX · torch"], SMALL_BETAS) | bounds
        yield from _lines(f"{what}: weights of x0 and x_t, deviation", tables, expected, "float64", bounds)


def single_steps(alphas_cumprod: np.ndarray, dtype: str) -> Iterator[Line]:
    """One step of each sampler from given x_t, output and noise, at timesteps from T - 1 to 0; x0_hat is clamped."""
    total = len(alphas_cumprod)
    spread = sorted({total - 1, total - 2, total - 3, 3 * total // 4, total // 2, total // 4, total // 100, 1, 0})
    signal, noise = paper.levels(alphas_cumprod)
    for prediction in PREDICTIONS:
        expected: dict[str, np.ndarray] = {}
        found: dict[str, dict[str, np.ndarray]] = {name: {} for name in sides.STEP}
        for t in spread:
            rng = np.random.default_rng(t)
            # A fifth of x0 lies beyond ±1, so that the clamp has work and most pixels are free of it.
            x0, eps = 0.8 * rng.normal(size=(1, 4, 4, 3)), rng.normal(size=(1, 4, 4, 3))
            output = {"eps": eps, "x0": x0, "v": signal[t] * eps - noise[t] * x0}[prediction].astype(dtype)
            x_t = (signal[t] * x0 + noise[t] * eps).astype(dtype)
            x0_hat = {
                "eps": (x_t - noise[t] * output) / signal[t],
                "x0": output,
                "v": signal[t] * x_t - noise[t] * output,
            }[prediction]
            for name, (sampler, eta) in SAMPLERS.items():
                step = sides.Step(sampler, eta, prediction, t, x_t, output, seed=t)
                grid = np.array([t, t - 1] if t else [t])
                from_x0, from_x_t, deviation = paper.step_table(alphas_cumprod, grid, sampler, eta)[0]
                key = f"{name}, {t}"
                expected[key] = from_x0 * np.clip(x0_hat, -1.0, 1.0) + from_x_t * x_t + deviation * step.z
                for side, move in sides.STEP.items():
                    found[side][key] = move(alphas_cumprod, step)
        bound = {"float32": EPS_AT_THE_END if prediction == "eps" else ROUNDING[dtype], "float64": SMALL_BETAS}[dtype]
        what = f"one step from {prediction} (1, 4, 4, 3), {', '.join(SAMPLERS)}, {len(spread)} timesteps"
        yield from _lines(what, found, expected, dtype, dict.fromkeys([*found, "JAX · torch"], bound))


def walks(alphas_cumprod: np.ndarray, dtype: str) -> Iterator[Line]:
    """Every state of short walks, where a call's x0_hat counts in the next one too; a fifth of it is beyond ±1.

    In float32 without eps, whose x0_hat at T - 1 is 64,000 times what rounding left of it.
    """
    signal, noise = paper.levels(alphas_cumprod)
    for name, (sampler, spacing, threshold) in WALKS.items():
        steps = min(8, len(alphas_cumprod))
        grid = paper.timesteps(alphas_cumprod, steps, spacing)
        asked = paper.visited(grid, sampler)
        rng = np.random.default_rng(steps)
        # A picture whose estimates reach beyond the clamp, and one whose estimates do not.
        size = np.array([0.8, 0.2])[:, None, None, None]
        x0_hat, start = size * rng.normal(size=(len(asked), 2, 4, 4, 3)), rng.normal(size=(2, 4, 4, 3)).astype(dtype)
        estimates = np.array([paper.bounded(x0, sides.CLAMP, threshold) for x0 in x0_hat])
        states = paper.walk(alphas_cumprod, grid, sampler, start, estimates)
        before = np.concatenate([start[None].astype(np.float64), states[:-1]])
        a, b = (level[asked][:, None, None, None, None] for level in (signal, noise))
        said = {"eps": (before - a * x0_hat) / b, "x0": x0_hat, "v": (a * before - x0_hat) / b}
        for prediction in PREDICTIONS if dtype == "float64" else ("x0", "v"):
            walk = Walk(sampler, spacing, threshold, prediction, steps, start, said[prediction].astype(dtype))
            found = {side: by(alphas_cumprod, walk) for side, by in WALK.items()}
            bounds = {"diffusers": FLOAT32_STATE} if sampler == "dpmpp" and dtype == "float64" else {}
            if sampler == "heun" and dtype == "float64":
                bounds |= {"diffusers": FALL_FROM_64000}
            if prediction == "eps":
                bounds |= dict.fromkeys(["JAX", "torch", "edge", "JAX · torch"], EPS_IN_FLOAT64)
            yield from _lines(f"{name}, {steps} steps from {prediction} {start.shape}", found, states, dtype, bounds)


def _lines(
    what: str, found: Mapping[str, Any], expected: Any, dtype: str, bounds: Mapping[str, Bound] | None = None
) -> Iterator[Line]:
    """Each implementation against the paper, and JAX against torch. `bounds`: those that are not ROUNDING, by name."""
    pairs = {name: (values, expected, "paper") for name, values in found.items()}
    if "JAX" in found:
        pairs["JAX · torch"] = (found["JAX"], found["torch"], "")
    for name, (ours, reference, other) in pairs.items():
        tolerance, reason = (bounds or {}).get(name, ROUNDING[dtype])
        pair = f"{name} · {other}" if other else name
        yield compare("e", what, ours, reference, pair=pair, tolerance=tolerance, reason=reason)


def _counts(alphas_cumprod: np.ndarray) -> tuple[int, ...]:
    return tuple(steps for steps in STEPS if len(alphas_cumprod) % steps == 0)


def _listed(counts: tuple[int, ...]) -> str:
    return ", ".join(map(str, counts))
