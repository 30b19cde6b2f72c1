"""Bundles and the bijection between JAX's names and torch's: exact both ways, strict about everything else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from export.edge.disk.files import weights_digest
from export.edge.errors import UserError
from export.edge.model.bundles import SCHEDULE, SEALED, digest_of
from torch_ref.base import Denoiser
from torch_ref.weights import build_model, from_jax, load_bundle, save_bundle, to_jax

KINDS = ["seed", "tanh", "unet", "affine", "options"]
Make = Callable[[str], Any]


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="numpy") as file:
        return file.metadata()


def rewrite(path: Path, tensors: dict[str, np.ndarray], **metadata: str) -> None:
    """Write the bundle again, with digests that fit."""
    held = metadata_of(path) | {"weights_digest": weights_digest(tensors)} | metadata
    save_file(tensors, path, held | ({"digest": digest_of(held)} if held["format_version"] in SEALED else {}))


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind: str, make_config: Make, make_network: Make) -> None:
    config, state = make_config(kind), make_network(kind).state_dict()
    tensors = to_jax(state, config)
    back = from_jax(tensors, config)
    assert list(back.keys() - state.keys()) == list(state.keys() - back.keys()) == []
    for name, value in state.items():
        assert back[name].dtype == value.dtype
        assert torch.equal(back[name], value), name
    again = to_jax(back, config)
    assert again.keys() == tensors.keys()
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)
    assert sum(t.size for t in tensors.values()) == sum(v.numel() for n, v in state.items() if "num_batches" not in n)


def test_layouts_are_those_of_jax(make_config: Make, make_network: Make) -> None:
    seed = to_jax(make_network("seed").state_dict(), make_config("seed"))
    shapes = {name: seed[name].shape for name in ("inc.conv1.kernel", "up1.up.kernel", "time_proj.kernel")}
    # Height, width, in, out; for the transposed one height, width, out, in; in, out.
    assert shapes == {
        "inc.conv1.kernel": (3, 3, 6, 8),
        "up1.up.kernel": (2, 2, 32, 64),
        "time_proj.kernel": (256, 64),
    }
    assert {name.rpartition(".")[2] for name in seed} == {"kernel", "bias", "scale", "mean", "var"}
    unet = to_jax(make_network("unet").state_dict(), make_config("unet"))
    assert unet["down.1.blocks.0.skip.kernel"].shape == (1, 1, 8, 16)
    assert unet["middle.1.norm2.scale"].shape == (16,)


def test_kernels_mean_what_their_formulas_say(make_config: Make) -> None:
    """The seed's first convolution, first transposed convolution and time projection, each with einsum."""
    config, rng = make_config("seed"), np.random.default_rng(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in build_model(config).state_dict().items()}
    zeros = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
    tensors = {name: rng.standard_normal(value.shape) for name, value in to_jax(zeros, config).items()}
    model = build_model(config).double()
    model.load_state_dict(from_jax(tensors, config))

    patch = rng.standard_normal((3, 3, 6))  # a valid convolution of 3 x 3 pixels is one pixel
    wanted = np.einsum("hwi,hwio->o", patch, tensors["inc.conv1.kernel"]) + tensors["inc.conv1.bias"]
    layer = model.get_submodule("inc.0")
    with torch.no_grad():
        got = layer(torch.from_numpy(patch).permute(2, 0, 1)[None])[0, :, 1, 1]
    np.testing.assert_allclose(got.numpy(), wanted, rtol=0, atol=1e-12)

    small = rng.standard_normal((2, 3, 64))  # each pixel paints 2 x 2 of its own
    wanted = np.einsum("hwi,aboi->hawbo", small, tensors["up1.up.kernel"]).reshape(4, 6, 32) + tensors["up1.up.bias"]
    with torch.no_grad():
        got = model.get_submodule("up1.0")(torch.from_numpy(small).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=0, atol=1e-12)

    vector = rng.standard_normal(256)
    with torch.no_grad():
        got = model.get_submodule("time_proj.0")(torch.from_numpy(vector)[None])[0]
    wanted = vector @ tensors["time_proj.kernel"] + tensors["time_proj.bias"]
    np.testing.assert_allclose(got.numpy(), wanted, rtol=0, atol=1e-12)


def test_torch_and_jax_share_no_memory(make_config: Make, make_network: Make) -> None:
    config, state = make_config("unet"), make_network("unet").state_dict()
    tensors = to_jax(state, config)
    before = copy.deepcopy(tensors)
    back = from_jax(tensors, config)
    for value in (*state.values(), *back.values()):
        value.add_(1)
    assert all(np.array_equal(tensors[name], before[name]) for name in tensors)


@pytest.mark.parametrize("kind", ["seed", "unet"])
def test_leftover_missing_and_misshapen_parameters_are_named(kind: str, make_config: Make, make_network: Make) -> None:
    config, state = make_config(kind), make_network(kind).state_dict()
    tensors = to_jax(state, config)
    name = "inc.conv1.kernel" if kind == "seed" else "stem.kernel"
    with pytest.raises(UserError, match=f"lacks {name}"):
        from_jax({k: v for k, v in tensors.items() if k != name}, config)
    with pytest.raises(UserError, match=r"holds the unknown extra\.kernel"):
        from_jax(tensors | {"extra.kernel": np.zeros(1)}, config)
    with pytest.raises(UserError, match=rf"{name} has the shape \(1, 3, .*expected \(3, 3, "):
        from_jax(tensors | {name: tensors[name][:1]}, config)
    name = "inc.0.weight" if kind == "seed" else "stem.weight"
    with pytest.raises(UserError, match=f"lacks {name}"):
        to_jax({k: v for k, v in state.items() if k != name}, config)
    with pytest.raises(UserError, match=r"holds the unknown extra\.weight"):
        to_jax(state | {"extra.weight": torch.zeros(1)}, config)
    with pytest.raises(UserError, match=f"{name} has the shape"):
        to_jax(state | {name: state[name][:1]}, config)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_brings_back_the_network(
    kind: str, make_bundle: Make, make_config: Make, make_network: Make, schedule: np.ndarray
) -> None:
    bundle, network = load_bundle(make_bundle(kind)), make_network(kind)
    assert isinstance(bundle.model, Denoiser)
    assert not bundle.model.training
    assert bundle.config == make_config(kind)
    assert bundle.alphas_cumprod.dtype == np.float64
    np.testing.assert_array_equal(bundle.alphas_cumprod, schedule)
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([0, 99])
    with torch.no_grad():
        assert torch.equal(bundle.model(x, -x, t), network(x, -x, t))


@pytest.mark.parametrize("change", ["value", "schedule", "name"])
def test_weights_that_do_not_fit_their_digest(change: str, make_bundle: Make) -> None:
    path = make_bundle("unet")
    tensors, metadata = load_file(path), metadata_of(path)
    if change == "name":
        tensors["stem.offset"] = tensors.pop("stem.bias")
    else:
        tensors[SCHEDULE if change == "schedule" else "stem.bias"][0] *= 0.99
    save_file(tensors, path, metadata)
    with pytest.raises(UserError, match="is damaged"):
        load_bundle(path)


@pytest.mark.parametrize("keep", [0, 7, 200, 0.5, -1])
def test_a_truncated_bundle(keep: float, make_bundle: Make) -> None:
    path = make_bundle("unet")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        load_bundle(path)


def test_files_that_are_no_bundles(tmp_path: Path, make_bundle: Make) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_bundle(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="is a folder"):
        load_bundle(tmp_path)
    (tmp_path / "text.safetensors").write_text("weights, honestly")
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        load_bundle(tmp_path / "text.safetensors")
    save_file({"a": np.zeros(2)}, tmp_path / "bare.safetensors")
    with pytest.raises(UserError, match="has the format None"):
        load_bundle(tmp_path / "bare.safetensors")
    path = make_bundle("unet")
    rewrite(path, load_file(path), format_version="3")
    with pytest.raises(UserError, match="has format version '3'"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (SCHEDULE, None, "is missing"),
        (SCHEDULE, np.linspace(0.9, 0.1, 100, dtype=np.float32), "float32"),
        (SCHEDULE, np.linspace(0.9, 0.1, 99), r"expected float64 \(100,\)"),
        (SCHEDULE, np.linspace(0.1, 0.9, 100), "does not fall"),
        (SCHEDULE, np.linspace(1.0, 0.1, 100), "does not fall"),
        (SCHEDULE, np.full(100, np.nan), "does not fall"),
        ("stem.bias", np.zeros(8, np.float16), "stem.bias is float16"),
        ("stem.bias", np.full(8, np.inf, np.float32), "stem.bias is not finite"),
        ("stem.bias", None, "lacks stem.bias"),
        ("stem.bias", np.zeros(9, np.float32), "stem.bias has the shape"),
        ("stem.more", np.zeros(8, np.float32), "holds the unknown stem.more"),
    ],
    ids=[
        *("no schedule", "float32 schedule", "short schedule", "rising schedule", "schedule from 1", "NaN schedule"),
        *("float16", "infinite", "missing", "shape", "unknown"),
    ],
)
def test_tensors_that_do_not_belong(name: str, value: np.ndarray | None, message: str, make_bundle: Make) -> None:
    path = make_bundle("unet")
    tensors = load_file(path)
    tensors.pop(name, None)
    rewrite(path, tensors | ({} if value is None else {name: value}))
    with pytest.raises(UserError, match=message):
        load_bundle(path)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("model", {"architecture": "vit"}, "choose one of seed, unet"),
        ("model", {"attention": True}, "attention"),
        ("model", {"groups": 3}, "makes no network"),
        ("model", {"head": "linear"}, "choose plain, affine, affine_cond or bilateral"),
        ("model", {"attention_levels": [2]}, "choose from 0 to 1"),
        ("model", {"attention_levels": [0], "head_channels": 3}, "choose a divisor of 8"),
        ("model", {"resample": "fir"}, "choose learned or fixed"),
        ("model", {"time_modulation": "gate"}, "choose scale_shift or add"),
        ("model", {"dropout": 1.5}, "makes no network"),
        ("model", {"multipliers": []}, "makes no network"),
        ("model", {"multipliers": 2}, "makes no network"),
        ("model", {"width": "8"}, "makes no network"),
        ("model", {"width": -8}, "makes no network"),
        ("model", {"width": 1_000_000_000}, "past all reason"),
        ("model", {"width": 4000}, "has the shape"),
        ("model", {"blocks": 1_000_000_000}, "past all reason"),
        ("model", {"multipliers": 1000 * [1]}, "past all reason"),
        ("diffusion", {"timesteps": 10**12}, "diffusion.timesteps is 1000000000000"),
        ("diffusion", {"timesteps": "many"}, "diffusion.timesteps is 'many'"),
        ("diffusion", {"timesteps": None}, "diffusion.timesteps is None"),
    ],
)
def test_configs_that_make_no_network(section: str, change: dict[str, Any], message: str, make_bundle: Make) -> None:
    path = make_bundle("unet")
    config = json.loads(metadata_of(path)["config"])
    config[section] |= change
    rewrite(path, load_file(path), config=json.dumps(config))
    with pytest.raises(UserError, match=message):
        load_bundle(path)


def test_a_config_that_was_changed_does_not_fit_its_digest(make_bundle: Make) -> None:
    """The weights' own digest does not see it; old files of before there was another are taken as they are."""
    path = make_bundle("unet")
    held = metadata_of(path)
    changed = held | {"config": held["config"].replace('"timesteps": 100', '"timesteps":  100')}
    assert changed != held
    save_file(load_file(path), path, changed)
    with pytest.raises(UserError, match="its config does not match its digest"):
        load_bundle(path)
    for key, value in {
        "networks": '{"denoiser": "", "critic": "critic/"}',
        "plugins": '[["network", "a", "b"]]',
    }.items():
        save_file(load_file(path), path, held | {key: value})
        with pytest.raises(UserError, match="does not match its digest"):
            load_bundle(path)
    save_file(load_file(path), path, {key: value for key, value in held.items() if key != "digest"})
    with pytest.raises(UserError, match="does not match its digest"):
        load_bundle(path)
    old = {key: changed[key] for key in ("format", "config", "weights_digest")} | {"format_version": "1"}
    save_file(load_file(path), path, old)
    assert load_bundle(path).config == json.loads(held["config"])
    save_file(load_file(path), path, {"dig%st" if key == "digest" else key: value for key, value in held.items()})
    with pytest.raises(UserError, match="its metadata hold dig%st"):
        load_bundle(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": 1, "diffusion": {"timesteps": 100}}'])
def test_texts_that_are_no_config(text: str, make_bundle: Make) -> None:
    path = make_bundle("unet")
    rewrite(path, load_file(path), config=text)
    with pytest.raises(UserError, match="config"):
        load_bundle(path)


def test_an_unknown_output_activation(make_config: Make) -> None:
    config = make_config("seed")
    config["model"] = config["model"] | {"output_activation": "sigmoid"}
    with pytest.raises(UserError, match="output_activation is 'sigmoid'"):
        build_model(config)


def test_saving_is_repeatable_and_refuses_a_wrong_schedule(
    make_bundle: Make, make_config: Make, make_network: Make, schedule: np.ndarray, tmp_path: Path
) -> None:
    assert load_bundle(make_bundle("seed")).weights_digest == load_bundle(make_bundle("seed")).weights_digest
    path = tmp_path / "short.safetensors"
    with pytest.raises(UserError, match=r"expected float64 \(100,\)"):
        save_bundle(path, make_network("seed").state_dict(), schedule[:50], make_config("seed"))
    assert not path.exists()
