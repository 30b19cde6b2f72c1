"""The stage `autoencoder` and a stage in its states: trained, interrupted, resumed, bundled; and what they refuse."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.model.codec import CODEC
from export.edge.model.layout import BUNDLE
from jax_impl import bundle, sample
from jax_impl.bench.flops import equations
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.diffusion.losses.adversarial import AdversarialConfig
from jax_impl.diffusion.losses.anchor import AnchorConfig
from jax_impl.diffusion.losses.colour import ColourConfig
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.laplacian import LaplacianConfig
from jax_impl.diffusion.losses.texture import TextureConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.model import discriminator
from jax_impl.model.codec import codec_of
from jax_impl.model.latent import LatentCodecConfig
from jax_impl.model.learned_codec import STATISTICS
from jax_impl.model.network import flatten
from jax_impl.runs.bundles import open_bundle, read_bundle
from jax_impl.runs.folder import open_run
from jax_impl.train import train
from jax_impl.training.batches import Drawn, to_unit
from jax_impl.training.interfaces import Batch, GaugedStage
from jax_impl.training.mesh import single_device
from jax_impl.training.report import read_log
from jax_impl.training.stages import autoencoder
from jax_impl.training.stages.autoencoder import AutoencoderStage, itself
from jax_impl.training.stages.autoencoder_config import AutoencoderStageConfig
from jax_impl.training.stages.latents import stage_of
from jax_impl.training.stages.overfitting import OVERFITTING
from jax_impl.training.stages.realism_config import RealismStageConfig
from jax_impl.training.stages.realism_step import both_gradients, scores_of
from jax_impl.training.stages.registry import DenoisingStageConfig
from jax_impl.training.state import to_arrays
from jax_impl.training.step import mean_over_parts
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


def first_of(config: Config) -> AutoencoderStageConfig:
    own = config.stages[0]
    assert isinstance(own, AutoencoderStageConfig)
    return own


def codec_of_stage(config: Config) -> LatentCodecConfig:
    assert isinstance(config.codec, LatentCodecConfig)
    return config.codec


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
    # Of all training pictures.
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


def test_statistics_count_each_pair_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """5 pairs in batches of 4, in memory or read; of more pairs than are looked at, some that are evenly apart."""
    both = np.random.default_rng(0).integers(0, 256, (2, 5, 16, 16, 3), np.uint8)
    names = tuple("abcde")
    lazy = LazyPairs(names, 16, lambda i: (both[0, i], both[1, i]), lambda: "")
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=4))
    stage = AutoencoderStage(first_of(config), config)
    state = stage.init({}, jax.random.key(0))

    def assert_statistics(pairs: Pairs | LazyPairs, rows: list[int]) -> None:
        weights = stage.publish(state, lambda: pairs)[CODEC][0]
        pictures = both[:, rows].reshape(-1, 16, 16, 3).astype(np.float32) / 127.5 - 1
        states = np.asarray(codec_of_stage(config).apply(weights).encode(jnp.asarray(pictures)), np.float64)
        np.testing.assert_allclose(weights[STATISTICS]["mean"], states.mean(axis=(0, 1, 2)), atol=2e-6)
        np.testing.assert_allclose(weights[STATISTICS]["std"], states.std(axis=(0, 1, 2)), rtol=2e-5)

    for pairs in (Pairs(names, both[0], both[1]), lazy):
        assert_statistics(pairs, [0, 1, 2, 3, 4])
    monkeypatch.setattr(autoencoder, "STATISTICS_BATCHES", 1)
    assert_statistics(lazy, [0, 1, 2, 3])


@pytest.mark.parametrize("adversary", [False, True])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(config: Config, adversary: bool) -> None:
    """Of terms with a value for each picture; the step itself passes no more pictures at once than a part has."""
    terms = (HybridConfig(mae_weight=1.0), LaplacianConfig(), ColourConfig(side=4))
    terms += (dataclasses.replace(TERMS[2], augment=False, penalty_every=1),) if adversary else ()
    optim, own = dataclasses.replace(config.optim, accumulate=2), AutoencoderStageConfig(losses=terms)
    config = dataclasses.replace(config, optim=optim, stages=(own, config.stages[1]))
    stage = AutoencoderStage(own, config)
    state = stage.init({}, jax.random.key(0))
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    step, pairs = stage.make_step(1, single_device()), Batch(pictures, pictures[::-1])
    program = jax.make_jaxpr(lambda state: step(state, pairs, None, 1))(state)
    images = [e.invars[0].aval.shape for e in equations(program.jaxpr) if e.primitive.name == "conv_general_dilated"]
    # The discriminator gets the real and the generated pictures of a part together.
    most = 4 if adversary else 2
    assert max(shape[0] for shape in images if shape[1:3] in ((16, 16), (8, 8))) == most

    inner = stage._plain
    x0 = to_unit(pictures)
    drawn = Drawn(x0, x0, jnp.zeros(4, jnp.int32), jnp.zeros_like(x0))
    weights, adversarial = state.discriminator, own.adversary()
    scores = None if adversarial is None else scores_of(inner.problem, adversarial, weights)
    aux = {"progress": 0.0, "mean": ({}, {}), "discriminator": scores}
    # Where nothing is at zero any more: fresh last convolutions start there.
    params = jax.tree.map(
        lambda leaf: leaf + 0.02 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), state.network.params
    )
    part_of = partial(both_gradients, inner.problem, adversarial, (params, weights), aux)
    found = [jax.jit(partial(mean_over_parts, part_of, n, {}))(drawn, jax.random.key(1)) for n in (1, 2)]
    whole, parts = (jax.tree.leaves(each[1]) for each in found)
    assert len(whole) == len(parts)
    for wanted, got in zip(whole, parts, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_realism_goes_on_in_the_states_and_is_gauged(
    unbroken: Path, config: Config, pairs: tuple[Pairs, Pairs], tmp_path: Path
) -> None:
    terms = (TERMS[1], TERMS[2], AnchorConfig(weight=0.3))
    alone = dataclasses.replace(
        config,
        diffusion=OnePassConfig(clamp=None),
        train=dataclasses.replace(config.train, sample_steps=1),
        stages=(RealismStageConfig(epochs=1, losses=terms),),
    )
    assert train(alone, tmp_path / "run", *pairs, init_from=unbroken / BUNDLE) == 0
    log = read_log(tmp_path / "run")
    assert {"texture", "anchor", "from_mean", "adversarial", "discriminator"} <= log[0].keys()
    (end,) = [record for record in log if "val_loss" in record]
    assert {OVERFITTING, "score_training", "score_held_out", "score_generated"} <= end.keys()
    old, new = (read_bundle(run / BUNDLE).networks for run in (unbroken, tmp_path / "run"))
    assert all((old[CODEC][name] == leaf).all() for name, leaf in new[CODEC].items())
    assert any((old["denoiser"][name] != leaf).any() for name, leaf in new["denoiser"].items())
    # The figures are of states: scores of the pairs, encoded, by the discriminator of the last step.
    state = open_run(tmp_path / "run").state
    codec = codec_of(codec_of_stage(alone).filled(state.codec))
    cond, x0 = (codec.encode(to_unit(side)) for side in (pairs[1].cond, pairs[1].x0))
    wanted = discriminator.scores(3, TERMS[2].width, state.own.discriminator, x0, cond).mean()
    assert end["score_held_out"] == pytest.approx(float(wanted), rel=1e-4, abs=1e-6)
    stage = stage_of(alone, 0)
    assert isinstance(stage, GaugedStage) and not isinstance(stage_of(config, 1), GaugedStage)
    assert "by heart" in (stage.warning({OVERFITTING: 0.9}) or "")


def test_one_remedy_for_weights_without_a_codec(
    trained_run: Path, config: Config, pairs: tuple[Pairs, Pairs], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"of a network that fits no such codec; leave out --init-from$"):
        train(config, tmp_path / "run", *pairs, init_from=trained_run / BUNDLE)
    assert not (tmp_path / "run" / "config.json").exists()
