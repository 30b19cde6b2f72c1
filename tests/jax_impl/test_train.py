"""Training as a whole: resuming changes nothing, and what cannot work is said before it is tried."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl import bundle
from jax_impl.config.tree import Config
from jax_impl.data.loader import Pairs, load
from jax_impl.runs.folder import open_run
from jax_impl.train import main, train
from jax_impl.training import feed as feed_module
from jax_impl.training.checkpoint import DAMAGED, list_checkpoints
from jax_impl.training.optim import learning_rate
from jax_impl.training.report import METRICS_LOG, PLOT, read_log
from jax_impl.training.state import to_arrays
from tests.end_to_end.test_whole_path import SMALL

SmallConfig = Callable[..., Config]


def pairs_of(config: Config) -> tuple[Pairs, Pairs]:
    return load(config.data, "train"), load(config.data, "val")


def assert_same_state(a: Path, b: Path) -> None:
    left, right = to_arrays(open_run(a).state), to_arrays(open_run(b).state)
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)


@pytest.fixture
def finished(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, for training to open: another worker may read the run itself meanwhile."""
    return shutil.copytree(trained_run, tmp_path / "finished")


@pytest.mark.parametrize(("kind", "at"), [("unet", 4), ("seed", 3)], ids=["mid-epoch", "end of an epoch"])
def test_a_stopped_and_resumed_run_equals_the_unbroken_one(
    small_config: SmallConfig,
    kind: str,
    at: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    unbroken = request.getfixturevalue("trained_run" if kind == "unet" else "trained_seed_run")
    config = small_config(kind)
    pairs = pairs_of(config)
    calls = 0
    batch_indices = feed_module.batch_indices

    def signalling(*args: int) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch_indices(*args)

    monkeypatch.setattr(feed_module, "batch_indices", signalling)
    assert train(config, tmp_path / "run", *pairs) == signal.SIGTERM
    assert [c.step for c in list_checkpoints(tmp_path / "run")][-1] == at
    monkeypatch.undo()
    assert train(config, tmp_path / "run", *pairs, resume=True) == 0
    assert_same_state(tmp_path / "run", unbroken)
    assert (tmp_path / "run" / METRICS_LOG).read_text() == (unbroken / METRICS_LOG).read_text()


@pytest.mark.slow  # Two trainings; resuming and saving have tests of their own.
def test_checkpoints_by_the_minute_change_no_numbers_and_are_resumed_from(
    small_config: SmallConfig, tmp_path: Path, trained_run: Path
) -> None:
    config, run = small_config(checkpoint_minutes=1e-9, keep_checkpoints=9), tmp_path / "run"
    pairs = pairs_of(config)
    train(config, run, *pairs)
    assert [c.step for c in list_checkpoints(run)] == [1, 2, 3, 4, 5, 6]
    assert_same_state(run, trained_run)
    for checkpoint in list_checkpoints(run)[4:]:
        checkpoint.manifest.unlink()
    train(small_config(checkpoint_minutes=0), run, *pairs, resume=True)
    assert_same_state(run, trained_run)
    assert (run / METRICS_LOG).read_text() == (trained_run / METRICS_LOG).read_text()


def test_what_is_damaged_is_set_aside_by_who_trains_and_the_steps_are_taken_again(
    small_config: SmallConfig, tmp_path: Path, trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = small_config(), tmp_path / "run"
    shutil.copytree(trained_run, run)
    older, newest = list_checkpoints(run)
    weights = max(newest.folder.rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else -1)
    weights.write_bytes(weights.read_bytes()[:-1])
    assert int(open_run(run).state.step) == older.step
    assert f"passed over a damaged checkpoint, {newest.folder.name}: " in capsys.readouterr().err
    train(config, run, *pairs_of(config), resume=True)
    assert f"damaged checkpoint {newest.folder.name}: " in capsys.readouterr().err
    assert (newest.folder.parent / DAMAGED / newest.folder.name).is_dir()
    assert_same_state(run, trained_run)
    assert (run / METRICS_LOG).read_text() == (trained_run / METRICS_LOG).read_text()


def test_where_none_is_whole_nothing_is_moved_or_begun_again(
    small_config: SmallConfig, tmp_path: Path, trained_run: Path
) -> None:
    config, run = small_config(), tmp_path / "run"
    shutil.copytree(trained_run, run)
    for checkpoint in list_checkpoints(run):
        checkpoint.manifest.write_text("{")
    for _ in range(2):
        with pytest.raises(UserError, match=r"no usable checkpoint \(step_0+6: .*step_0+3: "):
            train(config, run, *pairs_of(config), resume=True)
    assert len(list_checkpoints(run)) == 2


def test_a_plot_that_cannot_be_written_is_said_and_passed_over(
    small_config: SmallConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = small_config(epochs=1), tmp_path / "run"
    (run / PLOT).mkdir(parents=True)
    assert train(config, run, *pairs_of(config)) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {PLOT} was not written (")
    assert [c.step for c in list_checkpoints(run)] == [3]


def test_deterministic_asks_xla_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    words = ["tiny", "--data.path", str(tmp_path / "nowhere"), "--output-dir", str(tmp_path / "run")]
    with pytest.raises(UserError):
        main(words)
    assert "deterministic" not in os.environ["XLA_FLAGS"]
    with pytest.raises(UserError):
        main([*words, "--train.deterministic"])
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=true"


def test_time_limit_stops_with_a_checkpoint(
    small_config: SmallConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(max_minutes=1e-9)
    train(config, tmp_path / "run", *pairs_of(config))
    assert [c.step for c in list_checkpoints(tmp_path / "run")] == [1]
    said = capsys.readouterr().out
    assert "time is up after step 1 of 6" in said
    assert f"python -m jax_impl.train --resume --output-dir {tmp_path / 'run'}\n" in said


def test_weights_of_a_bundle_start_a_new_run(small_config: SmallConfig, tmp_path: Path, trained_run: Path) -> None:
    weights = tmp_path / "model.safetensors"
    bundle.main(["--run", str(trained_run), "--output", str(weights)])
    config = small_config(epochs=1)
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, learning_rate=1e-12, weight_decay=0.0))
    train(config, tmp_path / "warm", *pairs_of(config), init_from=weights)
    before, after = open_run(trained_run).state.ema, open_run(tmp_path / "warm").state.params
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    other = small_config("seed", epochs=1)
    with pytest.raises(UserError, match="use the preset it was trained with"):
        train(other, tmp_path / "other", *pairs_of(other), init_from=weights)
    assert not (tmp_path / "other").exists()


def test_without_held_out_pairs_it_trains_all_the_same(small_config: SmallConfig, tmp_path: Path) -> None:
    config = small_config(epochs=1)
    pairs, held_out = pairs_of(config)
    train(config, tmp_path / "run", pairs, nothing_like(held_out))
    assert "val_loss" not in (tmp_path / "run" / METRICS_LOG).read_text()
    assert (tmp_path / "run" / "training_samples" / "epoch_0001.png").exists()


def test_other_pictures_or_settings_of_the_weights_are_refused(
    small_config: SmallConfig, tmp_path: Path, finished: Path
) -> None:
    config = small_config()
    pairs, held_out = pairs_of(config)
    changed = dataclasses.replace(pairs, x0=pairs.x0 ^ 1)
    with pytest.raises(UserError, match=r"the train pairs are not those that run .*the names are the same"):
        train(config, finished, changed, held_out, resume=True)
    weights = tmp_path / "model.safetensors"
    bundle.main(["--run", str(finished), "--output", str(weights)])
    other = dataclasses.replace(config, diffusion=dataclasses.replace(config.diffusion, prediction="v"))
    with pytest.raises(UserError, match=r"diffusion\.prediction x0, not v"):
        train(other, tmp_path / "run", pairs, held_out, init_from=weights)


def diverging(config: Config, **optim: object) -> Config:
    """The settings with a learning rate after whose first step no loss is finite."""
    settings = {"learning_rate": 1e30, "clip_norm": 0.0} | optim
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, **settings))  # pyright: ignore


def nothing_like(pairs: Pairs) -> Pairs:
    return Pairs((), pairs.cond[:0], pairs.x0[:0])


def test_too_many_skipped_steps_end_the_run_and_leave_its_checkpoints_alone(
    small_config: SmallConfig, tmp_path: Path
) -> None:
    config, run = diverging(small_config(sample_every=0, keep_checkpoints=1), max_skipped=3), tmp_path / "run"
    pairs, held_out = pairs_of(config)
    with pytest.raises(UserError, match=r"step 5 .* number 4 .*max_skipped \(3\).* no checkpoint"):
        train(config, run, pairs, nothing_like(held_out))
    # The only checkpoint that was due, after step 3, came while steps were being skipped.
    assert list_checkpoints(run) == []
    text = (run / METRICS_LOG).read_text()
    assert "NaN" not in text and "Infinity" not in text
    records = read_log(run)
    assert [r["in_a_row"] for r in records if "in_a_row" in r] == [1, 2, 3, 4]
    assert [r["train_loss"] for r in records if "train_loss" in r] == [records[0]["loss"]]
    with pytest.raises(UserError, match=r"validation loss is \w+ after step 3: training has diverged"):
        train(config, tmp_path / "other", pairs, held_out)


def test_a_run_that_skipped_resumes_exactly_and_keeps_what_came_before(
    small_config: SmallConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = diverging(small_config(sample_every=0, keep_checkpoints=1), max_skipped=5)
    pairs, held_out = pairs_of(config)
    nothing = nothing_like(held_out)
    train(config, tmp_path / "unbroken", pairs, nothing)
    assert "5 of 6 steps were skipped: 5 not finite, 0 loss spikes" in capsys.readouterr().out
    short = dataclasses.replace(config, train=dataclasses.replace(config.train, max_minutes=1e-9))
    steps = []
    for _ in range(3):
        train(short, tmp_path / "run", pairs, nothing, resume=bool(steps))
        steps.append([c.step for c in list_checkpoints(tmp_path / "run")])
    assert steps == [[1], [1, 2], [1, 2, 3]], "no save may push out the last one from before"
    fewer = dataclasses.replace(config, optim=dataclasses.replace(config.optim, max_skipped=4))
    with pytest.raises(UserError, match=r"step 6 .* number 5 in a row.*step_00000001 is from before"):
        train(fewer, tmp_path / "run", pairs, nothing, resume=True)
    assert train(config, tmp_path / "run", pairs, nothing, resume=True) == 0
    assert_same_state(tmp_path / "run", tmp_path / "unbroken")
    assert (tmp_path / "run" / METRICS_LOG).read_text() == (tmp_path / "unbroken" / METRICS_LOG).read_text()


def test_what_a_new_run_starts_from_is_saved_before_its_first_step(
    small_config: SmallConfig, tmp_path: Path, trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "model.safetensors"
    bundle.main(["--run", str(trained_run), "--output", str(weights)])
    config = small_config()

    def crash(*args: int) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(feed_module, "batch_indices", crash)
    with pytest.raises(RuntimeError):
        train(config, tmp_path / "run", *pairs_of(config), init_from=weights)
    before, after = open_run(trained_run).state.ema, open_run(tmp_path / "run").state.params
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.undo()
    # Without it the run could only begin again from other weights, which it must not do in silence.
    list_checkpoints(tmp_path / "run")[0].manifest.unlink()
    with pytest.raises(UserError, match="began with the weights of a bundle"):
        train(config, tmp_path / "run", *pairs_of(config), resume=True)


def test_a_run_that_crashed_before_its_first_checkpoint_begins_again(
    small_config: SmallConfig, tmp_path: Path, trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run, batch_indices = small_config(), tmp_path / "run", feed_module.batch_indices

    def crash(seed: int, step: int, *more: int) -> np.ndarray:
        if step == 2:
            raise RuntimeError("power cut")
        return batch_indices(seed, step, *more)

    monkeypatch.setattr(feed_module, "batch_indices", crash)
    with pytest.raises(RuntimeError):
        train(config, run, *pairs_of(config))
    monkeypatch.undo()
    assert list_checkpoints(run) == [] and read_log(run)
    assert train(config, run, *pairs_of(config), resume=True) == 0
    assert_same_state(run, trained_run)
    assert (run / METRICS_LOG).read_text() == (trained_run / METRICS_LOG).read_text()


TINY_WORDS = ["tiny", "--data.synthetic-pairs", "2", "--data.synthetic-val-pairs", "1"]


def test_a_folder_with_a_run_is_not_overwritten(finished: Path) -> None:
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        main([*TINY_WORDS, "--output-dir", str(finished)])


def test_resume_with_another_preset_is_refused(finished: Path) -> None:
    with pytest.raises(UserError, match="resume with its own configuration"):
        main([*TINY_WORDS, "--resume", "--output-dir", str(finished)])


def test_resume_and_init_from_exclude_each_other(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exclude each other"):
        main(["--resume", "--output-dir", str(finished), "--init-from", str(tmp_path / "m.safetensors")])


def test_tensorboard_that_is_not_installed_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match="needs tensorboardX; `pip install tensorboardX`"):
        main(["tiny", "--train.tensorboard", "--output-dir", str(tmp_path / "run")])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_data_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        main(["tiny", "--data.path", str(tmp_path / "nowhere"), "--output-dir", str(tmp_path / "run")])
    assert list(tmp_path.iterdir()) == []


def test_an_output_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(UserError, match="is a file"):
        main([*TINY_WORDS, "--output-dir", str(tmp_path / "f")])


def test_a_finished_run_says_so_and_goes_on_where_more_epochs_are_asked_for(
    small_config: SmallConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(epochs=1)
    config = replace(config, optim=replace(config.optim, schedule="cosine"))
    pairs, run = pairs_of(config), tmp_path / "run"
    train(config, run, *pairs)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert train(config, run, *pairs, resume=True) == 0
    said = capsys.readouterr().out
    assert f"run {run} is finished after step {int(open_run(run).state.step)} (1 epochs of " in said
    assert "resume with --train.epochs above 1" in said and "--init-from" in said
    assert "digests" not in said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    longer = replace(config, train=replace(config.train, epochs=2))
    assert train(longer, run, *pairs, resume=True) == 0
    rates = [record["learning_rate"] for record in read_log(run) if "learning_rate" in record]
    half = len(rates) // 2
    short, whole = (learning_rate(config.optim, half, total) for total in (half, len(rates)))
    expected = [float((short if step < half else whole)(step)) for step in range(len(rates))]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_a_dry_run_says_what_the_run_would_take_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As in tests/end_to_end/test_bare_host.py, which has compiled it, or will not have to.
    words = ["tiny", *SMALL, "--data.synthetic-pairs", "8", "--data.synthetic-val-pairs", "2"]
    main([*words, "--output-dir", str(tmp_path / "run"), "--dry-run"])
    parameters, memory, step, run = capsys.readouterr().out.splitlines()[-4:]
    assert int(parameters.split()[1].replace(",", "")) > 1000
    assert "pictures 0.0 MiB" in memory and "pairs/s" in step
    assert " 2 steps, " in run
    main([*words, "--output-dir", str(tmp_path / "run"), "--dry-run", "--train.minutes", "0.5"])
    step, run = capsys.readouterr().out.splitlines()[-2:]
    fitting = int(run.split()[2].replace(",", "")) * float(step.split()[2]) / 1000
    assert fitting == pytest.approx(30.0, rel=0.1)
    assert list(tmp_path.iterdir()) == []
