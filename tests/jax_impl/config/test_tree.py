"""Settings refuse what cannot work, and survive the way through JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.edge.errors import UserError
from jax_impl.config.as_json import from_json, to_json, with_settings
from jax_impl.config.data import AugmentConfig, DataConfig
from jax_impl.config.presets import PRESETS, tiny
from jax_impl.config.tree import Config, DiffusionConfig, OptimConfig, TrainConfig
from jax_impl.diffusion.flow import FlowConfig
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    config = PRESETS[name]()
    assert from_json(to_json(config)) == config


@given(
    learning_rate=st.floats(1e-8, 1.0),
    clamp=st.none() | st.floats(1.0, 10.0),
    multipliers=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    flip=st.floats(0.0, 1.0),
)
def test_any_valid_settings_survive_json(
    learning_rate: float, clamp: float | None, multipliers: list[int], flip: float
) -> None:
    config = Config(
        data=DataConfig(augment=AugmentConfig(flip=flip)),
        model=UNetModelConfig(multipliers=tuple(multipliers)),
        diffusion=DiffusionConfig(clamp=clamp),
        optim=OptimConfig(learning_rate=learning_rate),
    )
    assert from_json(to_json(config)) == config


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"optim\.learning_rat is not a setting; did you mean config\.optim\.learning_rate"
    ):
        from_json('{"optim": {"learning_rat": 1}}')


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "not JSON"),
        ("[]", "object of settings"),
        ('{"train": 3}', "config.train is 3"),
        ('{"train": {"epochs": "ten"}}', "type int"),
        ('{"train": {"epochs": true}}', "type int"),
        ('{"train": {"tensorboard": 1}}', "type bool"),
        ('{"data": {"fit": "zoom"}}', "crop, letterbox, stretch"),
        ('{"model": {"architecture": "vit"}}', "seed, unet"),
        ('{"model": {"architecture": "unet", "multipliers": ["a"]}}', "type int"),
        ('{"model": {"architecture": "unet", "resample": "fir"}}', "learned, fixed"),
        ('{"model": {"architecture": "unet", "time_modulation": "gate"}}', "scale_shift, add"),
        ('{"model": {"architecture": "unet", "compute_dtype": "float16"}}', "float32, bfloat16"),
        ('{"train": {"epochs": 0}}', "train.epochs is 0"),
    ],
)
def test_bad_json_is_one_line(text: str, part: str) -> None:
    with pytest.raises(UserError) as error:
        from_json(text)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_keys_take_their_defaults() -> None:
    assert from_json("{}") == Config()
    assert from_json('{"train": {"epochs": 7}}') == Config(train=TrainConfig(epochs=7))


def test_settings_older_than_spacing_and_threshold_mean_what_they_meant() -> None:
    old = json.loads(to_json(Config()))
    del old["diffusion"]["spacing"], old["diffusion"]["threshold"]
    config = from_json(json.dumps(old))
    assert (config.diffusion.spacing, config.diffusion.threshold) == ("trailing", 0.0)


def test_settings_of_before_there_were_processes_and_losses() -> None:
    older = {"diffusion": {"prediction": "v", "mae_weight": 0.0, "loss_weight": "min_snr", "snr_gamma": 3}}
    config = from_json(json.dumps(older))
    assert config.diffusion == DiffusionConfig(prediction="v") and config.diffusion.process == "gaussian"
    assert config.losses == (HybridConfig(mae_weight=0.0, weighting="min_snr", snr_gamma=3.0),)
    assert from_json('{"diffusion": {"mae_weight": 0.3}}').losses == (HybridConfig(mae_weight=0.3),)
    assert from_json("{}") == Config()
    with pytest.raises(UserError, match=r"diffusion\.loss_weight is not a setting"):
        from_json('{"diffusion": {"loss_weight": "uniform"}, "losses": [{"term": "hybrid"}]}')


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"losses": []}', "losses is ()"),
        ('{"losses": "hybrid"}', "config.losses is 'hybrid'"),
        ('{"losses": [["hybrid"]]}', "config.losses.term is None: choose one of adversarial"),
        ('{"losses": ["structure"]}', "config.losses.term is 'structure': choose one of adversarial, anchor"),
        ('{"losses": [{"term": "hybrid", "weighting": "p2"}]}', "uniform, min_snr"),
        (
            '{"diffusion": {"process": "rectified"}}',
            "config.diffusion.process is 'rectified': choose one of bridge, flow",
        ),
        ('{"diffusion": {"process": ["gaussian"]}}', "choose one of bridge, flow, gaussian"),
    ],
)
def test_unknown_terms_and_processes_are_named(text: str, part: str) -> None:
    with pytest.raises(UserError) as error:
        from_json(text)
    assert part in str(error.value)


def test_size_must_fit_the_network() -> None:
    with pytest.raises(UserError, match=r"data\.size is 100: this model needs a multiple of 8, such as 96"):
        Config(data=DataConfig(size=100), model=SeedModelConfig())
    assert UNetModelConfig(patch=4, multipliers=(1, 2, 3)).size_multiple == 16


@pytest.mark.parametrize("crop", [-16, 12, 144])
def test_crops_must_fit_the_network_and_the_pictures(crop: int) -> None:
    message = rf"data\.crop_size is {crop}: choose a multiple of 16 up to data\.size \(128\), or 0 for whole pictures"
    model = UNetModelConfig(patch=4, multipliers=(1, 2, 3))
    with pytest.raises(UserError, match=message):
        Config(data=DataConfig(crop_size=crop), model=model)
    for good in (0, 16, 128):
        Config(data=DataConfig(crop_size=good), model=model)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: AugmentConfig(flip=1.5), "data.augment.flip"),
        (lambda: AugmentConfig(hue=0.6), "data.augment.hue"),
        (lambda: DataConfig(path=""), "data.path"),
        (lambda: DataConfig(val_share=1.0), "data.val_share"),
        (lambda: UNetModelConfig(patch=3), "model.patch"),
        (lambda: UNetModelConfig(width=20, groups=8), "model.width"),
        (lambda: UNetModelConfig(attention_levels=(3,)), "model.attention_levels"),
        (lambda: UNetModelConfig(attention_levels=(1, 1)), "model.attention_levels"),
        (lambda: UNetModelConfig(attention_levels=(1,), head_channels=36), "model.head_channels"),
        (lambda: UNetModelConfig(attention_levels=(0,), head_channels=0), "model.head_channels"),
        (lambda: UNetModelConfig(cross_attention=True), "model.cross_attention"),
        (lambda: UNetModelConfig(dropout=1.0), "model.dropout"),
        (lambda: DiffusionConfig(beta_min=0.5, beta_max=0.4), "diffusion.beta_min"),
        (lambda: DiffusionConfig(sample_steps=2000), "diffusion.sample_steps"),
        (lambda: DiffusionConfig(clamp=0.5), "diffusion.clamp"),
        (lambda: DiffusionConfig(threshold=1.1), "diffusion.threshold"),
        (lambda: DiffusionConfig(threshold=0.9, clamp=None), "diffusion.threshold"),
        (lambda: OptimConfig(learning_rate=0.0), "optim.learning_rate"),
        (lambda: OptimConfig(ema_decay=1.0), "optim.ema_decay"),
        (lambda: OptimConfig(ema_decay=0.9, more_ema_decays=(0.9,)), "optim.more_ema_decays"),
        (lambda: OptimConfig(more_ema_decays=(1.0,)), "optim.more_ema_decays"),
        (lambda: OptimConfig(max_skipped=-1), "optim.max_skipped"),
        (lambda: OptimConfig(spike_factor=1.0), "optim.spike_factor"),
        (lambda: DataConfig(max_bad_share=1.5), "data.max_bad_share"),
        (lambda: HybridConfig(snr_gamma=0.0), "losses.hybrid.snr_gamma"),
        (lambda: Config(losses=()), "losses"),
        (lambda: Config(losses=(HybridConfig(mae_weight=float("nan")),)), "losses.hybrid.mae_weight"),
        (lambda: DiffusionConfig(cond_dropout=1.0), "diffusion.cond_dropout"),
        (lambda: DiffusionConfig(guidance=1.5), "diffusion.cond_dropout"),
        (lambda: TrainConfig(batch_size=0), "train.batch_size"),
        (lambda: TrainConfig(seed=-1), "train.seed"),
        (lambda: UNetModelConfig(width=10**9, groups=8), "model.width"),
        (lambda: UNetModelConfig(multipliers=(1,) * 9), "model.multipliers"),
        (lambda: Config(train=TrainConfig(max_minutes=float("inf"))), "train.max_minutes"),
        (lambda: Config(optim=OptimConfig(learning_rate=float("inf"))), "optim.learning_rate"),
    ],
)
def test_each_refusal_names_its_field(make, name: str) -> None:
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        make()


def test_the_preset_named_seed_holds_the_original_numbers() -> None:
    config = PRESETS["seed"]()
    assert (config.data.size, config.data.repeats, config.train.batch_size, config.train.epochs) == (128, 20, 2, 50)
    assert (config.diffusion.timesteps, config.diffusion.prediction) == (1000, "eps")
    assert config.losses == (HybridConfig(mae_weight=0.1, weighting="uniform"),)
    assert (config.optim.learning_rate, config.optim.weight_decay, config.optim.clip_norm) == (1e-4, 0.01, 1.0)
    assert (config.optim.schedule, config.optim.decay_epochs, config.optim.decay_factor) == ("step", 100, 0.5)
    assert config.train.checkpoint_every == 10
    augment = config.data.augment
    assert (augment.flip, augment.jitter_probability, augment.rotation) == (0.5, 0.8, 10.0)
    assert (augment.brightness, augment.contrast, augment.saturation, augment.hue) == (0.2, 0.2, 0.2, 0.1)
    assert (augment.perspective, augment.perspective_probability) == (0.2, 0.5)
    assert json.loads(to_json(config))["model"]["output_activation"] == "none"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"diffusion.process": "flow"}, FlowConfig()),
        ({"diffusion.sample_steps": 3, "diffusion.process": "flow"}, FlowConfig(sample_steps=3)),
        ({"diffusion.process": "gaussian"}, tiny().diffusion),
    ],
)
def test_a_change_of_kind_leaves_nothing_of_the_kind_before(changes: dict, expected: object) -> None:
    changed = with_settings(tiny(), {**changes, "train.epochs": 3})
    assert changed == replace(tiny(), diffusion=expected, train=replace(tiny().train, epochs=3))


def test_a_change_below_what_has_no_parts_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.epochs\.x is not a setting: epochs has no parts"):
        with_settings(tiny(), {"train.epochs.x": 3})
