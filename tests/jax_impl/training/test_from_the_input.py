"""Training of the processes that start from the input picture: resumed, bundled, started from a bundle."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.model.layout import BUNDLE
from jax_impl.config.tree import Config
from jax_impl.data.loader import load
from jax_impl.diffusion.bridge import BridgeConfig
from jax_impl.diffusion.flow import FlowConfig
from jax_impl.diffusion.gaussian import DiffusionConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.diffusion.process import ProcessConfig
from jax_impl.model.network import flatten
from jax_impl.runs.bundles import open_bundle
from jax_impl.runs.folder import open_run
from jax_impl.train import train
from jax_impl.training.report import METRICS_LOG, read_log
from jax_impl.training.stages.from_mean_config import MEAN, FromMeanStageConfig
from jax_impl.training.stages.registry import DenoisingStageConfig
from jax_impl.training.state import to_arrays
from tests.jax_impl.training.conftest import StopAt

PROCESSES = {
    "bridge": BridgeConfig(sample_steps=2),
    "flow": FlowConfig(sample_steps=2, prediction="velocity"),
    "mean": FlowConfig(sample_steps=2, source="mean"),
}


# The flow from a mean picture carries a second network on; no process is part of what is saved.
@pytest.mark.parametrize(
    "process",
    [pytest.param(made, id=name, marks=() if name == "mean" else pytest.mark.slow) for name, made in PROCESSES.items()],
)
def test_an_interrupted_run_resumes_to_the_bit_and_is_bundled(
    process: ProcessConfig,
    small_config: Callable[..., Config],
    trained_run: Path,
    tmp_path: Path,
    stop_at: StopAt,
) -> None:
    from_mean = process.starts_from == MEAN
    begun = {"init_from": trained_run / BUNDLE} if from_mean else {}
    stages = (FromMeanStageConfig() if from_mean else DenoisingStageConfig(),)
    config = dataclasses.replace(small_config(epochs=2, sample_steps=2), diffusion=process, stages=stages)
    pairs = load(config.data, "train"), load(config.data, "val")
    assert train(config, tmp_path / "unbroken", *pairs, **begun) == 0
    with stop_at(5):
        assert train(config, tmp_path / "run", *pairs, **begun) == signal.SIGTERM
    assert train(config, tmp_path / "run", *pairs, resume=True) == 0
    states = [open_run(tmp_path / name).state for name in ("run", "unbroken")]
    assert [int(state.step) for state in states] == [6, 6]
    found, wanted = map(to_arrays, states)
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)
    logs = [(tmp_path / name / METRICS_LOG).read_text() for name in ("run", "unbroken")]
    assert logs[0] == logs[1]
    assert all(np.isfinite(record["loss"]) for record in read_log(tmp_path / "run") if "loss" in record)
    problem, *_ = open_bundle(tmp_path / "run" / BUNDLE)
    assert problem.config.diffusion == process
    assert set(problem.others) == ({MEAN} if from_mean else set())
    if from_mean:
        mean, given = (flatten(weights) for weights in (problem.others[MEAN][0], open_bundle(trained_run / BUNDLE)[1]))
        assert mean.keys() == given.keys() and all((mean[name] == given[name]).all() for name in mean)
    published = process.create().published().tables
    assert published is not None and problem.process.tables is not None
    assert {name: set(plans) for name, plans in problem.process.tables.items()} == {
        name: set(plans) for name, plans in published.items()
    }


def test_training_starts_from_a_network_that_says_the_same(
    trained_run: Path, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    """That of gaussian diffusion says x0, which is no velocity."""
    config = dataclasses.replace(small_config(epochs=1, sample_steps=2), diffusion=PROCESSES["bridge"])
    pairs = load(config.data, "train"), load(config.data, "val")
    weights = trained_run / BUNDLE
    assert train(config, tmp_path / "run", *pairs, init_from=weights) == 0
    other = dataclasses.replace(config, diffusion=PROCESSES["flow"])
    with pytest.raises(UserError, match=r"with diffusion\.prediction x0, not velocity; add --diffusion\.prediction x0"):
        train(other, tmp_path / "other", *pairs, init_from=weights)


def test_a_source_needs_the_stage_that_brings_it(small_config: Callable[..., Config]) -> None:
    config = small_config()
    with pytest.raises(
        UserError, match=r"diffusion\.source is 'mean': the stage denoising has no such network; choose"
    ):
        dataclasses.replace(config, diffusion=PROCESSES["mean"])
    with pytest.raises(
        UserError, match=r"diffusion\.source is 'cond': the stage from-mean needs --diffusion\.process flow"
    ):
        dataclasses.replace(config, stages=(FromMeanStageConfig(),))


@pytest.mark.parametrize(
    ("trained", "networks", "fine"),
    [
        (DiffusionConfig(prediction="x0"), ["denoiser"], True),
        (OnePassConfig(), ["denoiser"], True),
        (FlowConfig(source="mean"), ["denoiser", "mean"], True),
        (DiffusionConfig(prediction="v"), ["denoiser"], False),
        (FlowConfig(), ["denoiser"], False),
        (BridgeConfig(), ["denoiser"], False),
    ],
    ids=range(6),
)
def test_a_flow_from_the_mean_needs_a_network_whose_picture_that_is(
    trained: Any, networks: list[str], fine: bool
) -> None:
    start = partial(FromMeanStageConfig().check_start, SimpleNamespace(diffusion=trained), networks)
    if fine:
        return start()
    with pytest.raises(UserError, match="needs a network that predicts x0, of gaussian diffusion or one pass"):
        start()
    return None
