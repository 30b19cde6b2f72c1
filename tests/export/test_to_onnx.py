"""The exported file: exact, complete, free of this machine's traces, and never half written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from safetensors import safe_open
from safetensors.numpy import save_file

from export import denoiser_graph, to_onnx
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.bundles import bundle_metadata, bundle_tensors
from export.edge.model.likeness import features, fit
from export.edge.model.metadata import LATER_KEYS, METADATA_KEYS
from torch_ref.weights import load_bundle

Make = Callable[..., Path]


def metadata_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (5, 16, 8), (3, 8, 48), (2, 32, 32)])
def test_onnxruntime_gives_the_numbers_of_torch(
    batch: int, height: int, width: int, exported: tuple[Path, Path]
) -> None:
    bundle, path = exported
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(batch)
    x_t, cond = rng.standard_normal((2, batch, 3, height, width), np.float32)
    t = rng.integers(0, 100, batch)
    (found,) = session.run(["prediction"], {"x_t": x_t, "cond": cond, "t": t})
    with torch.no_grad():
        wanted = load_bundle(bundle).model(*map(torch.from_numpy, (x_t, cond, t))).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=to_onnx.BAR)
    assert wanted.std() > 1e-3


def test_inputs_and_output_have_their_names_and_free_sizes(exported: tuple[Path, Path]) -> None:
    graph = onnx.load(exported[1]).graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    picture = ["batch", 3, "height", "width"]
    assert shapes == {"x_t": picture, "cond": picture, "t": ["batch"], "prediction": picture}


def test_metadata_is_complete(exported: tuple[Path, Path]) -> None:
    bundle, held = load_bundle(exported[0]), metadata_of(exported[1])
    assert set(held) == {*METADATA_KEYS, *LATER_KEYS, "alphas_cumprod"}
    np.testing.assert_array_equal(json.loads(held["alphas_cumprod"]), bundle.alphas_cumprod)
    assert json.loads(held["config"]) == bundle.config["model"]
    wanted = {
        "format": "dawn2dusk",
        "format_version": "2",
        "prediction": "v",
        "clamp": "null",
        "size": "24",
        "size_multiple": {"seed": "8", "unet": "4"}[bundle.config["model"]["architecture"]],
        "fit": "letterbox",
        "value_range": "[-1, 1]",
        "steps": "7",
        "sampler": "ddpm",
        "spacing": "trailing",
        "threshold": "0",
        "plugins": "[]",
        "weights_digest": bundle.weights_digest,
    }
    assert {key: held[key] for key in wanted} == wanted
    assert held["file_digest"] != "sha256:" + 64 * "0"


def test_the_edge_opens_it_and_refuses_a_changed_byte(exported: tuple[Path, Path], tmp_path: Path) -> None:
    data = bytearray(exported[1].read_bytes())
    assert open_artifact(exported[1]).steps == 7
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.onnx").write_bytes(data)
    with pytest.raises(UserError):
        open_artifact(tmp_path / "changed.onnx")


def test_it_is_one_file_that_old_runtimes_read(exported: tuple[Path, Path]) -> None:
    model = onnx.load(exported[1])
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert model.ir_version <= 10  # onnxruntime 1.18
    assert not model.functions
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in model.graph.initializer)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_weights_are_stored_once_and_in_float32(exported: tuple[Path, Path]) -> None:
    arrays = [numpy_helper.to_array(t) for t in onnx.load(exported[1]).graph.initializer]
    assert {a.dtype for a in arrays} <= {np.dtype(np.float32), np.dtype(np.int64)}
    stored = sum(a.size for a in arrays if a.dtype == np.float32)
    parameters = sum(p.numel() for p in load_bundle(exported[0]).model.parameters())
    assert 0.9 * parameters < stored < 1.05 * parameters


def test_it_tells_nothing_of_the_machine_that_made_it(exported: tuple[Path, Path], root: Path) -> None:
    data = exported[1].read_bytes()
    assert str(root).encode() not in data
    assert b".py" not in data


@pytest.mark.parametrize("exported", ["unet"], indirect=True)
def test_the_command_prints_a_line_a_file_and_repeats_itself(
    exported: tuple[Path, Path], tmp_path: Path, root: Path
) -> None:
    """In a process of its own, where the exporter's chatter would reach the terminal: the same weights give the same
    bytes, which replace an older file and nothing beside it."""
    output = tmp_path / "artifact"
    path = output / "onnx" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_text("an older file")
    (path.parent / "sampler.onnx").write_text("of an older file")
    (path.parent / "notes.txt").write_text("mine")
    words = [str(exported[0]), "--output", str(output), "--variants", "fp16"]
    command = [sys.executable, "-m", "export.to_onnx", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{path}  ")
    assert len(lines) == 5  # four graphs, or why one is not there, and the folder
    # The bundle recommends ddpm.
    assert [line.split(":")[1].strip() for line in lines if line.startswith("left out: ")] == [
        str(path.parent / "sampler.onnx"),
        str(path.parent / "photo.onnx"),
    ]
    same = exported[1].parents[1]
    ours = [p.relative_to(same) for p in same.rglob("*") if p.is_file() and p.name not in ("README.md", "SHA256SUMS")]
    assert [name for name in ours if (output / name).read_bytes() != (same / name).read_bytes()] == []
    assert {p.name for p in path.parent.iterdir()} == {"model.onnx", "model_fp16.onnx", "notes.txt"}


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, exported: tuple[Path, Path]) -> None:
    """An exporter that makes a graph with one weight off by 1e-3, without exporting anew."""
    model = onnx.load(exported[1])
    for tensor in model.graph.initializer:
        if tensor.name in ("outc.0.bias", "conv_out.bias"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(1e-3), tensor.name))
    monkeypatch.setattr(denoiser_graph, "trace", lambda *_: model)


@pytest.mark.usefixtures("faulty")
def test_a_graph_that_differs_is_refused_and_leaves_nothing(exported: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"differs from torch by 1\.0e-03"):
        to_onnx.main([str(exported[0]), "--output", str(tmp_path / "new")])
    assert list(tmp_path.iterdir()) == []
    old = tmp_path / "old" / "onnx" / "model.onnx"
    old.parent.mkdir(parents=True)
    old.write_text("an older file")
    with pytest.raises(UserError, match="differs from torch"):
        to_onnx.main([str(exported[0]), "--output", str(tmp_path / "old")])
    assert old.read_text() == "an older file"
    assert [p for p in (tmp_path / "old").rglob("*") if p.is_file()] == [old]


@pytest.mark.parametrize("exported", ["seed"], indirect=True)
def test_the_bar_is_meant_for_outputs_of_unit_size(
    make_bundle: Make, exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head a thousand times as loud rounds a thousand times as coarsely: that alone is no fault."""
    bundle, graph = make_bundle(tmp_path / "loud.safetensors", "seed", gain=1e3), onnx.load(exported[1])
    for tensor in graph.graph.initializer:
        if tensor.name.startswith("outc"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1e3), tensor.name))
    monkeypatch.setattr(denoiser_graph, "trace", lambda *_: graph)  # All else of the network is the same.
    path, difference = to_onnx.export(load_bundle(bundle), tmp_path / "loud")
    assert path.is_file()
    assert difference <= to_onnx.BAR


@pytest.mark.parametrize(
    ("bundle", "output", "message"),
    [
        ("none.safetensors", "artifact", "none.safetensors does not exist"),
        ("text.safetensors", "artifact", "is not a whole safetensors file"),
        ("model.safetensors", "nowhere/artifact", "nowhere does not exist"),
        ("model.safetensors", "text.safetensors", "is a file"),
    ],
)
def test_paths_that_cannot_be_used(bundle: str, output: str, message: str, make_bundle: Make, tmp_path: Path) -> None:
    make_bundle(tmp_path / "model.safetensors", "seed")
    (tmp_path / "text.safetensors").write_text("no")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message):
        to_onnx.main([str(tmp_path / bundle), "--output", str(tmp_path / output)])
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], r"steps 0 is outside 1 \.\.\. 100"),
        (["--steps", "3"], "ddpm adds noise in its steps"),
        (["--no-sampler", "--photo", "--sampler", "ddim"], r"photo\.onnx, and both are left out"),
        (["--ort", "--photo"], "--ort writes photo.onnx in another format, and --photo leaves it out"),
        (["--calibrate", "{d}/none"], "--calibrate .*none is no folder"),
        (["--evaluation", "{d}/model.safetensors"], "--evaluation .* is not UTF-8 text"),
        (["--parity", "{d}/none.json"], r"--parity .*none\.json does not exist"),
    ],
)
def test_what_cannot_be_asked_for(
    words: list[str], message: str, exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser_graph, "trace", lambda *_: onnx.load(exported[1]))  # Made once is enough.
    shutil.copy(exported[0], tmp_path / "model.safetensors")
    before = sorted(tmp_path.iterdir())
    words = [word.format(d=tmp_path) for word in words]
    with pytest.raises(UserError, match=message):
        to_onnx.main([str(tmp_path / "model.safetensors"), "--output", str(tmp_path / "artifact"), *words])
    assert sorted(tmp_path.iterdir()) == before


def test_a_config_without_a_setting_is_named(exported: tuple[Path, Path]) -> None:
    bundle = load_bundle(exported[0])
    del bundle.config["diffusion"]["sampler"]
    with pytest.raises(UserError, match="lacks 'sampler'"):
        denoiser_graph.metadata(bundle)


def test_what_older_bundles_lack_is_recommended_as_soon_as_they_have_it(exported: tuple[Path, Path]) -> None:
    bundle = load_bundle(exported[0])
    bundle.config["diffusion"].update(spacing="logsnr", threshold=0.995, sampler="dpmpp")
    held = denoiser_graph.metadata(bundle)
    assert (held["spacing"], held["threshold"], held["sampler"]) == ("logsnr", "0.995", "dpmpp")


def test_what_training_inputs_look_like_travels_with_the_bundle(exported: tuple[Path, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    known = fit(np.stack([features(rng.integers(0, 60, (24, 24, 3), np.uint8)) for _ in range(20)]))
    with safe_open(exported[0], framework="numpy") as file:
        config, networks = file.metadata()["config"], load_bundle(exported[0]).networks
    tensors = bundle_tensors(networks, load_bundle(exported[0]).alphas_cumprod)
    held = bundle_metadata(tensors, config, likeness=known)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, held)
    assert known is not None and denoiser_graph.metadata(load_bundle(path))["likeness"] == known.to_json()
    save_file(tensors, path, held | {"likeness": held["likeness"].replace("[", "[1,", 1)})
    with pytest.raises(UserError, match="its config does not match its digest"):
        load_bundle(path)
