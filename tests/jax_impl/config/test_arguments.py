"""The command line of training means what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from export.edge.errors import UserError
from jax_impl.config.arguments import parse
from jax_impl.config.as_json import with_settings
from jax_impl.config.command import OTHER_NAMES
from jax_impl.config.presets import PRESETS
from jax_impl.data.sources.registry import SOURCES
from jax_impl.diffusion.bridge import BridgeConfig
from jax_impl.diffusion.flow import FlowConfig
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig
from jax_impl.runs.folder import check_resume, write_config
from jax_impl.training.stages.registry import DenoisingStageConfig


def test_no_words_mean_seed() -> None:
    args = parse([])
    assert args.settings() == PRESETS["seed"]()
    assert not args.resume


def test_flags_without_a_preset_belong_to_seed() -> None:
    args = parse(["--train.epochs", "3"])
    assert isinstance(args.model, SeedModelConfig)
    assert args.train.epochs == 3


def test_preset_with_overrides() -> None:
    args = parse(
        ["tiny", "--optim.learning-rate", "3e-4", "--data.path", "DIR", "--output-dir", "runs/x", "--model.width", "16"]
    )
    assert isinstance(args.model, UNetModelConfig)
    assert args.model.width == 16
    assert args.optim.learning_rate == 3e-4
    assert args.data.path == "DIR"
    assert args.output_dir == Path("runs/x")
    assert args.train == PRESETS["tiny"]().train


def test_a_process_that_is_not_the_presets_has_its_own_defaults() -> None:
    config = parse(["tiny", "--diffusion.process", "bridge", "--diffusion.noise", "0.5"]).settings()
    assert config.diffusion == BridgeConfig(noise=0.5)
    assert replace(config, diffusion=PRESETS["tiny"]().diffusion, train=PRESETS["tiny"]().train) == PRESETS["tiny"]()
    assert config.train.sample_steps == config.diffusion.sample_steps
    stages = ["--stages", '{"stage": "denoising", "epochs": 3}']
    found = parse(["sharp", "--diffusion.process", "bridge", *stages]).settings()
    assert found.diffusion.process == "bridge" and found.stages == (DenoisingStageConfig(epochs=3),)
    assert parse(["quick", "--diffusion.process=flow"]).diffusion == FlowConfig()
    assert parse(["tiny", "--diffusion.process", "one-pass"]).train.sample_steps == 1
    # The preset's own keeps what the preset says of it.
    assert parse(["tiny", "--diffusion.process", "gaussian"]).diffusion == PRESETS["tiny"]().diffusion


def test_a_setting_out_of_range_names_itself() -> None:
    with pytest.raises(UserError, match=r"train\.epochs is 0"):
        parse(["tiny", "--train.epochs", "0"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny", "--trian.epochs", "3"], r"--trian.epochs 3; did you mean --train.epochs\?; see `python -m jax_impl"),
        (["tinyy"], r"preset is 'tinyy': choose one of seed, tiny, .*; did you mean tiny\?"),
        (["photos"], "preset is 'photos': choose one of seed, tiny, [a-z, ]*$"),
        (["tiny", "--lr", "3"], r"--lr 3; did you mean --optim.learning-rate\?"),
        (["tiny", "--batch_size=3"], r"--batch-size=3; did you mean --train.batch-size\?"),
        (["tiny", "--diffusion.process", "bridg"], "process is 'bridg': choose one of bridge, flow.* mean bridge"),
        (
            ["tiny", "--diffusion.process", "bridge", "--diffusion.noise", "0"],
            r"diffusion\.noise is 0\.0: choose a value",
        ),
        (
            ["tiny", "--diffusion.process", "flow", "--diffusion.prediction", "v"],
            "'v' is unknown; choose one of x0, vel",
        ),
        (["sharp", "--diffusion.process", "flow"], "process is 'flow': the stage realism trains one-pass"),
        (["--train.epochs", "x"], "--train.epochs: .*'x'"),
        (["base", "--data.fit", "mirror"], r"--data.fit: 'mirror' is unknown; choose one of .*stretch"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=message):
        parse(words)
    assert capsys.readouterr() == ("", "")


def test_the_help_begins_with_the_flags_that_most_people_need(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["tiny", "--help"])
    _, _, first, data, *_ = re.split(r"\n(?=[a-z.]+(?: [a-z]+)?:\n)", capsys.readouterr().out)
    assert first.startswith("most used:") and data.startswith("data:")
    flags = re.findall(r"^  (--[a-z.-]+)", first, re.MULTILINE)
    assert {"--data.path", "--output-dir", "--train.minutes", "--resume"} < set(flags) and len(flags) == 10
    assert not re.search(r"^  --data\.path", data, re.MULTILINE)


def test_every_other_name_is_of_a_flag_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["tiny", "--help"])
    flags = set(re.findall(r"^  (--[a-z.-]+)", capsys.readouterr().out, re.MULTILINE))
    assert flags >= set(OTHER_NAMES)
    assert not flags & {name for names in OTHER_NAMES.values() for name in names}


@pytest.mark.parametrize("flag", [["--output-dir", "{}"], ["--output-dir={}"], ["--output_dir={}"]])
def test_resume_without_a_preset_takes_the_settings_of_the_run(tmp_path: Path, flag: list[str]) -> None:
    run = tmp_path / "a_run"
    run.mkdir()
    config = parse(["tiny", "--train.batch-size", "3"]).settings()
    write_config(run, config)
    args = parse(["--resume", *(word.format(run) for word in flag), "--train.max-minutes", "5"])
    assert args.resume
    assert args.output_dir == run
    assert args.train.batch_size == 3
    assert args.train.max_minutes == 5.0
    check_resume(config, args.settings())


@pytest.mark.parametrize("sealed", [True, False], ids=["config.json of a run", "an edited copy"])
def test_a_file_of_settings_stands_for_a_preset(tmp_path: Path, sealed: bool) -> None:
    wanted = parse(["tiny", "--model.width", "16", "--train.tensorboard"]).settings()
    write_config(tmp_path, wanted)
    file = tmp_path / "config.json"
    if not sealed:
        file.write_text(file.read_text().replace('"width": 16', '"width": 24'))
    args = parse(["--config", str(file), "--train.no-tensorboard", "--output-dir", "runs/x"])
    assert isinstance(args.model, UNetModelConfig)
    assert args.model.width == (16 if sealed else 24)
    assert args.model.patch == PRESETS["tiny"]().model.patch != UNetModelConfig().patch
    assert not args.train.tensorboard
    assert args.output_dir == Path("runs/x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"run\.json"),
        ("{", r"run\.json is not JSON"),
        ("[]", r"run\.json: config is \[\]"),
        ('{"trian": {}}', r"run\.json: config\.trian is not a setting; did you mean config\.train"),
        ('{"train": {"epochs": 0}}', r"run\.json: train\.epochs is 0"),
        ("{}", "preset tiny and --config .* exclude each other"),
    ],
    ids=range(6),
)
def test_a_file_of_settings_that_cannot_be_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "run.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        parse([*(["tiny"] if content == "{}" else []), f"--config={file}"])


def test_resume_refuses_another_configuration() -> None:
    tiny = PRESETS["tiny"]()
    with pytest.raises(UserError, match=r"model\.|data\.|optim\."):
        check_resume(tiny, PRESETS["seed"]())
    with pytest.raises(UserError, match=r"optim\.learning_rate is 0\.1 but the run was started with"):
        check_resume(tiny, parse(["tiny", "--optim.learning-rate", "0.1"]).settings())


def test_resume_may_lengthen_a_run_and_says_what_that_does_to_the_learning_rate() -> None:
    seed, tiny = PRESETS["seed"](), PRESETS["tiny"]()
    assert check_resume(seed, parse(["seed", "--train.epochs", "99"]).settings()) == []
    assert check_resume(tiny, parse(["tiny", "--train.epochs", "99"]).settings()) == [
        "train.epochs is 99 and was 20: from here on the learning rate is that of a run of 99 epochs, a cosine to zero "
        "at their end"
    ]


def test_what_cannot_change_names_the_way_to_a_new_run() -> None:
    tiny = PRESETS["tiny"]()
    with pytest.raises(UserError, match=r"from these weights with `python -m jax_impl\.bundle` and --init-from$"):
        check_resume(tiny, parse(["tiny", "--train.batch-size", "4"]).settings())
    with pytest.raises(UserError, match=r"start a new run in another folder$"):
        check_resume(tiny, parse(["tiny", "--model.width", "32"]).settings())


def test_resume_of_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no config"):
        parse(["--resume", "--output-dir", str(tmp_path)])


def test_loss_terms_are_names_or_objects() -> None:
    assert parse(["tiny"]).losses == (HybridConfig(),)
    found = parse(["tiny", "--losses", "hybrid", '{"term": "hybrid", "mae_weight": 0.2, "weight": 2}']).losses
    assert found == (HybridConfig(), HybridConfig(mae_weight=0.2, weight=2.0))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "structure",
            "losses.term is 'structure': choose one of adversarial, anchor, clip, colour, hybrid, ",
        ),
        ('{"term": "hybrid", "mae": 1}', r"losses\.mae is not a setting; did you mean losses\.mae_weight"),
        ('{"term": "hybrid", "mae_weight": -1}', r"losses\.hybrid\.mae_weight is -1"),
        ('{"term": "hybrid"', "is not JSON"),
        ("[]", "losses.term is '\\[\\]'"),
    ],
    ids=range(5),
)
def test_a_loss_term_that_cannot_be_is_named(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(["tiny", "--losses", word])


def test_a_data_layout_is_found_when_flags_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^data\.layout is 'mine': choose one of auto, .*with --plugin$"):
        parse(["tiny", "--data.layout", "mine"])
    monkeypatch.setattr(SOURCES, "_entries", {**SOURCES, "mine": SOURCES["folders"]})
    monkeypatch.setattr(SOURCES, "_plugins", {"mine": "my_layout"})
    config = PRESETS["tiny"]()
    write_config(tmp_path, replace(config, data=replace(config.data, layout="mine")))
    words = ["--resume", "--output-dir", str(tmp_path)]
    assert parse(words).data.layout == "mine"
    monkeypatch.setattr(SOURCES, "_entries", {name: entry for name, entry in SOURCES.items() if name != "mine"})
    with pytest.raises(UserError, match=r"^data\.layout is 'mine': load its data layout with --plugin my_layout$"):
        parse(words)


@pytest.mark.parametrize("process", ["one-pass", "flow", "bridge"])
def test_another_process_keeps_the_bounds_of_what_is_estimated(process: str) -> None:
    # States of a codec have none, and a clamp to [-1, 1] would cut off a third of their values.
    assert parse(["latent", "--diffusion.process", process]).diffusion.clamp is None
    assert parse(["tiny", "--diffusion.process", process]).diffusion.clamp == 1.0
    assert parse(["latent", "--diffusion.process", process, "--diffusion.clamp", "2"]).diffusion.clamp == 2.0
    changed = with_settings(PRESETS["latent"](), {"diffusion.process": process, "train.sample_steps": 1})
    assert (changed.diffusion.process, changed.diffusion.clamp) == (process, None)
    assert PRESETS["realism"]().diffusion.continuing(PRESETS["latent"]().diffusion).clamp is None


@pytest.mark.parametrize(
    "stages", [["denoising", "autoencoder", "denoising"], ["autoencoder", "autoencoder", "denoising"]]
)
def test_an_autoencoder_comes_first_and_once(stages: list[str]) -> None:
    with pytest.raises(UserError, match="put the stage autoencoder first, once"):
        parse(["latent", "--stages", *stages]).settings()


@pytest.mark.parametrize("stages", [["autoencoder"], ["autoencoder", "realism"]])
def test_a_denoiser_is_trained_after_an_autoencoder(stages: list[str]) -> None:
    with pytest.raises(UserError, match="trains no denoiser; name denoising after it"):
        parse(["latent", "--stages", *stages]).settings()
