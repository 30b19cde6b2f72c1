"""The process of one pass: its state, its timesteps and the table of its slider."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.sampling.tables import read_tables, timesteps_of, write_tables
from jax_impl.diffusion.one_pass import SAMPLER, SLIDER, OnePassConfig

X0 = np.random.default_rng(0).uniform(-1, 1, (5, 4, 4, 3)).astype(np.float32)
T = np.array([0, 9, 10, 500, 999])


def test_the_state_is_noise_of_the_chosen_strength_at_the_last_timestep() -> None:
    process = OnePassConfig(start_noise=0.25).create()
    noise = jax.random.normal(jax.random.key(0), X0.shape)
    noised = process.corrupt(jnp.asarray(X0), jnp.asarray(X0), jnp.asarray(T), noise)
    np.testing.assert_array_equal(noised.x_t, 0.25 * noise)
    assert noised.t.tolist() == 5 * [999] and process.realism(noised.t).tolist() == 5 * [1.0]


def test_with_a_slider_t_says_the_realism() -> None:
    process = OnePassConfig(slider=True).create()
    every = jnp.arange(1000)
    x0 = jnp.zeros((1000, 1, 1, 3))
    noised = process.corrupt(x0, x0, every, x0)
    steps, counts = np.unique(999 - np.asarray(noised.t), return_counts=True)
    assert steps.tolist() == list(range(SLIDER + 1)) and counts.min() >= 9 and counts.max() <= 10
    np.testing.assert_allclose(process.realism(noised.t), steps.repeat(counts) / SLIDER, atol=1e-6)
    sharpest = process.sharpest().corrupt(x0, x0, every, x0)
    assert set(np.asarray(sharpest.t).tolist()) == {899} and process.realism(sharpest.t).tolist() == 1000 * [1.0]


@pytest.mark.parametrize(("realism", "t"), [(None, 899), (0.0, 999), (0.25, 974), (0.5, 949), (0.996, 899), (1.0, 899)])
def test_the_table_asks_for_the_realism_that_training_gave_it(realism: float | None, t: int) -> None:
    process = OnePassConfig(slider=True).create()
    plan = process.plan(1, SAMPLER).at(realism)
    assert plan.t.tolist() == [t] and plan.t.dtype == np.int64
    if realism is not None:
        assert float(process.realism(jnp.asarray(plan.t))[0]) == pytest.approx(realism, abs=0.5 / SLIDER + 1e-6)


def test_the_slider_travels_in_the_tables() -> None:
    tables = OnePassConfig(slider=True).create().published().tables
    assert tables is not None and timesteps_of(tables) == 1000
    found = read_tables(write_tables(tables))[SAMPLER][1]
    assert found.mean_t is not None and (found.t.tolist(), found.mean_t.tolist()) == ([899], [999])
    plain = OnePassConfig().create().published().tables
    assert plain is not None and "mean_t" not in write_tables(plain)


def test_few_timesteps_have_no_room_for_a_slider() -> None:
    assert OnePassConfig(timesteps=SLIDER + 1, slider=True).create().plan(1, SAMPLER).t.tolist() == [0]
    with pytest.raises(UserError, match=r"diffusion[.]timesteps is 100: diffusion[.]slider needs at least 101"):
        OnePassConfig(timesteps=SLIDER, slider=True)
