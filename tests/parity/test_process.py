"""Level e passes for the schedule of the presets, and sees faults in schedule, conversions, grids and steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from export.edge.sampling import spacing
from export.edge.sampling import table as edge
from jax_impl.diffusion import samplers as jax_samplers
from jax_impl.diffusion.gaussian import DiffusionConfig, GaussianProcess, cosine_alphas_cumprod
from tests.parity import paper
from tests.parity.ladder import Line
from tests.parity.process import (
    WALKS,
    conversions,
    of_schedule,
    schedule,
    single_steps,
    step_tables,
    timesteps,
    walks,
)
from torch_ref import diffusion as torch_process

SHORT = DiffusionConfig(timesteps=50, sample_steps=10)
ALPHAS = SHORT.create().alphas_cumprod


def failed(lines: Iterable[Line]) -> dict[str, set[str]]:
    """What failed, without shapes → between whom."""
    found: dict[str, set[str]] = {}
    for line in lines:
        if not line.passed:
            found.setdefault(line.what.partition(" (")[0].rstrip(","), set()).add(line.pair)
    return found


def test_the_level_compares_everything_with_everyone() -> None:
    config = DiffusionConfig()
    lines = list(of_schedule(config, config.create().alphas_cumprod))
    for line in lines:
        assert line.level == "e"
        assert line.passed, line
    pairs: dict[str, set[str]] = {}
    for line in lines:
        pairs.setdefault(line.what, set()).add(line.pair)
    three = {"JAX · paper", "torch · paper", "JAX · torch"}
    expected = {
        "log ᾱ": {"JAX · paper", "bundle · paper"},
        "betas": {"bundle · paper"},
        "ᾱ made": {"diffusers · bundle"},
        "q_sample": three | {"diffusers · paper"},
        "target eps": three,
        "target v": {"diffusers · paper"},
        "√ᾱ · x0": three | {"edge · paper"},
        "√(1-ᾱ) · eps": {"torch · paper"},
        "trailing timesteps": {"JAX · paper", "torch · paper", "edge · paper", "diffusers · paper"},
        "leading timesteps": {"JAX · paper", "torch · paper", "edge · paper", "diffusers · paper"},
        "linspace timesteps": {"JAX · paper", "torch · paper", "edge · paper", "diffusers · paper"},
        "logsnr timesteps": {"JAX · paper", "torch · paper", "edge · paper"},
        "posterior of the chain of 1000": three | {"edge · paper", "diffusers · paper"},
        "DDPM in 1, 2, 10, 20, 50, 250 steps": three | {"edge · paper", "diffusers · paper"},
        "DDIM (eta 0) in 1, 2, 10, 20, 50, 250, 1000 steps": three | {"edge · paper", "diffusers · paper"},
        "DDIM (eta 1) in 1, 2, 10, 20, 50, 250, 1000 steps": three | {"edge · paper", "diffusers · paper"},
        "one step from eps": three | {"edge · paper", "diffusers · paper"},
        "one step from x0": three | {"edge · paper", "diffusers · paper"},
        "one step from v": three | {"edge · paper", "diffusers · paper"},
    }
    for walk in WALKS:
        for prediction in ("eps", "x0", "v"):
            expected[f"{walk}, 8 steps from {prediction}"] = three | {"edge · paper", "diffusers · paper"}
    assert len(pairs) == len(expected)
    for start, between in expected.items():
        (what,) = [what for what in pairs if what.startswith(start)]
        assert pairs[what] == between, what


def test_a_short_chain_passes_too() -> None:
    """The one in which the faults below are planted."""
    assert not failed(of_schedule(SHORT, ALPHAS))


def test_the_posterior_of_the_papers_formula_is_that_of_bayes_rule() -> None:
    """The reference itself: Ho et al. 2020, equations 6 and 7 as printed, against what `paper` derives."""
    t = np.arange(len(ALPHAS) - 1, 0, -1)
    before = ALPHAS[t - 1]
    alpha = ALPHAS[t] / before
    beta = 1.0 - alpha
    printed = [
        np.sqrt(before) * beta / (1.0 - ALPHAS[t]),
        np.sqrt(alpha) * (1.0 - before) / (1.0 - ALPHAS[t]),
        np.sqrt((1.0 - before) / (1.0 - ALPHAS[t]) * beta),
    ]
    derived = paper.step_table(ALPHAS, np.append(t, 0), "ddpm", 0.0)
    np.testing.assert_allclose(derived[:-1].T, printed, atol=1e-12)
    np.testing.assert_array_equal(derived[-1], [1.0, 0.0, 0.0])


def test_where_diffusers_makes_another_grid() -> None:
    """Its grid is floating-point: it differs by one at exact halves, and is one too long for other step counts."""
    scheduler, others = DDPMScheduler(timestep_spacing="trailing"), {"halves": 0, "too long": 0}
    schedule = DiffusionConfig().create().alphas_cumprod
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        ours, theirs = spacing.timesteps(schedule, steps), scheduler.timesteps.numpy()
        np.testing.assert_array_equal(ours, paper.timesteps(schedule, steps))
        if len(theirs) > steps:
            others["too long"] += 1
            assert theirs[steps:].tolist() == [-1]
            theirs = theirs[:steps]
        different = np.flatnonzero(ours != theirs)
        others["halves"] += different.size > 0
        for i in different:
            assert Fraction((steps - int(i)) * 1000, steps) % 1 == Fraction(1, 2)
            assert abs(int(ours[i]) - int(theirs[i])) == 1
    assert all(others.values())


def test_a_schedule_that_is_not_the_one_of_the_paper() -> None:
    unclipped = cosine_alphas_cumprod(50, 0.008, 1e-12, 0.999)
    assert failed(schedule(SHORT, unclipped)) == {
        "log ᾱ of the cosine schedule": {"bundle · paper"},
        "betas recovered from ᾱ": {"bundle · paper"},
    }


def test_v_with_the_other_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    right = GaussianProcess.target

    def turned(process, x0, noised):
        return (-1 if process.config.prediction == "v" else 1) * right(process, x0, noised)

    monkeypatch.setattr(GaussianProcess, "target", turned)
    assert failed(conversions(ALPHAS, "float32")) == {"target eps, x0 and v": {"JAX · paper", "JAX · torch"}}


def test_v_read_with_the_other_sign_in_a_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    right = jax_samplers._columns

    def turned(plan):
        columns = right(plan)
        of_v = plan.x0_from_x.any() and (np.abs(plan.x0_from_x) < 1.0).all()
        return columns | {"output_share": -columns["output_share"]} if of_v else columns

    monkeypatch.setattr(jax_samplers, "_columns", turned)
    found = failed(single_steps(ALPHAS, "float32"))
    assert found == {"one step from v": {"JAX · paper", "JAX · torch"}}


def test_v_read_with_the_other_sign_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch does not read it."""
    right = edge.x0_weights

    def turned(prediction, alphas_cumprod):
        from_x, from_output = right(prediction, alphas_cumprod)
        return from_x, -from_output if prediction == "v" else from_output

    monkeypatch.setattr(edge, "x0_weights", turned)
    found = failed(single_steps(ALPHAS, "float32"))
    assert found == {"one step from v": {"JAX · paper", "edge · paper", "JAX · torch"}}


def test_an_alpha_of_the_timestep_before(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch_process.levels_at
    monkeypatch.setattr(torch_process, "levels_at", lambda alphas, t, dtype: right(alphas, (t - 1).clamp(min=0), dtype))
    found = failed(conversions(ALPHAS, "float32"))
    torch_alone = {"torch · paper", "JAX · torch"}
    assert found == {
        "q_sample": torch_alone,
        "target eps, x0 and v": torch_alone,
        "√ᾱ · x0 from eps, x0 from x0 and from v": torch_alone,
        "√(1-ᾱ) · eps from x0": {"torch · paper"},
    }


def test_beta_in_place_of_the_posterior_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch_process._ddpm

    def too_noisy(x0: torch.Tensor, x_t: torch.Tensor, alpha_bar: float, after: float) -> tuple[torch.Tensor, float]:
        mean, _ = right(x0, x_t, alpha_bar, after)
        return mean, math.sqrt(1.0 - alpha_bar / after) if after < 1.0 else 0.0

    monkeypatch.setattr(torch_process, "_ddpm", too_noisy)
    torch_alone = {"torch · paper", "JAX · torch"}
    assert failed(step_tables(ALPHAS)) == {
        "posterior of the chain of 50: weights of x0 and x_t, deviation": torch_alone,
        "DDPM in 1, 2, 10 steps: weights of x0 and x_t, deviation": torch_alone,
    }


def test_timesteps_that_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid from 0 upwards: it starts below full noise."""
    right = torch_process.timesteps
    monkeypatch.setattr(torch_process, "timesteps", lambda alphas, steps, _: right(alphas, steps, "leading"))
    found = failed(timesteps(ALPHAS))
    assert found == {
        f"{spacing} timesteps of {steps} steps": {"torch · paper"}
        for spacing, steps in (("trailing", "1, 2, 10, 50"), ("linspace", "2, 10, 50"), ("logsnr", "2, 10, 50"))
    }


def test_the_estimate_before_with_the_other_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table, which JAX and the device read and PyTorch does not."""
    right = edge._multistep

    def turned(ddim: edge.Plan, now: np.ndarray) -> edge.Plan:
        plan = right(ddim, now)
        return replace(plan, next_from_previous=-plan.next_from_previous)

    monkeypatch.setattr(edge, "_multistep", turned)
    found = failed(walks(ALPHAS, "float64"))
    readers = {"JAX · paper", "edge · paper", "JAX · torch"}
    names = [name for name in WALKS if name.startswith("DPM")]
    assert found == {f"{name}, 8 steps from {p}": readers for name in names for p in ("eps", "x0", "v")}


def test_heun_that_forgets_to_halve(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch_process._heun

    def doubled(x_t, x0, x_s, x0_there, alpha_bar, after):
        return x_s + 2.0 * (right(x_t, x0, x_s, x0_there, alpha_bar, after) - x_s)

    monkeypatch.setattr(torch_process, "_heun", doubled)
    found = failed(walks(ALPHAS, "float32"))
    assert found == {f"Heun, 8 steps from {p}": {"torch · paper", "JAX · torch"} for p in ("x0", "v")}


def test_a_threshold_that_is_not_divided_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax_samplers, "bounded", lambda x0, clamp, threshold: x0.clip(-clamp, clamp))
    found = failed(walks(ALPHAS, "float32"))
    (name,) = (name for name in WALKS if "threshold" in name)
    assert found == {f"{name}, 8 steps from {p}": {"JAX · paper", "JAX · torch"} for p in ("x0", "v")}


def test_eps_that_does_not_belong_to_the_clamped_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler that clamps x0_hat and goes on with the eps from before the clamp."""
    right, raw = torch_process.to_x0, []

    def remembered(*arguments):
        raw.append(right(*arguments))
        return raw[-1]

    to_eps = torch_process.to_eps
    monkeypatch.setattr(torch_process, "to_x0", remembered)
    monkeypatch.setattr(torch_process, "to_eps", lambda x0, x_t, alphas, t: to_eps(raw[-1], x_t, alphas, t))
    torch_alone = {"torch · paper", "JAX · torch"}
    assert failed(single_steps(ALPHAS, "float32")) == {f"one step from {p}": torch_alone for p in ("eps", "x0", "v")}
