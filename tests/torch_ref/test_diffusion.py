"""Formulas against each other and against moments, samplers against diffusers and the papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler
from torch import Tensor

from export.edge.errors import UserError
from torch_ref.diffusion import Prediction, SamplerSettings, bounded, q_sample, sample, target, to_eps, to_x0

PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)
TOTAL = 100
T = torch.tensor([0, 1, 50, 98, 99])
DIFFUSERS_NAMES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def pictures(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(5, 3, 4, 4, generator=generator, dtype=torch.float64) * 2 - 1
    return x0, torch.randn(x0.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_network_gives_back_the_clean_picture_and_the_noise(
    prediction: Prediction, schedule: np.ndarray
) -> None:
    x0, eps = pictures(0)
    x_t = q_sample(x0, eps, schedule, T)
    output = target(prediction, x0, eps, schedule, T)
    found = to_x0(prediction, output, x_t, schedule, T)
    # From eps, x0 is what is left after a division by sqrt(alphas_cumprod), 1e-5 at the last step.
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-9)
    torch.testing.assert_close(to_eps(x0, x_t, schedule, T), eps, rtol=0, atol=1e-9)


def test_q_sample_keeps_unit_variance(schedule: np.ndarray) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 1, 3, 200, 200, generator=generator)
    for t in (0, 30, 99):
        x_t = q_sample(x0, eps, schedule, torch.tensor([t]))
        assert x_t.dtype == torch.float32
        assert abs(float(x_t.var()) - 1) < 0.02
        assert abs(float((x_t * x0).mean()) - np.sqrt(schedule[t])) < 0.01


def test_v_is_the_turn_of_the_pair(schedule: np.ndarray) -> None:
    """(x_t, v) is (x0, eps) turned by an angle: lengths stay."""
    x0, eps = pictures(1)
    x_t, v = q_sample(x0, eps, schedule, T), target("v", x0, eps, schedule, T)
    torch.testing.assert_close(x_t**2 + v**2, x0**2 + eps**2)


def crude(x_t: Tensor, cond: Tensor, t: Tensor) -> Tensor:
    """An imperfect network, so that the clamp has work."""
    return torch.tanh(x_t * 0.9 + cond * 0.5 - 0.01 * t[:, None, None, None])


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 10, 50, 100])
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_ddim_is_that_of_diffusers(prediction: Prediction, steps: int, eta: float, schedule: np.ndarray) -> None:
    cond, x = pictures(2)
    noise = torch.randn(steps, *x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    theirs = DDIMScheduler(
        num_train_timesteps=TOTAL,
        trained_betas=betas(schedule),
        timestep_spacing="trailing",
        clip_sample=True,
        set_alpha_to_one=True,
        prediction_type=DIFFUSERS_NAMES[prediction],
    )
    theirs.alphas_cumprod = torch.from_numpy(schedule)  # theirs are float32
    theirs.set_timesteps(steps)
    wanted = x
    for index, t in enumerate(theirs.timesteps):
        out = crude(wanted, cond, t.expand(len(x)))
        step = theirs.step(out, t, wanted, eta=eta, use_clipped_model_output=True, variance_noise=noise[index])
        wanted = step.prev_sample
    walk = list(
        sample(
            crude,
            cond,
            x,
            schedule,
            noise.__getitem__,
            SamplerSettings(steps=steps, prediction=prediction, eta=eta, clamp=1.0),
        )
    )
    assert [step.t for step in walk] == theirs.timesteps.tolist()
    torch.testing.assert_close(walk[-1].x, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 4, 20, 100])
def test_ddpm_is_that_of_diffusers(prediction: Prediction, steps: int, schedule: np.ndarray) -> None:
    cond, x = pictures(4)
    theirs = DDPMScheduler(
        num_train_timesteps=TOTAL,
        trained_betas=betas(schedule),
        timestep_spacing="trailing",
        clip_sample=True,
        variance_type="fixed_small",
        prediction_type=DIFFUSERS_NAMES[prediction],
    )
    theirs.alphas_cumprod = torch.from_numpy(schedule)
    theirs.set_timesteps(steps)
    generator, wanted = torch.Generator().manual_seed(5), x
    for t in theirs.timesteps:
        wanted = theirs.step(crude(wanted, cond, t.expand(len(x))), t, wanted, generator=generator).prev_sample
    ours = torch.Generator().manual_seed(5)
    draw: Callable[[int], Tensor] = lambda _: torch.randn(x.shape, generator=ours, dtype=x.dtype)  # noqa: E731
    walk = list(
        sample(crude, cond, x, schedule, draw, SamplerSettings(steps=steps, prediction=prediction, sampler="ddpm"))
    )
    torch.testing.assert_close(walk[-1].x, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_dpmpp_is_that_of_diffusers(prediction: Prediction, steps: int, schedule: np.ndarray) -> None:
    cond, x = pictures(11)
    theirs = DPMSolverMultistepScheduler(
        num_train_timesteps=TOTAL,
        trained_betas=betas(schedule),
        timestep_spacing="trailing",
        prediction_type=DIFFUSERS_NAMES[prediction],
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=True,
        final_sigmas_type="zero",
        thresholding=True,
        sample_max_value=1.0,  # which makes it a clamp
    )
    theirs.set_timesteps(steps)
    theirs.sigmas = sigmas(schedule, theirs.timesteps)
    wanted = x
    for t in theirs.timesteps:
        wanted = theirs.step(crude(wanted, cond, t.expand(len(x))), t, wanted).prev_sample
    walk = list(
        sample(crude, cond, x, schedule, no_noise, SamplerSettings(steps=steps, prediction=prediction, sampler="dpmpp"))
    )
    assert [step.t for step in walk] == theirs.timesteps.tolist()
    torch.testing.assert_close(walk[-1].x, wanted, rtol=0, atol=1e-4)  # theirs moves on in float32, eps over √ᾱ = 1e-3


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [3, 10])
def test_heun_is_that_of_diffusers_after_the_first_step(
    prediction: Prediction, steps: int, schedule: np.ndarray
) -> None:
    """Theirs takes a Heun step from T-1 too, which a σ that falls by thousands makes useless."""
    cond, x = pictures(12)
    walk = list(
        sample(crude, cond, x, schedule, no_noise, SamplerSettings(steps=steps, prediction=prediction, sampler="heun"))
    )
    grid = sorted({step.t for step in walk}, reverse=True)
    theirs = HeunDiscreteScheduler(
        num_train_timesteps=TOTAL,
        trained_betas=betas(schedule),
        prediction_type=DIFFUSERS_NAMES[prediction],
        clip_sample=True,
    )
    theirs.set_timesteps(timesteps=grid[1:])
    levels = sigmas(schedule, torch.tensor(grid[1:]))
    theirs.sigmas = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
    y = walk[0].x * torch.sqrt(1 + levels[0] ** 2)
    for t in theirs.timesteps.long():
        x_t = y * np.sqrt(schedule[t])
        y = theirs.step(crude(x_t, cond, t.expand(len(x))), t, y).prev_sample
    assert [step.t for step in walk[1:]] == theirs.timesteps.tolist()
    torch.testing.assert_close(walk[-1].x, y, rtol=0, atol=1e-10)


def sigmas(schedule: np.ndarray, t: Tensor) -> Tensor:
    """√((1-ᾱ)/ᾱ) in float64, then 0; theirs are float32."""
    kept = torch.from_numpy(schedule)[t]
    return torch.cat([torch.sqrt((1 - kept) / kept), torch.zeros(1, dtype=torch.float64)])


def no_noise(index: int) -> Tensor:
    raise AssertionError(f"noise asked for in step {index}")


@pytest.mark.parametrize("share", [0.5, 0.995])
def test_dynamic_thresholding_is_that_of_diffusers(share: float) -> None:
    x0 = pictures(13)[1] * torch.tensor([0.2, 0.5, 1.0, 2.0, 9.0]).double()[:, None, None, None]
    theirs = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=share, sample_max_value=1e6)
    torch.testing.assert_close(bounded(x0, 1.0, share), theirs._threshold_sample(x0))
    assert torch.equal(bounded(x0, None, share), x0)


def betas(schedule: np.ndarray) -> np.ndarray:
    return 1.0 - schedule / np.concatenate([[1.0], schedule[:-1]])


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_the_original_loop_is_its_formula(prediction: Prediction, steps: int, schedule: np.ndarray) -> None:
    """Algorithm 2 of Ho et al. 2020 with σ² = β, at timesteps that are not one apart, in numpy."""
    cond, start = pictures(9)
    noise = torch.randn(steps, *start.shape, generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    x, grid = start.numpy(), []
    for i in range(steps):
        t = math.floor(Fraction((TOTAL - 1) * (steps - 1 - i), steps - 1)) if steps > 1 else TOTAL - 1
        grid.append(t)
        out = crude(torch.from_numpy(x), cond, torch.full((len(x),), t)).numpy()
        now, beta = schedule[t], betas(schedule)[t]
        signal, root = np.sqrt(now), np.sqrt(1 - now)
        eps = {"eps": out, "x0": (x - signal * out) / root, "v": signal * out + root * x}[prediction]
        x = (x - beta / root * eps) / np.sqrt(1 - beta)
        if t > 0:
            x = x + np.sqrt(beta) * noise[i].numpy()
    walk = list(
        sample(
            crude,
            cond,
            start,
            schedule,
            noise.__getitem__,
            SamplerSettings(steps=steps, prediction=prediction, sampler="original"),
        )
    )
    assert [step.t for step in walk] == grid
    torch.testing.assert_close(walk[-1].x, torch.from_numpy(x), rtol=1e-11, atol=1e-11)
    if steps > 1:  # t = 0 is reached; its step lands on the clean estimate, which nothing has clamped.
        torch.testing.assert_close(walk[-1].x, walk[-1].x0_raw, rtol=1e-11, atol=1e-11)
    if prediction == "eps":
        assert walk[-1].x.abs().max() > 2


def test_every_step_clamps_and_the_last_one_lands_on_x0(schedule: np.ndarray) -> None:
    cond, x = pictures(7)
    asked: list[int] = []

    def draw(index: int) -> Tensor:
        asked.append(index)
        return torch.zeros_like(x)

    walk = list(sample(crude, cond, x, schedule, draw, SamplerSettings(steps=5, prediction="eps", eta=1.0, clamp=0.5)))
    assert [s.index for s in walk] == [0, 1, 2, 3, 4]
    assert (walk[0].t, walk[-1].t) == (99, 19)
    assert asked == [0, 1, 2, 3]
    for step in walk:
        torch.testing.assert_close(step.x0, step.x0_raw.clamp(-0.5, 0.5))
    assert walk[0].x0_raw.abs().max() > 0.5
    assert torch.equal(walk[-1].x, walk[-1].x0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps 0"),
        ({"steps": 101}, "steps 101"),
        ({"eta": -0.1}, "eta -0.1"),
        ({"sampler": "euler"}, "sampler 'euler'"),
        ({"sampler": "ddpm", "eta": 0.5}, "eta 0.5 belongs to ddim"),
        ({"sampler": "heun", "eta": 0.5}, "eta 0.5 belongs to ddim"),
        ({"spacing": "karras"}, "spacing 'karras' is unknown"),
        ({"sampler": "original", "eta": 0.5}, "eta 0.5 belongs to ddim"),
        ({"sampler": "original", "steps": 101}, "steps 101"),
        ({"prediction": "noise"}, "prediction 'noise'"),
    ],
)
def test_values_out_of_range(change: dict, message: str, schedule: np.ndarray) -> None:
    cond, x = pictures(8)
    settings = {"steps": 5, "prediction": "eps"} | change
    with pytest.raises(UserError, match=message):
        list(sample(crude, cond, x, schedule, lambda _: x, SamplerSettings(**settings)))
    if "prediction" in change:
        with pytest.raises(UserError, match=message):
            target(change["prediction"], x, x, schedule, T)
