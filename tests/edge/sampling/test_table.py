"""The sampler against diffusers, against exact gaussian targets and against the papers' formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from export.edge.choices import PREDICTIONS, SAMPLERS
from export.edge.errors import UserError
from export.edge.sampling.loop import bounded, iterate
from export.edge.sampling.table import Plan, coefficients
from tests.schedule import cosine_schedule

SCHEDULE = cosine_schedule()
SHAPE = (2, 5, 7, 3)


def arrays(count: int, shape: tuple[int, ...] = SHAPE) -> list[np.ndarray]:
    random = np.random.default_rng(11)
    return [random.standard_normal(shape) for _ in range(count)]


def crooked(prediction: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """A smooth denoiser, wrong enough for the clamp to bite; the kinds agree on one x0_hat."""

    def denoise(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        a = SCHEDULE[t][:, None, None, None]
        x0 = 1.3 * np.tanh(0.8 * x_t + 0.5 * cond) + 0.1 * np.sin(t / 50.0)[:, None, None, None]
        if prediction == "x0":
            return x0
        eps = (x_t - np.sqrt(a) * x0) / np.sqrt(1 - a)
        return eps if prediction == "eps" else np.sqrt(a) * eps - np.sqrt(1 - a) * x0

    return denoise


def last(plan: Plan, prediction: str, cond: np.ndarray, x: np.ndarray, clamp: float | None = 1.0) -> np.ndarray:
    noises = arrays(len(plan) + 2)
    states = [x]
    states += [step.x for step in iterate(crooked(prediction), cond, x, plan, clamp, lambda i: noises[i + 2])]
    return np.stack(states)


def diffusers_states(
    scheduler: DDIMScheduler | DDPMScheduler,
    prediction: str,
    cond: np.ndarray,
    x: np.ndarray,
    steps: int,
    **more: float,
) -> np.ndarray:
    noises = arrays(steps + 2)
    scheduler.set_timesteps(steps)
    states = [x]
    for i, t in enumerate(scheduler.timesteps):
        out = crooked(prediction)(x, cond, np.full(SHAPE[0], int(t)))
        arguments: list[Any] = [torch.from_numpy(out), t, torch.from_numpy(x)]
        stepped: Any
        if isinstance(scheduler, DDIMScheduler):
            stepped = scheduler.step(
                *arguments, use_clipped_model_output=True, variance_noise=torch.from_numpy(noises[i + 2]), **more
            )
        else:
            with pytest.MonkeyPatch.context() as patch:
                drawn = torch.from_numpy(noises[i + 2])
                patch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, z=drawn, **__: z)
                stepped = scheduler.step(*arguments)
        x = stepped[0].numpy()
        states.append(x)
    return np.stack(states)


def scheduler_settings(prediction: str) -> dict[str, Any]:
    before = np.append(1.0, SCHEDULE[:-1])
    kind = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}[prediction]
    return {
        "trained_betas": (1.0 - SCHEDULE / before).tolist(),
        "prediction_type": kind,
        "timestep_spacing": "trailing",
        "clip_sample": True,
        "clip_sample_range": 1.0,
    }


def double(scheduler: Any) -> None:
    """diffusers keeps its tables in float32, too coarse where alphas_cumprod is 2.4e-10."""
    scheduler.alphas_cumprod = torch.from_numpy(SCHEDULE)
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("steps", "eta"), [(1, 0.0), (20, 0.0), (20, 0.4), (50, 1.0)])
def test_ddim_walks_with_diffusers(prediction: str, steps: int, eta: float) -> None:
    cond, x = arrays(2)
    scheduler = DDIMScheduler(1000, set_alpha_to_one=True, **scheduler_settings(prediction))
    double(scheduler)
    # diffusers steps from t to t - T // steps, which is the next timestep only where steps divides T, as here.
    expected = diffusers_states(scheduler, prediction, cond, x, steps, eta=eta)
    found = last(coefficients(SCHEDULE, steps, "ddim", eta, prediction=prediction), prediction, cond, x)
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 20, 50])
def test_respaced_ddpm_walks_with_diffusers(prediction: str, steps: int) -> None:
    cond, x = arrays(2)
    scheduler = DDPMScheduler(1000, variance_type="fixed_small", **scheduler_settings(prediction))
    double(scheduler)
    expected = diffusers_states(scheduler, prediction, cond, x, steps)
    found = last(coefficients(SCHEDULE, steps, "ddpm", prediction=prediction), prediction, cond, x)
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("clamp", [1.0, 0.5])
def test_consistent_predictions_take_one_path(sampler: str, clamp: float) -> None:
    cond, x = arrays(2)
    paths = [last(coefficients(SCHEDULE, 20, sampler, prediction=p), p, cond, x, clamp) for p in PREDICTIONS]
    # eps leaves x0_hat the difference of two numbers near 64,000 at the first step, hence not 1e-12.
    np.testing.assert_allclose(paths[0], paths[1], atol=1e-9, rtol=0)
    np.testing.assert_allclose(paths[2], paths[1], atol=1e-12, rtol=0)
    assert np.abs(paths[1][-1]).max() == clamp


def test_the_full_ddpm_chain_is_ancestral_sampling() -> None:
    """Ho et al. 2020, algorithm 2, in the form of equation 11: mean from eps, variance beta-tilde."""
    cond, x = arrays(2, (1, 2, 3, 3))
    beta = 1 - SCHEDULE / np.append(1.0, SCHEDULE[:-1])
    noises = arrays(1002, (1, 2, 3, 3))[2:]
    plan = coefficients(SCHEDULE, 1000, "ddpm", prediction="v")
    # A target at 0 +- 0.5: its best v is linear in x and the same with and without the clamp at infinity.
    a = SCHEDULE
    gain = np.sqrt(a * (1 - a)) * (1 - 0.25) / (a * 0.25 + 1 - a)
    steps = list(iterate(lambda x_t, c, t: gain[t[0]] * x_t, cond, x, plan, None, lambda i: noises[i]))
    assert [step.t for step in steps] == list(range(999, -1, -1))
    for step in steps:
        t = step.t
        v = gain[t] * x
        eps = np.sqrt(1 - a[t]) * x + np.sqrt(a[t]) * v
        x = (x - beta[t] / np.sqrt(1 - a[t]) * eps) / np.sqrt(1 - beta[t])
        if t > 0:
            x = x + np.sqrt(beta[t] * (1 - a[t - 1]) / (1 - a[t])) * noises[step.index]
        np.testing.assert_allclose(step.x, x, atol=1e-9)
        x = step.x


MEAN, SPREAD = 0.3, 0.3


def perfect(prediction: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """The exact conditional mean of eps, x0 or v given x_t, for a target N(0.3, 0.3^2)."""

    def denoise(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        a = SCHEDULE[t[0]]
        pull = (x_t - np.sqrt(a) * MEAN) / (a * SPREAD**2 + 1 - a)
        x0, eps = MEAN + np.sqrt(a) * SPREAD**2 * pull, np.sqrt(1 - a) * pull
        return {"x0": x0, "eps": eps, "v": np.sqrt(a) * eps - np.sqrt(1 - a) * x0}[prediction]

    return denoise


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("sampler", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0)])
@pytest.mark.parametrize(("steps", "bound"), [(20, 0.06), (100, 0.02)])
def test_an_exact_denoiser_returns_the_exact_target(
    prediction: str, sampler: str, eta: float, steps: int, bound: float
) -> None:
    """Up to an error that falls as 1 / steps; single-step coefficients on the strided grid would leave 0.8."""
    random = np.random.default_rng(1)
    shape = (1, 100, 100, 3)
    plan = coefficients(SCHEDULE, steps, sampler, eta, prediction=prediction)
    x = random.standard_normal(shape)
    for step in iterate(perfect(prediction), x, x, plan, None, lambda _: random.standard_normal(shape)):
        x = step.x
    assert x.mean() == pytest.approx(MEAN, abs=0.01)
    assert x.std() == pytest.approx(SPREAD, abs=bound)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_last_step_lands_on_the_clamped_x0(sampler: str, prediction: str) -> None:
    cond, x = (array.astype(np.float32) for array in arrays(2))
    plan = coefficients(SCHEDULE, 7, sampler, prediction=prediction)
    asked: list[int] = []

    def step_noise(index: int) -> np.ndarray:
        asked.append(index)
        return np.ones(SHAPE, np.float32)

    def denoise(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        assert t.dtype == np.int64 and t.shape == (2,) and x_t.dtype == np.float32
        return crooked(prediction)(x_t, cond, t).astype(np.float32)

    steps = list(iterate(denoise, cond, x, plan, 0.9, step_noise))
    assert asked == (list(range(6)) if sampler == "ddpm" else [])
    assert [step.index for step in steps] == list(range(len(plan))) and [step.t for step in steps] == plan.t.tolist()
    for step in steps:
        assert {step.x.dtype, step.x0.dtype, step.x0_raw.dtype} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(step.x0, np.clip(step.x0_raw, np.float32(-0.9), np.float32(0.9)))
    np.testing.assert_allclose(steps[-1].x, steps[-1].x0, atol=1e-7)


def test_ddim_with_all_its_noise_is_respaced_ddpm() -> None:
    """Song et al. 2021, section 4.1."""
    ddim, ddpm = (coefficients(SCHEDULE, 30, *kind, prediction="v") for kind in (("ddim", 1.0), ("ddpm", 0.0)))
    for name in ("next_from_x0", "next_from_x", "noise"):
        np.testing.assert_allclose(getattr(ddim, name), getattr(ddpm, name), atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_a_step_is_one_call_and_two_with_heun_but_first_and_last(steps: int) -> None:
    for sampler in SAMPLERS:
        calls = len(coefficients(SCHEDULE, steps, sampler, prediction="v"))
        assert calls == (max(2 * steps - 2, 1) if sampler == "heun" else steps)


@pytest.mark.parametrize("sampler", ["dpmpp", "heun"])
@pytest.mark.parametrize("steps", [1, 2])
def test_with_nothing_between_first_and_last_step_all_is_ddim(sampler: str, steps: int) -> None:
    plan, ddim = (coefficients(SCHEDULE, steps, name, prediction="eps") for name in (sampler, "ddim"))
    for name, column in vars(ddim).items():
        np.testing.assert_array_equal(getattr(plan, name), column)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace", "logsnr"])
def test_a_network_that_knows_the_picture_is_followed_to_it(sampler: str, spacing: str) -> None:
    """Whatever the start, the grid and the order: where x0_hat never changes, the path is exact at every step."""
    cond, x = arrays(2)
    x0, eps = np.tanh(cond), x
    plan = coefficients(SCHEDULE, 9, sampler, prediction="x0", spacing=spacing)
    first = SCHEDULE[plan.t[0]]
    walk = list(iterate(lambda *_: x0, cond, np.sqrt(first) * x0 + np.sqrt(1 - first) * eps, plan, None, lambda _: x))
    np.testing.assert_allclose(walk[-1].x, x0, atol=1e-12)
    if sampler != "ddpm":
        for step, after in pairwise(walk):
            a = SCHEDULE[after.t]
            np.testing.assert_allclose(step.x, np.sqrt(a) * x0 + np.sqrt(1 - a) * eps, atol=1e-12)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.995, 1.0])
def test_dynamic_thresholding_is_that_of_diffusers(share: float) -> None:
    x0 = np.random.default_rng(2).normal(0, [[[[0.3]]], [[[1.0]]], [[[4.0]]]], (3, 9, 8, 3))
    scheduler = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=share, sample_max_value=1e6)
    expected = scheduler._threshold_sample(torch.from_numpy(x0)).numpy()
    np.testing.assert_allclose(bounded(x0, 1.0, share), expected, atol=1e-14)
    np.testing.assert_allclose(bounded(2.0 * x0, 2.0, share), 2.0 * expected, atol=1e-14)
    single = bounded(x0.astype(np.float32), 1.0, share)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-5)
    assert np.abs(single).max() <= 1.0


def test_a_threshold_of_zero_cuts_off_and_no_clamp_leaves_alone() -> None:
    (x0,) = arrays(1)
    np.testing.assert_array_equal(bounded(x0, 0.5), np.clip(x0, -0.5, 0.5))
    np.testing.assert_array_equal(bounded(x0, None, 0.9), x0)


def test_realism_is_between_the_timesteps_of_the_mean_and_of_the_sharpest_picture() -> None:
    plan = replace(coefficients(cosine_schedule(100), 2, prediction="x0"), mean_t=np.array([20, 99]))
    assert plan.t.tolist() == [99, 49]
    found = [plan.at(realism).t.tolist() for realism in (None, 0.0, 0.5, 0.994, 1.0)]
    assert found == [[99, 49], [20, 99], [60, 74], [99, 49], [99, 49]]  # 59.5 and 74 are rounded half up.
    again = Plan.from_columns(plan.to_columns())
    assert again.mean_t is not None and again.mean_t.tolist() == [20, 99]
    with pytest.raises(UserError, match=r"realism 1.01 is outside 0 \.\.\. 1"):
        plan.at(1.01)
    with pytest.raises(UserError, match="realism 1 needs a model that was trained with"):
        replace(plan, mean_t=None).at(1.0)


@pytest.mark.parametrize("mean_t", [[1], [1.5, 2], [-1, 2], "ab", [[1, 2]], None])
def test_a_senseless_mean_t_is_refused(mean_t: object) -> None:
    columns = coefficients(cosine_schedule(100), 2, prediction="x0").to_columns()
    with pytest.raises(UserError, match="its mean_t are"):
        Plan.from_columns(columns | {"mean_t": mean_t})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": "euler"}, "sampler 'euler' is unknown; choose one of ddim, ddpm, dpmpp, heun"),
        ({"spacing": "karras"}, "spacing 'karras' is unknown; choose one of trailing, leading, linspace, logsnr"),
        ({"sampler": "dpmpp", "eta": 0.5}, "belongs to ddim"),
        ({"sampler": "heun", "eta": 1.0}, "belongs to ddim"),
        ({"prediction": "noise"}, "prediction 'noise' is unknown"),
        ({"eta": -0.1}, "eta -0.1 is outside"),
        ({"eta": 1.5}, "eta 1.5 is outside"),
        ({"eta": float("nan")}, "eta nan is outside"),
        ({"sampler": "ddpm", "eta": 0.5}, "belongs to ddim"),
        ({"steps": 0}, "steps 0 is outside"),
        ({"alphas_cumprod": SCHEDULE[::-1]}, "alphas_cumprod"),
        ({"alphas_cumprod": np.array([])}, "alphas_cumprod"),
        ({"alphas_cumprod": np.array([1.0, 0.5])}, "alphas_cumprod"),
        ({"alphas_cumprod": np.array([0.9, np.nan])}, "alphas_cumprod"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"alphas_cumprod": SCHEDULE, "steps": 10, "sampler": "ddim", "prediction": "eps"} | change
    with pytest.raises(UserError, match=message):
        coefficients(**arguments)  # pyright: ignore[reportArgumentType]
