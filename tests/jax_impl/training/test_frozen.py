"""Training with loss terms that look through frozen networks: toy runs of both stages, parts of a batch, refusals."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from export.edge.errors import UserError
from jax_impl import sample
from jax_impl.config.arguments import parse
from jax_impl.config.as_json import from_json, to_json
from jax_impl.config.tree import Config, OptimConfig
from jax_impl.data.loader import Pairs
from jax_impl.diffusion.losses.clip import ClipConfig
from jax_impl.diffusion.losses.colour import ColourConfig
from jax_impl.diffusion.losses.frozen import FrozenTermConfig
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.lpips import LpipsConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.runs.folder import check_resume, open_run
from jax_impl.train import start, train
from jax_impl.training.frozen import Given
from jax_impl.training.interfaces import Batch
from jax_impl.training.objective import Problem
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.report import METRICS_LOG, read_log
from jax_impl.training.stages.realism_config import RealismStageConfig
from jax_impl.training.stages.registry import DenoisingStageConfig
from jax_impl.training.state import create, to_arrays
from jax_impl.training.step import make_train_step
from tests.jax_impl.training.conftest import StopAt
from tests.torch_ref.clip_networks import random_clip, write_clip
from tests.torch_ref.perceptual_networks import random_alexnet, write_lpips
from torch_ref.frozen import open_saved, save

SmallConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def lpips_file(once: Callable[..., Path]) -> Path:
    return (
        once("lpips_weights", lambda folder: write_lpips(folder, random_alexnet((2, 3, 3, 2, 2)))) / "lpips.safetensors"
    )


@pytest.fixture(scope="module")
def clip_file(once: Callable[..., Path]) -> Path:
    return once("clip_file", lambda folder: write_clip(folder, random_clip(blocks=1))) / "clip.safetensors"


@pytest.fixture(scope="module")
def terms(lpips_file: Path, clip_file: Path) -> tuple[FrozenTermConfig, ...]:
    return (
        LpipsConfig(file=str(lpips_file), weighting="uniform", size=32, weight=0.5),
        ClipConfig(file=str(clip_file), weighting="uniform", directional=0.5, weight=0.2),
    )


@pytest.fixture(scope="module")
def config(small_config: SmallConfig, terms: tuple[FrozenTermConfig, ...]) -> Config:
    return dataclasses.replace(
        small_config(epochs=1, sample_steps=1),
        diffusion=OnePassConfig(),
        losses=(HybridConfig(), *terms),
        stages=(DenoisingStageConfig(), RealismStageConfig(losses=(ColourConfig(), *terms))),
    )


def test_both_stages_train_on_the_terms(unbroken: Path, terms: tuple[FrozenTermConfig, ...]) -> None:
    log = read_log(unbroken)
    steps = [record for record in log if "grad_norm" in record]
    assert [record.get("stage", 0) for record in steps] == [0] * 3 + [1] * 3
    for record in steps:
        first = "hybrid" if record.get("stage", 0) == 0 else "colour"
        total = record[first] + sum(term.weight * record[term.term] for term in terms)
        assert record["loss"] == pytest.approx(total, rel=1e-5)
        assert all(record[term.term] > 1e-4 for term in terms)
    assert all(record["val_loss"] > 0.0 for record in log if "val_loss" in record)


def test_a_killed_run_resumes_to_the_bit(
    config: Config, pairs: tuple[Pairs, Pairs], unbroken: Path, tmp_path: Path, stop_at: StopAt
) -> None:
    """Stopped in the second stage."""
    with stop_at(5):
        assert train(config, tmp_path / "run", *pairs) == signal.SIGTERM
    assert train(config, tmp_path / "run", *pairs, resume=True) == 0
    left, right = (to_arrays(open_run(run).state) for run in (tmp_path / "run", unbroken))
    assert left.keys() == right.keys() and not any("features" in name for name in left)
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
    assert (tmp_path / "run" / METRICS_LOG).read_text() == (unbroken / METRICS_LOG).read_text()


def test_a_trained_run_needs_the_files_no_more(unbroken: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def gone(self: FrozenTermConfig) -> NoReturn:
        raise AssertionError("nothing but training looks through them")

    monkeypatch.setattr(FrozenTermConfig, "frozen", gone)
    photo = tmp_path / "photo.png"
    Image.new("RGB", (16, 16), "navy").save(photo)
    sample.main(["--run", str(unbroken), "--input", str(photo), "--output", str(tmp_path / "sunset.png")])
    assert (tmp_path / "sunset.png").exists()


def test_a_batch_in_parts_has_the_gradient_of_the_whole(
    small_config: SmallConfig, pairs: tuple[Pairs, Pairs], terms: tuple[FrozenTermConfig, ...]
) -> None:
    """They are means over pictures. The frozen weights are an argument of the program, which can be looked at."""
    found = []
    for parts in (1, 2):
        config = dataclasses.replace(
            small_config(batch_size=4), losses=terms[:1], optim=OptimConfig(accumulate=parts, clip_norm=0.0)
        )
        network, state = create(config, make_optimizer(config.optim, learning_rate(config.optim, 3, 3)))
        step = make_train_step(Problem.of(network, config), 3)
        assert isinstance(step, Given)
        given = Batch(jnp.asarray(pairs[0].cond), jnp.asarray(pairs[0].x0)), jnp.arange(4), 3
        compiled = step.lower(state, *given).compile()
        assert compiled.memory_analysis() is not None
        found.append(compiled(state, *given))
    (first, metrics), (second, in_parts) = found
    assert float(metrics["loss"]) == pytest.approx(float(in_parts["loss"]), rel=1e-5)
    assert float(metrics["grad_norm"]) == pytest.approx(float(in_parts["grad_norm"]), rel=1e-3) != 0.0
    assert first.step == second.step == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"file": ""}, r"losses.lpips.file is '': name the network's weights; `python -m torch_ref.*BSD 2-Clause"),
        ({"weighting": "snr"}, "losses.lpips.weighting is 'snr': one pass has no noise level to go by; choose uniform"),
        ({"largest_t": 400}, "losses.lpips.largest_t is 400: one pass has no noise level to go by; choose none"),
        ({"largest_t": -1}, "losses.lpips.largest_t is -1: choose 0 or more, or none"),
        ({"size": None}, "losses.lpips.size is None: pictures of 16 pixels are too small for LPIPS; choose a size"),
        ({"size": 8}, "losses.lpips.size is 8: choose 31 to 1024, or none"),
    ],
)
def test_settings_that_cannot_be(config: Config, lpips_file: Path, settings: dict, message: str) -> None:
    working = {"file": str(lpips_file), "weighting": "uniform", "size": 32}
    with pytest.raises(UserError, match=message):
        dataclasses.replace(config, losses=(LpipsConfig(**working | settings),))


def test_a_share_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"losses.clip.directional is 1.5: it is a share"):
        ClipConfig(directional=1.5)


def test_a_file_that_is_not_there_ends_the_command_before_it_writes(tmp_path: Path) -> None:
    words = '{"term": "lpips", "file": "gone.safetensors"}'
    args = parse(["tiny", "--losses", "hybrid", words, "--output-dir", str(tmp_path / "run")])
    with pytest.raises(UserError, match=r"losses.lpips.file gone.safetensors does not exist; `python.*vgg16-397923af"):
        start(args)
    assert not list(tmp_path.iterdir())


def test_the_file_may_have_moved_when_a_run_is_resumed(config: Config, lpips_file: Path) -> None:
    moved = dataclasses.replace(
        config,
        losses=tuple(
            dataclasses.replace(term, file="elsewhere.safetensors") if isinstance(term, FrozenTermConfig) else term
            for term in config.losses
        ),
    )
    assert check_resume(config, moved) == []


def test_other_weights_than_those_of_the_run_are_refused(
    config: Config, pairs: tuple[Pairs, Pairs], unbroken: Path, clip_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(unbroken, tmp_path / "run")
    weights = {name: value.numpy() for name, value in open_saved(clip_file, "clip", "file").items()}
    save(tmp_path / "other.safetensors", weights | {"ln_pre.bias": 2.0 * weights["ln_pre.bias"]}, "clip")
    losses = (*config.losses[:2], dataclasses.replace(config.losses[2], file=str(tmp_path / "other.safetensors")))
    with pytest.raises(UserError, match="weights that the loss terms look through are not those that run"):
        train(dataclasses.replace(config, losses=losses), tmp_path / "run", *pairs, resume=True)
    assert train(config, tmp_path / "run", *pairs, resume=True) == 0  # It was finished.


def test_settings_as_they_are_stored(config: Config) -> None:
    assert from_json(to_json(config)) == config
