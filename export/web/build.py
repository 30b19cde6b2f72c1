"""The static folder: page, scripts, runtime, model and examples, under a name that changes when any of them does.

site/index.html, sw.js     what a browser asks for again each time
site/app-<digest>/         everything else, which never changes under its name
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import io
import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from export.edge.choices import SPACINGS
from export.edge.disk.files import check_output_folder, sync_folder, sync_tree
from export.edge.disk.names import as_text
from export.edge.disk.reading import parse_json, read_text
from export.edge.errors import UserError
from export.edge.model.artifact import Artifact, open_artifact
from export.edge.model.codec import IDENTITY, SIDES
from export.edge.model.layout import DENOISER, model_file, networks, variants
from export.edge.pictures.arrays import resize
from export.edge.pictures.files import open_picture
from export.edge.sampling.tables import write_tables
from export.web import runtime, scenes
from export.web.serve import POLICY

MOST_EXAMPLES = 6
LONGEST_EXAMPLE = 1024
"""Pixels; larger example pictures are made smaller."""
THUMBNAIL = 240
"""Pixels, the longer side of what an example is chosen by."""
MARK = "model.json"
MANIFEST = "page.webmanifest"
USUAL_WORDS = {"title": "Picture translation", "input_name": "picture", "target_name": "translation"}
"""What a model is called that does not say it."""
EXAMPLE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def build_page(artifact: Path, output: Path, examples: Path | None = None, onnxruntime_web: Path | None = None) -> None:
    """Write the page for the model files in the folder `artifact` into the folder `output`.

    `examples` is a folder of pictures to offer, at most MOST_EXAMPLES of them by name; None paints sunrises, where the
    model takes these or does not say what it takes. `onnxruntime_web` is where `read_runtime` shall look. A page that
    an earlier build left in `output` gives way once the new one is whole. Raises UserError for an artifact without a
    usable model, variants of different weights, examples that cannot be read, a runtime that cannot be had, and an
    `output` that holds anything else.
    """
    check_output(output)
    files = pack(artifact, examples, onnxruntime_web)
    _replace(output, files)


def pack(artifact: Path, examples: Path | None, onnxruntime_web: Path | None) -> dict[str, bytes]:
    """Everything in the folder: path, with slashes, to content."""
    models, description = _models(artifact)
    painted = description["words"]["input"] in ("sunrise", USUAL_WORDS["input_name"])
    pictures, listed = _examples(_given(examples) if examples else _painted() if painted else [])
    static, (title, way) = _static("app"), _headings(description["words"])
    manifest = json.loads(static[MANIFEST]) | {
        "name": title,
        "short_name": title,
        "description": f"{way}, on this device.",
    }
    app: dict[str, bytes] = {**static, MANIFEST: _json(manifest), **models, **pictures}
    app |= {f"ort/{name}": data for name, data in runtime.read_runtime(onnxruntime_web).items()}
    described = {backend: [f"ort/{name}" for name in names] for backend, names in runtime.BACKENDS.items()}
    app[MARK] = _json({**description, "examples": listed, "runtime": described})
    outside = _static("")
    version = f"app-{_digest({**app, **outside})[:12]}"
    # What any device needs; what only some do, and the other precisions, are kept when they are first used.
    first, codec = description["variants"][0], description["codec"]["files"]
    core = [name for name in app if not name.startswith(("onnx/", "ort/"))]
    core += [entry["file"] for entry in (first, *first["others"].values(), *codec.values())]
    core += [f"ort/{name}" for name in runtime.BACKENDS["wasm"]]
    names = {"__APP__": version, "__CORE__": json.dumps(sorted(set(core))), "__POLICY__": POLICY}
    names |= {"__TITLE__": html.escape(title), "__WAY__": html.escape(way)}
    return {f"{version}/{name}": data for name, data in app.items()} | {
        name: _fill(data, names) for name, data in outside.items()
    }


def check_output(output: Path) -> None:
    """Raise UserError unless a page can be written to `output`: new, empty, or left by an earlier build."""
    check_output_folder(output, "--output")
    if output.is_dir() and any(output.iterdir()) and not any(output.glob(f"app-*/{MARK}")):
        raise UserError(
            f"--output {output} holds something else than an earlier page; remove it or name another folder"
        )


def _headings(words: Mapping[str, str]) -> tuple[str, str]:
    """The page's title, and the line below it."""
    return words["title"], f"From {words['input']} to {words['target']}"


def _static(folder: str) -> dict[str, bytes]:
    """The files of this package's folder `static` or of one inside it."""
    entries = sorted((resources.files("export.web") / "static" / folder).iterdir(), key=lambda entry: entry.name)
    return {entry.name: entry.read_bytes() for entry in entries if entry.is_file()}


def _models(artifact: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The model files, and what the page must know of them."""
    if not artifact.is_dir():
        raise UserError(f"--artifact {artifact} is no folder; name the folder that export.to_onnx wrote")
    paths, known = variants(artifact), networks(artifact)[DENOISER]
    if not paths:
        raise UserError(f"--artifact {artifact} holds no onnx/model.onnx; make it with `python -m export.to_onnx`")
    models = {name: open_artifact(artifact, threads=1, variant=name) for name in paths}
    settings = {name: _settings(model) for name, model in models.items()}
    (first, wanted), *others = settings.items()
    for name, found in others:
        if found != wanted:
            raise UserError(f"model {paths[name]} is not made from what {paths[first]} is; export both again")
    files: dict[str, bytes] = {}

    def listed(path: Path) -> dict[str, Any]:
        file = f"onnx/{path.name}"
        data = files[file] = files.get(file) or path.read_bytes()
        return {"file": file, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    entries = [
        {
            "name": name,
            "description": known[name].description,
            **listed(path),
            "others": {other: listed(model_file(artifact, name, other)) for other in models[name].sources},
        }
        for name, path in paths.items()
    ]
    sides = () if models[first].codec.name == IDENTITY else SIDES
    codec = wanted["codec"] | {"files": {side: listed(model_file(artifact, network=side)) for side in sides}}
    return files, {**wanted, "codec": codec, "variants": entries, "measured": _measured(artifact)}


def _measured(artifact: Path) -> dict[str, Any] | None:
    """The figures along the slider from sampler_config.json; None where none are there that can be used."""
    path = artifact / "sampler_config.json"
    try:
        found = parse_json(read_text(path, "settings"))["measured"]
        points = [[float(value) for value in point] for point in found["points"]]
        pairs = int(found["pairs"])
    except (UserError, KeyError, TypeError, ValueError):
        return None
    whole = len(points) > 1 and all(len(point) == 3 and all(map(math.isfinite, point)) for point in points)
    return {"pairs": pairs, "points": sorted(points)} if whole else None


def _settings(model: Artifact) -> dict[str, Any]:
    """What a sampler needs in addition to the graph, as JSON can hold it; the same for every variant of a model."""
    values = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in ("denoise", "others")}
    schedule, tables = model.alphas_cumprod, model.tables
    values["alphas_cumprod"] = None if schedule is None else schedule.tolist()
    values["tables"] = None if tables is None else json.loads(write_tables(tables))
    values["codec"] = model.codec.as_entry()
    values["likeness"] = None if model.likeness is None else model.likeness.as_entry()
    title, given, made = (getattr(model.words, name) or usual for name, usual in USUAL_WORDS.items())
    values["words"] = {"title": title, "input": given, "target": made}
    return {**values, "timesteps": model.timesteps, "samplers": list(model.samplers), "spacings": list(SPACINGS)}


def _examples(given: Sequence[tuple[str, np.ndarray]]) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    """The example pictures and their thumbnails, and how the page lists them."""
    files: dict[str, bytes] = {}
    listed = []
    for number, (title, picture) in enumerate(given):
        entry = {"title": title, "file": f"examples/{number}.jpg", "thumbnail": f"examples/{number}-small.jpg"}
        files[entry["file"]] = _jpeg(_shrunk(picture, LONGEST_EXAMPLE))
        files[entry["thumbnail"]] = _jpeg(_shrunk(picture, THUMBNAIL))
        listed.append(entry)
    return files, listed


def _painted() -> list[tuple[str, np.ndarray]]:
    return [(title, scenes.paint_scene(number)) for number, title in enumerate(scenes.TITLES)]


def _given(folder: Path) -> list[tuple[str, np.ndarray]]:
    if not folder.is_dir():
        raise UserError(f"--examples {folder} is no folder; name a folder of pictures")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXAMPLE_SUFFIXES)[:MOST_EXAMPLES]
    if not paths:
        raise UserError(
            f"--examples {folder} holds no {', '.join(sorted(EXAMPLE_SUFFIXES))}; put pictures there or leave it out"
        )
    return [(as_text(path.stem).replace("_", " ").replace("-", " "), open_picture(path)) for path in paths]


def _shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = min(1.0, longest / max(height, width))
    return resize(picture, max(1, round(height * scale)), max(1, round(width * scale)))


def _jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _fill(data: bytes, names: Mapping[str, str]) -> bytes:
    """The data with each of the names replaced by its value, which may hold anything."""
    return re.sub(rb"__[A-Z]+__", lambda found: names[found[0].decode()].encode(), data)


def _replace(output: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` next to `output` and then put them in its place, so that no reader meets half a page."""
    temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        new, old = temporary / "new", temporary / "old"
        for name, data in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        sync_tree(new)
        if output.exists():
            output.replace(old)
        new.replace(output)
        sync_folder(output.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_count(files: Sequence[Path]) -> str:
    """How many files there are and what they weigh."""
    return f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
