"""The stage `autoencoder` and a stage in its states: trained, interrupted, resumed, bundled; and what they refuse."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.model.codec import CODEC
from export.edge.model.layout import BUNDLE
from jax_impl import bundle, sample
from jax_impl.config.tree import Config
from jax_impl.data.loader import Pairs
from jax_impl.diffusion.losses.adversarial import AdversarialConfig
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.texture import TextureConfig
from jax_impl.model.codec import codec_of
from jax_impl.model.latent import LatentCodecConfig
from jax_impl.model.network import flatten
from jax_impl.runs.bundles import open_bundle, read_bundle
from jax_impl.runs.folder import open_run
from jax_impl.train import train
from jax_impl.training.interfaces import Batch
from jax_impl.training.report import read_log
from jax_impl.training.stages.autoencoder import itself
from jax_impl.training.stages.autoencoder_config import AutoencoderStageConfig
from jax_impl.training.stages.registry import DenoisingStageConfig
from jax_impl.training.state import to_arrays
from tests.jax_impl.training.conftest import StopAt

TERMS = (
    HybridConfig(mae_weight=1.0),
    TextureConfig(directions=4),
    AdversarialConfig(weight=0.1, width=2, penalty_every=2),
)


@pytest.fixture(scope="module")
def config(small_config: Callable[..., Config]) -> Config:
    plain = small_config(epochs=1)
    return dataclasses.replace(
        plain,
        codec=LatentCodecConfig(factor=4, channels=3, patch=2, width=4, blocks=1),
        model=dataclasses.replace(plain.model, patch=1),
        diffusion=dataclasses.replace(plain.diffusion, clamp=None),
        stages=(AutoencoderStageConfig(losses=TERMS), DenoisingStageConfig(epochs=2)),
    )


def test_the_codec_is_trained_measured_and_kept(unbroken: Path, config: Config, pairs: tuple[Pairs, Pairs]) -> None:
    log = [record for record in read_log(unbroken) if "loss" in record]
    assert {"mse", "texture", "adversarial", "discriminator"} <= log[0].keys()
    assert [record.get("stage", 0) for record in log] == [0] * 3 + [1] * 6
    held = read_bundle(unbroken / BUNDLE).networks
    assert held.keys() == {"denoiser", CODEC}
    # The stage after it has not touched it.
    state = open_run(unbroken).state
    for name, leaf in flatten(state.codec).items():
        np.testing.assert_array_equal(leaf, held[CODEC][name], err_msg=name)
    # Batches hold the pairs in equal numbers, so the statistics are those of all training pictures.
    both = np.concatenate([pairs[0].cond, pairs[0].x0]).astype(np.float32) / 127.5 - 1
    states = np.asarray(config.codec.apply(state.codec).encode(jnp.asarray(both))).reshape(-1, 3)  # type: ignore[attr-defined]
    np.testing.assert_allclose(held[CODEC]["statistics.mean"], states.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(held[CODEC]["statistics.std"], states.std(axis=0), rtol=1e-3)


# The stage that trains the codec is that of `realism` inside, whose resuming has a test.
@pytest.mark.parametrize("batch", [pytest.param(2, marks=pytest.mark.slow), 5])
def test_a_killed_run_resumes_to_the_bit(
    batch: int,
    config: Config,
    pairs: tuple[Pairs, Pairs],
    unbroken: Path,
    tmp_path: Path,
    stop_at: StopAt,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stopped in the first stage, and in the second."""
    with stop_at(batch):
        assert train(config, tmp_path / "run", *pairs) == signal.SIGTERM
    stopped = open_run(tmp_path / "run")
    assert stopped.index == (0 if batch == 2 else 1)
    if stopped.index == 0:
        assert not (tmp_path / "run" / BUNDLE).exists()
        assert "is not written yet: the stage autoencoder trains no denoiser" in "".join(capsys.readouterr())
        with pytest.raises(UserError, match="the checkpoint is of stage 0, autoencoder, which trains no denoiser"):
            sample.main(["--run", str(tmp_path / "run"), "--input", __file__, "--output", str(tmp_path / "o.png")])
    assert train(config, tmp_path / "run", *pairs, resume=True) == 0
    found, wanted = (to_arrays(open_run(run).state) for run in (tmp_path / "run", unbroken))
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)


def test_a_run_and_its_bundle_are_the_same_model(unbroken: Path, config: Config) -> None:
    problem, params, _ = open_bundle(unbroken / BUNDLE)
    trained = open_run(unbroken)
    cond = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)), jnp.float32)
    states = [codec_of(each.config.codec).encode(cond) for each in (problem, trained.problem)]
    np.testing.assert_array_equal(*states)
    assert not problem.others and flatten(params).keys() == read_bundle(unbroken / BUNDLE).weights.keys()


def test_a_bundle_may_have_another_average(unbroken: Path, tmp_path: Path) -> None:
    words, path = ["--run", str(unbroken), "--output", str(tmp_path / "other.safetensors")], tmp_path / "o.safetensors"
    bundle.main([*words, "--ema-decay", "0.2"])
    chosen, usual = (read_bundle(file).networks for file in (tmp_path / "other.safetensors", unbroken / BUNDLE))
    assert any((chosen["denoiser"][name] != leaf).any() for name, leaf in usual["denoiser"].items())
    assert all((chosen[CODEC][name] == leaf).all() for name, leaf in usual[CODEC].items())
    with pytest.raises(UserError, match=r"--optimizer goes with .* not with that of denoising in a codec's states"):
        bundle.main([*words, "--optimizer", str(path)])
    assert not path.exists()


def test_training_goes_on_with_the_codec_of_a_bundle(
    unbroken: Path, config: Config, pairs: tuple[Pairs, Pairs], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="names weights that have one; add --stages denoising"):
        train(config, tmp_path / "run", *pairs, init_from=unbroken / BUNDLE)
    alone = dataclasses.replace(config, stages=(DenoisingStageConfig(epochs=1),))
    with pytest.raises(UserError, match="the codec latent has no weights: add --init-from"):
        train(alone, tmp_path / "run", *pairs)
    assert train(alone, tmp_path / "run", *pairs, init_from=unbroken / BUNDLE) == 0
    old, new = (read_bundle(run / BUNDLE).networks for run in (unbroken, tmp_path / "run"))
    assert all((old[CODEC][name] == leaf).all() for name, leaf in new[CODEC].items())
    assert any((old["denoiser"][name] != leaf).any() for name, leaf in new["denoiser"].items())


def test_each_step_takes_the_other_side_of_a_pair() -> None:
    pairs = Batch(*(jnp.full((4, 2, 2, 3), value, jnp.uint8) for value in (1, 2)))
    shown = [itself(pairs, None, jnp.asarray(step, jnp.int32)) for step in (0, 1)]
    assert [batch.cond[:, 0, 0, 0].tolist() for batch in shown] == [[1, 2, 1, 2], [2, 1, 2, 1]]
    assert all((batch.cond == batch.x0).all() for batch in shown)
    some = itself(pairs, jnp.array([0, 3], jnp.int32), jnp.asarray(0, jnp.int32))
    assert some.x0.shape == (2, 2, 2, 3)


def test_stages_that_do_not_go_together_are_refused(config: Config) -> None:
    alone = dataclasses.replace(config, codec=type(Config().codec)(), stages=(DenoisingStageConfig(),))
    with pytest.raises(UserError, match="codec is 'identity': the stage autoencoder trains a codec with weights"):
        dataclasses.replace(alone, stages=config.stages)
    with pytest.raises(UserError, match=r"stages is 'autoencoder': .* trains no denoiser; name denoising after it"):
        dataclasses.replace(config, stages=config.stages[:1])
    with pytest.raises(UserError, match=r"stages\.autoencoder\.learning_rate is 0\.0"):
        AutoencoderStageConfig(learning_rate=0.0)
