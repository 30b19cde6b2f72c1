"""Grids of timesteps against diffusers' where it has the same, and against what their names promise."""

from __future__ import annotations

import numpy as np
import pytest
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st

from export.edge.choices import SPACINGS
from export.edge.errors import UserError
from export.edge.sampling.spacing import LEAST_LOG_SNR, timesteps
from tests.schedule import cosine_schedule

SCHEDULE = cosine_schedule()


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize("steps", [2, 4, 5, 10, 16, 20, 50, 100, 250, 500, 1000])
def test_timesteps_are_those_of_diffusers(spacing: str, steps: int) -> None:
    """In one step its "linspace" asks about t = 0, ours about T-1 as for any other number."""
    scheduler = DDIMScheduler(1000, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    np.testing.assert_array_equal(timesteps(SCHEDULE, steps, spacing), scheduler.timesteps.numpy())


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("total", [1, 2, 37, 400, 1000])
def test_timesteps_for_every_number_of_steps(spacing: str, total: int) -> None:
    schedule = cosine_schedule(total)
    for steps in range(1, total + 1):
        t = timesteps(schedule, steps, spacing)
        assert t.dtype == np.int64 and t.shape == (steps,)
        assert t[-1] >= 0 and (np.diff(t) < 0).all()
        assert t[0] == (total - 1 if spacing != "leading" else (steps - 1) * (total // steps))


@given(st.lists(st.floats(1e-12, 1.0 - 1e-9), min_size=1, max_size=40, unique=True), st.data())
def test_log_snr_takes_any_schedule(values: list[float], data: st.DataObject) -> None:
    schedule = np.sort(values)[::-1]
    steps = data.draw(st.integers(1, len(schedule)))
    t = timesteps(schedule, steps, "logsnr")
    assert t[0] == len(schedule) - 1 and t[-1] >= 0 and (np.diff(t) < 0).all()


@pytest.mark.parametrize("steps", [2, 5, 10, 20])
def test_log_snr_is_even_up_to_the_rounding_of_timesteps(steps: int) -> None:
    # Fine enough that rounding is no matter; a's fall is that of log SNR -12 ... 12.
    log_snr = np.linspace(12.0, -12.0, 20_001)
    t = timesteps(1.0 / (1.0 + np.exp(-log_snr)), steps, "logsnr")
    assert t[0] == 20_000
    expected = np.linspace(LEAST_LOG_SNR, 12.0, steps + 1)
    np.testing.assert_allclose(log_snr[t][1:], expected[1:-1], atol=1e-3)


def test_log_snr_begins_where_the_schedule_does_when_that_is_above_the_least() -> None:
    log_snr = np.linspace(6.0, -2.0, 8001)
    t = timesteps(1.0 / (1.0 + np.exp(-log_snr)), 4, "logsnr")
    np.testing.assert_allclose(log_snr[t], [-2.0, 0.0, 2.0, 4.0], atol=1e-3)


@pytest.mark.parametrize("steps", [-1, 0, 1001])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_steps_out_of_range_are_an_error(spacing: str, steps: int) -> None:
    with pytest.raises(UserError, match=r"outside 1 \.\.\. 1000"):
        timesteps(SCHEDULE, steps, spacing)


def test_an_unknown_spacing_is_named() -> None:
    with pytest.raises(UserError, match="spacing 'karras' is unknown; choose one of trailing"):
        timesteps(SCHEDULE, 5, "karras")


@given(total=st.integers(1, 300), data=st.data())
def test_logsnr_is_the_nearest_of_all_timesteps(total: int, data: st.DataObject) -> None:
    """As by the table of all differences, which the largest schedules have no memory for."""
    steps = data.draw(st.integers(1, total))
    values = data.draw(st.lists(st.floats(1e-9, 1 - 1e-9), min_size=total, max_size=total, unique=True))
    schedule = np.sort(values)[::-1]
    log_snr = np.log(schedule) - np.log1p(-schedule)
    start = min(max(log_snr[-1], LEAST_LOG_SNR), log_snr[0])
    wanted = start + (log_snr[0] - start) * np.arange(steps) / steps
    nearest = np.abs(log_snr - wanted[:, None]).argmin(axis=1)
    nearest[0] = total - 1
    rows = np.arange(steps)
    expected = np.maximum(np.minimum.accumulate(nearest + rows), steps - 1) - rows
    np.testing.assert_array_equal(timesteps(schedule, steps, "logsnr"), expected)
