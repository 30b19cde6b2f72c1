"""Where a walk begins, what it yields, and what of a plan the loop reads."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.model.artifact import Artifact, open_artifact
from export.edge.sampling.loop import call_noise, final, generate, iterate, source_picture, start_state
from export.edge.sampling.noise import start_noise, step_noise
from export.edge.sampling.table import COLUMNS, Plan
from tests.edge.conftest import MakeModel, bridge

COND = np.random.default_rng(5).uniform(-1, 1, (2, 8, 16, 3)).astype(np.float32)
SHAPE = COND.shape


@pytest.fixture
def model(make_model: MakeModel) -> Artifact:
    return open_artifact(make_model())


def test_gaussian_plans_start_from_noise_alone(model: Artifact) -> None:
    for sampler in model.samplers:
        plan = model.plan(5, sampler)
        assert (plan.start_from_source, plan.start_from_noise, plan.source) == (0.0, 1.0, "cond")
        assert not plan.x0_from_start.any() and not plan.next_from_start.any()
        first = next(generate(model, COND, plan, 7))
        np.testing.assert_array_equal(first.x_t, start_noise(7, SHAPE))


def test_generate_is_iterate_from_the_noise_of_the_seed(model: Artifact) -> None:
    plan = model.plan(5, "ddpm")
    ours = list(generate(model, COND, plan, 3))
    begin, noise = start_noise(3, SHAPE), [step_noise(3, i, SHAPE) for i in range(len(plan))]
    theirs = list(iterate(model.denoise, COND, begin, plan, model.clamp, lambda i: noise[i], model.threshold))
    for ours_call, theirs_call in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(ours_call.x, theirs_call.x)
    for before, call in pairwise(ours):
        assert before.x is call.x_t
    np.testing.assert_array_equal(final(ours), ours[-1].x)


def test_the_start_noise_goes_to_the_first_call_where_the_start_takes_none(model: Artifact) -> None:
    noisy = replace(bridge(), noise=np.array([0.5, 0.25, 0.0, 0.0]))
    assert noisy.start_from_noise == 0.0
    added = [call_noise(noisy, 3, index, SHAPE) for index in range(2)]
    np.testing.assert_array_equal(added, [start_noise(3, SHAPE), step_noise(3, 1, SHAPE)])
    np.testing.assert_array_equal(
        call_noise(replace(noisy, start_from_noise=0.1), 3, 0, SHAPE), step_noise(3, 0, SHAPE)
    )
    quiet, first = (next(generate(model, COND, plan, 3)).x for plan in (bridge(), noisy))
    np.testing.assert_allclose(first - quiet, 0.5 * start_noise(3, SHAPE), atol=1e-6)


def test_a_start_mixes_source_and_noise() -> None:
    plan = replace(bridge(), start_from_source=0.75, start_from_noise=0.5)
    state = start_state(plan, COND, 4, SHAPE)
    assert state.dtype == np.float32
    np.testing.assert_allclose(state, 0.75 * COND + 0.5 * start_noise(4, SHAPE), atol=1e-6)
    np.testing.assert_array_equal(start_state(plan, None, 4, SHAPE), np.float32(0.5) * start_noise(4, SHAPE))


def test_a_source_is_the_guiding_picture_or_what_a_network_makes_of_it(model: Artifact) -> None:
    placed = np.concatenate([COND, COND[..., :2]], axis=-1)
    np.testing.assert_array_equal(source_picture(bridge(), {}, placed), COND)
    asked = []

    def network(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        asked.append((x_t, cond, t))
        return -cond[..., :3]

    by_network = replace(bridge(), source="mean")
    np.testing.assert_array_equal(source_picture(by_network, {"mean": network}, placed), -COND)
    ((x_t, cond, t),) = asked
    assert not x_t.any() and x_t.shape == SHAPE and cond is placed and t.tolist() == [99, 99] and t.dtype == np.int64
    with pytest.raises(UserError, match="starts from the network 'mean', and the model has only denoiser"):
        next(generate(model, COND, by_network, 0))
    by_itself = replace(bridge(), source="denoiser")
    first = next(generate(model, COND, by_itself, 0))
    np.testing.assert_array_equal(first.x_t, model.denoise(0 * COND, COND, np.array([99, 99])))


def test_a_bridge_walks_straight_from_the_guiding_picture(model: Artifact) -> None:
    """Where x0_hat never changes, every state lies on the line, and the last is x0_hat; noise has no part in it."""
    x0 = np.tanh(COND[::-1])
    for call in generate(model, COND, bridge(), 0, lambda x_t, cond, t: x0):
        np.testing.assert_allclose(call.x_t, COND + (1 - call.t / 99) * (x0 - COND), atol=1e-6)
    np.testing.assert_allclose(call.x, x0, atol=1e-7)
    walks = [final(generate(model, COND, bridge(), seed)) for seed in (1, 2)]
    np.testing.assert_array_equal(*walks)


def test_every_column_has_its_part() -> None:
    """x0_raw and the next state against the formula in the module's docstring, in float64."""
    rng = np.random.default_rng(0)
    names = {name: rng.normal(size=3) for name in COLUMNS}
    plan = Plan.from_columns({"t": [9, 5, 5], **names})
    cond, start, out, z = rng.normal(size=(4, 1, 2, 2, 3))
    x, previous = start, 0 * start
    for call in iterate(lambda x_t, c, t: out + x_t * t, cond, start, plan, 0.8, lambda i: z + i):
        row = {name: column[call.index] for name, column in names.items()}
        said = out + x * plan.t[call.index]
        raw = row["x0_from_x"] * x + row["x0_from_output"] * said + row["x0_from_start"] * start
        x0 = raw.clip(-0.8, 0.8)
        moved = row["next_from_x"] * x + row["next_from_start"] * start + row["noise"] * (z + call.index)
        x = row["next_from_x0"] * x0 + row["next_from_previous"] * previous + moved
        np.testing.assert_allclose(call.x0_raw, raw, atol=1e-12)
        np.testing.assert_allclose(call.x, x, atol=1e-12)
        previous = x0
