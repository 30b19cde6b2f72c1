"""Config classes that a user's module registers: on the command line, in JSON, in run folders and bundles."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from safetensors import safe_open

from export.edge import plugins
from export.edge.errors import UserError
from jax_impl.config import tagged
from jax_impl.config.arguments import parse
from jax_impl.config.as_json import from_json, to_json
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.model.network import build
from jax_impl.model.registry import NETWORKS
from jax_impl.runs.bundles import open_bundle, read_bundle, warm_start, write_bundle
from jax_impl.runs.folder import read_config, write_config

MODULE = "toy_for_jax"
TOY = """
from dataclasses import dataclass, field
from typing import Literal

import jax.numpy as jnp
from flax import nnx

from jax_impl.config.data import DataConfig
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.model.registry import NETWORKS, NetworkConfig


class Pointwise(nnx.Module):
    def __init__(self, channels, rngs, dtype, state_channels):
        self.first = nnx.Conv(2 * state_channels, channels, (1, 1), dtype=dtype, rngs=rngs)
        self.last = nnx.Conv(channels, state_channels, (1, 1), rngs=rngs)

    def __call__(self, x_t, cond, t, *, train, key=None):
        return self.last(nnx.silu(self.first(jnp.concatenate([x_t, cond], axis=-1))))


@dataclass(frozen=True)
class PointwiseConfig(NetworkConfig):
    architecture: Literal["pointwise"] = "pointwise"
    channels: int = 4
    steps: tuple[int, ...] = (1, 2)
    '''A setting of its own.'''

    @property
    def size_multiple(self):
        return 1

    def create(self, timesteps, rngs, dtype=None, state_channels=3):
        return Pointwise(self.channels, rngs, dtype, state_channels)


def small() -> Config:
    '''Pointwise, on small pictures.'''
    return Config(data=DataConfig(size=8), model=PointwiseConfig(channels=5))


NETWORKS.add("pointwise", PointwiseConfig)
PRESETS.add("small", small)
"""


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """The settings of the toy preset; the module is forgotten after the test."""
    for registry in (NETWORKS, PRESETS):
        monkeypatch.setattr(registry, "_entries", dict(registry))
    (tmp_path / f"{MODULE}.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    plugins.load_plugins([MODULE], "jax")
    yield PRESETS["small"]()
    del sys.modules[MODULE]


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that was not given the plugin."""
    monkeypatch.setattr(NETWORKS, "_entries", {k: v for k, v in NETWORKS.items() if k != "pointwise"})


def test_a_preset_of_a_plugin_has_flags_for_its_network(loaded: Config) -> None:
    args = parse(["--plugin", MODULE, "small", "--model.channels", "7", "--model.steps", "3", "--train.epochs", "2"])
    assert dataclasses.asdict(args.model) == {
        "architecture": "pointwise", "compute_dtype": "float32", "channels": 7, "steps": (3,),
    }  # fmt: skip
    assert args.train.epochs == 2
    with pytest.raises(UserError, match=r"model\.width"):
        parse(["small", "--model.width", "7"])


def test_json_brings_back_the_class_and_names_the_plugin_that_is_missing(
    loaded: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, record = to_json(loaded), tagged.plugins_of(loaded)
    assert record == (("network", "pointwise", MODULE),)
    assert tagged.plugins_of(Config()) == ()
    assert from_json(text) == loaded
    forget(monkeypatch)
    with pytest.raises(UserError, match=r"config\.model\.architecture is 'pointwise': choose one of seed, unet$"):
        from_json(text)
    with pytest.raises(UserError, match=f"'pointwise': load its network with --plugin {MODULE}$"):
        from_json(text, record)


def test_a_run_folder_names_its_plugin(loaded: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, loaded)
    assert read_config(tmp_path) == loaded
    assert parse(["--resume", "--output-dir", str(tmp_path)]).settings() == loaded
    forget(monkeypatch)
    with pytest.raises(UserError, match=f"load its network with --plugin {MODULE}$"):
        read_config(tmp_path)
    write_config(tmp_path, Config())
    assert "plugins" not in json.loads((tmp_path / "config.json").read_text())


def test_a_bundle_names_its_plugin(loaded: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    _, params, stats = build(loaded, jax.random.key(0))
    networks = {"denoiser": (params, stats), "critic": ({"scale": params["last"]}, {})}
    write_bundle(path, networks, loaded.diffusion.create().published(), loaded)
    problem, opened, _ = open_bundle(path)
    assert problem.config == loaded
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), opened, params))
    assert {name: sorted(weights) for name, weights in read_bundle(path).networks.items()} == {
        "denoiser": ["first.bias", "first.kernel", "last.bias", "last.kernel"],
        "critic": ["scale.bias", "scale.kernel"],
    }
    assert warm_start(path, loaded, params, stats)["denoiser"][0].keys() == params.keys()
    with safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["plugins"]) == [["network", "pointwise", MODULE]]
    forget(monkeypatch)
    with pytest.raises(UserError, match=rf"^weights .* is 'pointwise': load its network with --plugin {MODULE}$"):
        open_bundle(path)
