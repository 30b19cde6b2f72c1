"""A run of two stages, the second one a user's own: trained, interrupted, resumed in the right stage, bundled."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl import bundle
from jax_impl.config.as_json import from_tree
from jax_impl.config.tree import Config
from jax_impl.data.loader import Pairs
from jax_impl.model.network import flatten
from jax_impl.runs.bundles import read_bundle
from jax_impl.runs.folder import open_run, read_config
from jax_impl.runs.sealed_json import read_sealed_json, write_sealed_json
from jax_impl.train import main, train
from jax_impl.training.checkpoint import FOLDER, list_checkpoints
from jax_impl.training.manifest import read_manifest
from jax_impl.training.report import METRICS_LOG, read_log
from jax_impl.training.stages.registry import DenoisingStageConfig
from jax_impl.training.state import to_arrays
from tests.jax_impl.training.conftest import StopAt
from tests.jax_impl.training.gain_stage import GainStageConfig

SmallConfig = Callable[..., Config]
STEPS = {0: 3, 1: 6}


@pytest.fixture(scope="module")
def config(small_config: SmallConfig) -> Config:
    return dataclasses.replace(
        small_config(epochs=2, sample_steps=1), stages=(DenoisingStageConfig(epochs=1), GainStageConfig())
    )


def assert_same_run(run: Path, other: Path) -> None:
    left, right = to_arrays(open_run(run).state), to_arrays(open_run(other).state)
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
    assert (run / METRICS_LOG).read_text() == (other / METRICS_LOG).read_text()


def test_each_stage_starts_from_what_the_one_before_published(unbroken: Path) -> None:
    assert [c.step for c in list_checkpoints(unbroken)] == [3]
    assert [c.step for c in list_checkpoints(unbroken, stage=1)] == [3, 6]
    assert read_manifest(list_checkpoints(unbroken, stage=1)[-1].manifest).stage == 1
    assert "stage" not in json.loads(list_checkpoints(unbroken)[0].manifest.read_text())
    log = [(r.get("stage"), r["step"]) for r in read_log(unbroken) if "loss" in r]
    assert log == [(None, 1), (None, 2), (None, 3), *((1, step) for step in range(1, 7))]
    pictures = sorted(path.name for path in (unbroken / "training_samples").iterdir())
    assert pictures == ["epoch_0001.png", "stage_1_epoch_0001.png", "stage_1_epoch_0002.png"]
    first = without_second_stage(unbroken, unbroken.parent / "first")
    for a, b in zip(
        jax.tree.leaves(open_run(first).state.ema), jax.tree.leaves(open_run(unbroken).state.denoiser[0]), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def without_second_stage(run: Path, copy: Path) -> Path:
    shutil.copytree(run, copy)
    shutil.rmtree(copy / FOLDER / "stage_1")
    return copy


@pytest.mark.parametrize(("calls", "said"), [(7, "step 4 of 6 of stage 1, gain"), (2, "step 2 of 3 of stage 0, denoi")])
def test_it_resumes_in_the_stage_where_it_stopped(
    config: Config,
    pairs: tuple[Pairs, Pairs],
    unbroken: Path,
    tmp_path: Path,
    calls: int,
    said: str,
    stop_at: StopAt,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with stop_at(calls):
        assert train(config, tmp_path / "run", *pairs) == signal.SIGTERM
    assert f"stopped after {said}" in capsys.readouterr().out
    assert train(config, tmp_path / "run", *pairs, resume=True) == 0
    assert f"resuming after {said.replace(' of 6', '').replace(' of 3', '')}" in capsys.readouterr().out
    assert_same_run(tmp_path / "run", unbroken)


def test_a_stage_without_a_checkpoint_begins_again(
    config: Config, pairs: tuple[Pairs, Pairs], unbroken: Path, tmp_path: Path
) -> None:
    run = without_second_stage(unbroken, tmp_path / "run")
    assert train(config, run, *pairs, resume=True) == 0
    assert_same_run(run, unbroken)


def test_a_stage_of_which_nothing_is_whole_is_named(
    config: Config, pairs: tuple[Pairs, Pairs], unbroken: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    for checkpoint in list_checkpoints(run, stage=1):
        checkpoint.manifest.write_text("{")
    with pytest.raises(UserError, match=r"step_00000006.*remove .*stage_1 to train stage 1 again"):
        train(config, run, *pairs, resume=True)


def test_the_bundle_holds_every_network_that_the_last_stage_published(unbroken: Path, tmp_path: Path) -> None:
    words = ["--run", str(unbroken), "--output", str(tmp_path / "m.safetensors")]
    bundle.main(words)
    held, state = read_bundle(tmp_path / "m.safetensors"), open_run(unbroken).state
    assert held.networks.keys() == {"denoiser", "gain"}
    np.testing.assert_array_equal(held.networks["gain"]["scale"], state.gain)
    for name, array in flatten(state.denoiser[0]).items():
        np.testing.assert_array_equal(held.weights[name], array)
    assert held.config.stages[1] == GainStageConfig()
    for more in (["--ema-decay", "0"], ["--optimizer", str(tmp_path / "o.safetensors")]):
        with pytest.raises(UserError, match=f"{more[0]} goes with the state of the stage denoising, not .* of gain"):
            bundle.main([*words, *more])


def test_the_stages_belong_to_what_a_resumed_run_may_not_change(unbroken: Path, config: Config) -> None:
    words = ["--resume", "--output-dir", str(unbroken)]
    with pytest.raises(UserError, match=r"stages\.1\.stage is None but the run was started with 'gain'"):
        main([*words, "--stages", "denoising"])
    with pytest.raises(UserError, match=r"stages\.1\.rate is 0\.2 but the run was started with 0\.1"):
        main([*words, "--stages", '{"stage": "denoising", "epochs": 1}', '{"stage": "gain", "rate": 0.2}'])


def test_a_run_from_before_there_were_stages_has_one(unbroken: Path, tmp_path: Path) -> None:
    tree = read_sealed_json(unbroken / "config.json", "configuration")
    del tree["stages"]
    write_sealed_json(tmp_path / "config.json", tree)
    assert read_config(tmp_path).stages == (DenoisingStageConfig(),)


def test_stages_are_checked() -> None:
    with pytest.raises(UserError, match=r"stages is \(\): name at least one"):
        from_tree({"stages": []})
    with pytest.raises(UserError, match="epochs is 0: choose at least 1"):
        from_tree({"stages": [{"stage": "gain", "epochs": 0}]})
    with pytest.raises(UserError, match=r"config\.stages\.stage is 'none': choose one of denoising"):
        from_tree({"stages": [{"stage": "none"}]})


def test_a_dry_run_estimates_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tiny", "--data.size", "16", "--data.repeats", "1", "--data.synthetic-pairs", "4"]
    words += ["--data.synthetic-val-pairs", "1", "--model.patch", "4", "--model.width", "8", "--model.groups", "4"]
    words += ["--model.multipliers", "1", "--model.blocks", "1"]
    words += ["--train.epochs", "1", "--train.batch-size", "2", "--train.sample-steps", "1"]
    main([*words, "--output-dir", str(tmp_path / "run"), "--dry-run", "--stages", "denoising", "gain"])
    said = capsys.readouterr().out
    assert "stage 0      denoising" in said and "stage 1      gain" in said and said.count("parameters   ") == 2
    assert list(tmp_path.iterdir()) == []
