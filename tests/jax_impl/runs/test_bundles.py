"""Bundles: exact, checked, and never half right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from export.edge.errors import UserError
from export.edge.model.bundles import SCHEDULE
from export.edge.model.layout import DENOISER
from jax_impl import bundle
from jax_impl.config.arguments import parse
from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config
from jax_impl.diffusion.process import Published
from jax_impl.diffusion.sampling import SamplingOptions, resolve
from jax_impl.model.codec import PatchesCodecConfig
from jax_impl.model.network import flatten, outline
from jax_impl.model.unet import UNetModelConfig
from jax_impl.runs.bundles import open_bundle, read_bundle, warm_start, write_bundle
from jax_impl.runs.folder import open_run
from jax_impl.runs.publishing import final_weights


@pytest.fixture(scope="module")
def path(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bundle") / "model.safetensors"
    bundle.main(["--run", str(trained_run), "--output", str(file)])
    return file


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="numpy") as file:
        return file.metadata()


def test_it_holds_the_average_the_schedule_and_the_configuration(path: Path, trained_run: Path) -> None:
    held, run = read_bundle(path), open_run(trained_run)
    expected = flatten(run.state.ema)
    assert held.weights.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(held.weights[name], array)
    assert held.config == run.config
    found, wanted = held.published.alphas_cumprod, run.problem.process.published().alphas_cumprod
    assert found is not None and found.dtype == np.float64 and held.published.tables is None
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("decay", [0.3, 0.2, 0.0])
def test_any_average_or_the_raw_weights_can_be_written(trained_run: Path, tmp_path: Path, decay: float) -> None:
    bundle.main(["--run", str(trained_run), "--output", str(tmp_path / "m.safetensors"), "--ema-decay", str(decay)])
    held, state = read_bundle(tmp_path / "m.safetensors"), open_run(trained_run).state
    expected = {0.3: state.more_ema[1], 0.2: state.more_ema[0], 0.0: state.params}[decay]
    for name, array in flatten(expected).items():
        np.testing.assert_array_equal(held.weights[name], array)
    assert held.config.optim.ema_decay == decay
    others = [state.ema, state.params, *state.more_ema]
    same = [np.array_equal(flatten(other)["stem.kernel"], held.weights["stem.kernel"]) for other in others]
    assert sum(same) == 1


def test_an_average_that_was_not_kept(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--ema-decay 0\.7 .* choose one of 0\.9, 0\.2, 0\.3, 0 "):
        bundle.main(["--run", str(trained_run), "--output", str(tmp_path / "m.safetensors"), "--ema-decay", "0.7"])
    assert not list(tmp_path.iterdir())


def test_statistics_are_re_estimated_for_averaged_weights(trained_seed_run: Path) -> None:
    run = open_run(trained_seed_run)
    params, stats = final_weights(run)
    before, after = flatten(run.state.stats), flatten(stats)
    assert after.keys() == before.keys()
    assert all(np.isfinite(v).all() for v in after.values())
    assert all((v > 0).all() for name, v in after.items() if name.endswith(".var"))
    assert any(np.abs(after[n] - before[n]).max() > 1e-3 for n in after)
    np.testing.assert_array_equal(flatten(params)["inc.conv1.kernel"], flatten(run.state.ema)["inc.conv1.kernel"])


@pytest.mark.parametrize("change", ["value", "schedule", "name"])
def test_a_changed_file_does_not_fit_its_digest(path: Path, tmp_path: Path, change: str) -> None:
    tensors, metadata = load_file(path), metadata_of(path)
    if change == "value":
        tensors["stem.bias"] = tensors["stem.bias"] + 1
    elif change == "schedule":
        tensors[SCHEDULE] = tensors[SCHEDULE] * 0.999
    else:
        tensors["stem.extra"] = tensors.pop("stem.bias")
    save_file(tensors, tmp_path / "changed.safetensors", metadata)
    with pytest.raises(UserError, match="do not match their digest"):
        read_bundle(tmp_path / "changed.safetensors")


@pytest.mark.parametrize(
    ("metadata", "part"), [(None, "not written by"), ({"format": "dawn2dusk", "format_version": "99"}, "version '99'")]
)
def test_files_that_are_not_ours(path: Path, tmp_path: Path, metadata: dict | None, part: str) -> None:
    save_file(load_file(path), tmp_path / "other.safetensors", metadata)
    with pytest.raises(UserError, match=part):
        read_bundle(tmp_path / "other.safetensors")


def test_a_config_that_was_changed_does_not_fit_its_digest(path: Path, tmp_path: Path) -> None:
    with safe_open(path, framework="numpy") as file:
        held = file.metadata()
    changed = tmp_path / "changed.safetensors"
    save_file(load_file(path), changed, held | {"config": held["config"].replace('"fit": "crop"', '"fit": "stretch"')})
    with pytest.raises(UserError, match="its config does not match its digest"):
        read_bundle(changed)


def test_files_that_are_no_safetensors(path: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:1000])
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("cut", "text"):
        with pytest.raises(UserError, match="not a whole safetensors file"):
            read_bundle(tmp_path / f"{name}.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        read_bundle(tmp_path / "none.safetensors")


def test_leftover_and_missing_names_are_errors(path: Path, trained_run: Path, trained_seed_run: Path) -> None:
    run = open_run(trained_run)
    params, _ = warm_start(path, run.config, run.state.params, run.state.stats)[DENOISER]
    np.testing.assert_array_equal(flatten(params)["stem.bias"], flatten(run.state.ema)["stem.bias"])
    fewer = {k: v for k, v in run.state.params.items() if k != "stem"}
    with pytest.raises(UserError, match=r"stem\.\w+, which this network lacks"):
        warm_start(path, run.config, fewer, run.state.stats)
    other = open_run(trained_seed_run)
    with pytest.raises(UserError, match="use the preset it was trained with"):
        warm_start(path, other.config, other.state.params, other.state.stats)


def test_advice_on_other_options_can_be_typed_and_those_of_training_alone_need_none(tmp_path: Path) -> None:
    plain = UNetModelConfig(width=8, groups=4, multipliers=(1,), blocks=1)
    ours = Config(data=DataConfig(size=16), model=plain)
    options = {"attention_levels": (0,), "head_channels": 8, "cross_attention": True, "resample": "fixed"}
    theirs = replace(ours, model=replace(plain, **options, dropout=0.5))
    path, (_, *shapes) = tmp_path / "model.safetensors", outline(theirs)
    params, stats = (jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree) for tree in shapes)
    write_bundle(path, {DENOISER: (params, stats)}, theirs.diffusion.create().published(), theirs)
    trained_otherwise = replace(theirs, model=replace(theirs.model, dropout=0.0, compute_dtype="bfloat16", remat=True))
    assert warm_start(path, trained_otherwise, params, stats)[DENOISER][0].keys() == params.keys()
    with pytest.raises(UserError) as error:
        warm_start(path, ours, params, stats)
    flags = str(error.value).partition("add ")[2].split()
    network = ["--model.width", "8", "--model.groups", "4", "--model.multipliers", "1", "--model.blocks", "1"]
    model = parse(["tiny", *network, *flags]).model
    assert model == replace(theirs.model, patch=8, dropout=0.0)


def test_a_stage_starts_from_all_networks_of_a_bundle(trained_run: Path, tmp_path: Path) -> None:
    run = open_run(trained_run)
    params, stats = run.state.params, run.state.stats
    halves = jax.tree.map(lambda leaf: leaf / 2, params)
    judge = {"layer": {"kernel": jnp.ones((2, 3)), "bias": jnp.arange(3.0)}}
    path = tmp_path / "three.safetensors"
    networks = {DENOISER: (params, stats), "mean": (halves, stats), "judge": (judge, {})}
    write_bundle(path, networks, run.problem.process.published(), run.config)
    found = warm_start(path, run.config, params, stats)
    assert jax.tree.structure(found) == jax.tree.structure(networks)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(networks), strict=True))
    other = replace(run.config, codec=PatchesCodecConfig())
    with pytest.raises(UserError, match="trained with the codec identity, not patches; add --codec identity"):
        warm_start(path, other, params, stats)


def test_a_bundle_is_sampled_by_its_own_tables(trained_run: Path, tmp_path: Path) -> None:
    run = open_run(trained_run)
    plan = replace(run.problem.process.plan(2, "ddim"), next_from_x0=np.array([0.25, 1.0]))
    path = tmp_path / "tables.safetensors"
    networks = {DENOISER: (run.state.params, run.state.stats)}
    write_bundle(path, networks, Published(tables={"ddim": {2: plan}}), run.config)
    problem, *_ = open_bundle(path)
    np.testing.assert_array_equal(resolve(problem, SamplingOptions(steps=2)).plan.next_from_x0, [0.25, 1.0])
    with pytest.raises(UserError, match=r"no table of ddim in 3 steps; choose one of 2"):
        resolve(problem, SamplingOptions(steps=3))


@pytest.mark.parametrize(
    ("output", "part"), [("none/model.safetensors", "does not exist"), ("model.bin", "must end in .safetensors")]
)
def test_bad_outputs_are_refused_first(trained_run: Path, tmp_path: Path, output: str, part: str) -> None:
    with pytest.raises(UserError, match=part):
        bundle.main(["--run", str(trained_run), "--output", str(tmp_path / output)])
    assert list(tmp_path.iterdir()) == []
