"""The doors: how an input for each is made, and what walks through it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from safetensors import safe_open

from export import denoiser_graph
from export.edge.disk.sums import check_sums
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import FOLDER, NETWORKS_FILE, networks, ours
from export.edge.model.sealed import _MARK, seal
from export.edge.pictures.arrays import fit_square
from export.edge.pictures.files import open_photo, save_picture
from jax_impl.config.as_json import from_json
from jax_impl.config.data import DataConfig
from jax_impl.data.sources import open_source
from jax_impl.runs.bundles import read_bundle
from tests.faults.fuzz import commands, environments, trees, values
from tests.faults.fuzz.material import Material, bundled, ordered, sealed
from tests.faults.fuzz.mutate import examples, mutate
from torch_ref.convert import from_pth, to_pth
from torch_ref.optimizer import Training, read_training, write_training
from torch_ref.original import read_checkpoint
from torch_ref.weights import load_bundle, to_jax

SILENT = "silent wrong result"
_SUFFIXES = {
    "picture": "png",
    "config": "json",
    "networks": "json",
    "tree": "json",
    "environment": "json",
    "bundle": "safetensors",
    "optimizer": "safetensors",
}


def suffix(door: str) -> str:
    """Of a door's inputs."""
    return "json" if door in commands.COMMANDS else _SUFFIXES.get(door, door)


def inputs(door: str, material: Material, count: int, seed: int) -> list[bytes]:
    """So many inputs for a door: of every four one is a value of hypothesis, where it has any, the rest are mutants."""
    rng = Random(f"{door} {seed}")
    if door in commands.COMMANDS:
        made = examples(commands.words(door), count, seed)
        return [json.dumps(each).encode() for each in _filled(made, count)]
    whole = material.files[door]
    strategy = _strategy(door, material)
    wanted = (count if door == "environment" else count // 4) if strategy is not None else 0
    found = _filled(examples(strategy, wanted, seed), wanted) if strategy is not None and wanted else []
    while len(found) < count:
        mutant = mutate(rng.choice(whole), rng, rng.choice(whole))
        if door == "onnx" and rng.random() < 0.5:
            mutant = _resealed(mutant, material)
        if door == "pth" and rng.random() < 0.6:
            mutant = _repacked(whole[0], rng)
        found.append(mutant)
    return found


def _filled(made: list, count: int) -> list:
    return [made[i % len(made)] for i in range(count)]


def _strategy(door: str, material: Material) -> st.SearchStrategy[bytes] | None:
    if door == "csv":
        return values.csv_texts()
    if door == "tree":
        return trees.lists()
    if door == "environment":
        return environments.environments()
    if door == "jsonl":
        return values.jsonl_texts()
    if door == "sums":
        return values.sums_texts(material.files["sums"][0].decode().splitlines())
    if door == "networks":
        tree = json.loads(material.files["networks"][0])
        return st.one_of(values.trees(tree).map(values.json_bytes), values.JSON.map(values.json_bytes))
    if door == "config":
        return st.one_of(values.trees(material.config).map(values.json_bytes), values.JSON.map(values.json_bytes))
    if door == "bundle":
        with safe_open(material.folder / "unet.safetensors", framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            config = json.loads(file.metadata()["config"])
        return values.trees(config).map(lambda tree: bundled(tensors, json.dumps(tree)))
    if door == "optimizer":
        training = read_training(material.folder / "optimizer.safetensors")
        facts = {**training.facts, "original": {"param_group": {"lr": 1, "betas": [0.9, 0.99]}, "scheduler": {}}}
        return values.trees(facts).map(lambda tree: _optimizer_file(material, training, tree))
    if door == "onnx":
        keys = sorted(material.metadata.keys() - {"file_digest"})
        value = st.one_of(
            values.JSON.map(json.dumps), st.sampled_from(["NaN", "1e999", "-1", "999999999", "[1, 0.5]", ""])
        )
        safe = value.map(lambda text: text.encode("utf-8", "replace").decode())
        return st.dictionaries(st.sampled_from(keys), safe, min_size=1, max_size=2).map(
            lambda changes: sealed(material.folder, material.metadata | changes)
        )
    return None


def _resealed(data: bytes, material: Material) -> bytes:
    """A mutant whose digest fits again, where it still has one: what someone who means harm would hand out."""
    path = material.folder / "resealed.onnx"
    path.write_bytes(data or b"\0")
    try:
        seal(path)
    except UserError:
        return data
    return path.read_bytes()


def _optimizer_file(material: Material, training: Training, facts: dict[str, Any]) -> bytes:
    """An optimizer file whose digest fits, whatever it says of the training."""
    path = material.folder / "odd-optimizer.safetensors"
    write_training(path, replace(training, facts=facts))
    return ordered(path.read_bytes())


def _repacked(whole: bytes, rng: Random) -> bytes:
    """A checkpoint whose pickle is a mutant and whose checksums fit."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(packed, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            data = mutate(data, rng, data) if member.filename.endswith("data.pkl") else data
            new.writestr(zipfile.ZipInfo(member.filename), data)
    return packed.getvalue()


def _drawn(path: Path) -> np.ndarray:
    model = open_artifact(path, threads=1)
    zeros = np.zeros((1, 8, 8, 5 if model.coordinates else 3), np.float32)
    return model.denoise(zeros[..., :3] + 0.3, zeros[..., :3] - 0.2, np.array([model.timesteps - 1]))


def walk(door: str, path: Path, material: Material) -> str | None:
    """Bring the input at `path` through its door; SILENT where what came out differs from the whole one's."""
    if door in commands.COMMANDS:
        commands.run_words(door, json.loads(path.read_bytes()))
        return None
    return _WALKS[door](path, material)


def _picture(path: Path, material: Material) -> None:
    picture, tags = open_photo(path)
    save_picture(path.with_name("out.jpg"), fit_square(picture, 16, "letterbox"), tags)


def _pairs(path: Path, material: Material) -> None:
    held = material.folder / "data" / f"pairs{path.suffix}"
    held.write_bytes(path.read_bytes())
    try:
        open_source(DataConfig(path=str(held)))
    finally:
        held.unlink()


def _tree(path: Path, material: Material) -> str | None:
    picture = material.files["picture"]
    kinds = {".png": picture[4], ".jpg": picture[0], ".jfif": picture[0], ".heic": picture[0]}
    return trees.walk(path.read_bytes(), kinds)


def _environment(path: Path, material: Material) -> str | None:
    kind, detail = environments.ask(path.read_bytes(), material.folder)
    if kind == "refused in one line":
        raise commands.RefusedError(kind)
    if kind != "fine":
        raise commands.UntidyError(f"{kind}: {detail}")
    return None


def _sums(path: Path, material: Material) -> str | None:
    (material.folder / "sums" / "SHA256SUMS").write_bytes(path.read_bytes())
    return None if check_sums(material.folder / "sums") == 3 else SILENT


def _networks(path: Path, material: Material) -> str | None:
    folder = material.folder / "networks"
    (folder / NETWORKS_FILE).write_bytes(path.read_bytes())
    inside = all((folder / name).resolve().is_relative_to(folder.resolve()) for name in ours(folder))
    return None if inside and _in_its_place(folder) else SILENT


def _in_its_place(folder: Path) -> bool:
    """Whether every file of the networks lies directly in the folder `onnx`, under a name of its own."""
    files = [folder / FOLDER / one.file for held in networks(folder).values() for one in held.values()]
    return len(set(files)) == len(files) and all(file.parent == folder / FOLDER for file in files)


def _config(path: Path, material: Material) -> None:
    try:
        from_json(path.read_bytes().decode())
    except UnicodeDecodeError:
        raise UserError("the run folder's reader names this") from None


def _bundle(path: Path, material: Material) -> str | None:
    try:
        ours = read_bundle(path)
    except UserError:
        ours = None
    theirs = load_bundle(path)
    denoiser_graph.metadata(theirs)
    if ours is None:
        return None
    found = to_jax(theirs.model.state_dict(), theirs.config)
    return None if all(np.array_equal(found[name], value) for name, value in ours.weights.items()) else SILENT


def _onnx(path: Path, material: Material) -> str | None:
    data, whole = path.read_bytes(), material.files["onnx"][0]
    drawn = _drawn(path)
    if data == whole or _MARK.findall(data) != _MARK.findall(whole):
        return None  # Another file, honestly sealed: it may draw what it likes.
    return None if np.array_equal(drawn, _drawn(material.folder / "model.onnx")) else SILENT


def _pth(path: Path, material: Material) -> str | None:
    found = read_checkpoint(path)
    from_pth(path, path.with_name("out.safetensors"), path.with_name("out-optimizer.safetensors"))
    wanted = read_checkpoint(material.folder / "whole.pth").state
    zipped = path.read_bytes()[:2] == b"PK"  # The older format has no checksums.
    if zipped and zipfile.ZipFile(path).testzip() is None and _pickle_differs(path, material):
        return None  # Another file, honestly made.
    same = all(np.array_equal(found.state[name].numpy(), value.numpy()) for name, value in wanted.items())
    return None if same or not zipped else SILENT


def _pickle_differs(path: Path, material: Material) -> bool:
    found, wanted = (
        next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
        for archive in (zipfile.ZipFile(path), zipfile.ZipFile(material.folder / "whole.pth"))
    )
    return found != wanted


def _optimizer(path: Path, material: Material) -> None:
    read_training(path)
    to_pth(material.folder / "original.safetensors", path.with_name("out.pth"), path)


_WALKS: dict[str, Callable[[Path, Material], str | None]] = {
    "picture": _picture, "csv": _pairs, "jsonl": _pairs, "tree": _tree, "environment": _environment, "sums": _sums,
    "networks": _networks, "config": _config, "bundle": _bundle, "optimizer": _optimizer, "onnx": _onnx, "pth": _pth,
}  # fmt: skip
