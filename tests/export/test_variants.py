"""A variant of a user's own module goes through every command; those that only read the artifact do without it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export import bench, to_onnx, verify
from export.edge.__main__ import main as edge
from export.edge.disk.sums import check_sums
from export.edge.errors import UserError, run
from export.edge.model.layout import NETWORKS_FILE, SUMS, variants
from export.edge.model.variants import VARIANTS
from export.edge.pictures.files import open_picture, save_picture
from export.makers import MAKERS
from export.probes import paint_probe
from export.web import runtime
from export.web.build import build_page

PLUGIN = '''
import numpy as np
from onnx import numpy_helper

from export.edge.model.variants import VARIANTS, Variant
from export.makers import MAKERS, Candidate


def short(source):
    """Weights with one bit of the fraction, then, where that is too coarse, with eleven."""
    for bits in (1, 11):
        graph = source.copy()
        for tensor in graph.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                fraction, exponent = np.frexp(values)
                rounded = np.ldexp(np.round(fraction * 2**bits) / 2**bits, exponent).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
        yield Candidate(graph, f"{bits} bits of the fraction")


VARIANTS.add("short", Variant("model_short.onnx", 30.0, "short floats"))
MAKERS.add("short", short)
'''


def export(bundle: Path, folder: Path, *words: str) -> str:
    """What the command prints when the module lies where it is started; after it, no one here knows the variant."""
    (folder / "short_floats.py").write_text(PLUGIN)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(folder)
        try:
            to_onnx.main([str(bundle), "--output", "artifact", "--plugin", "short_floats", *words])
        finally:
            del sys.modules["short_floats"]
            for registry in (VARIANTS, MAKERS):
                del registry._entries["short"], registry._plugins["short"]
    return said.getvalue()


@pytest.fixture(scope="module")
def artifact(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    bundle = make_bundle(folder / "model.safetensors", "unet")
    said = export(bundle, folder, "--variants", "fp32", "short", "--no-sampler")
    assert re.search(r"onnx/model_short\.onnx .* MB  worst picture [3-9]\d\.\d dB", said)
    return folder / "artifact"


def test_the_artifact_names_it(artifact: Path) -> None:
    held = json.loads((artifact / NETWORKS_FILE).read_text())["networks"]["denoiser"]
    assert held == {
        "fp32": {"file": "model.onnx", "bar_db": None, "description": "float32"},
        "short": {"file": "model_short.onnx", "bar_db": 30.0, "description": "short floats"},
    }
    assert "onnx/model_short.onnx" in (artifact / "SHA256SUMS").read_text()
    assert check_sums(artifact) == len([p for p in artifact.rglob("*") if p.is_file()]) - 1
    assert "short floats; 11 bits of the fraction |" in (artifact / "README.md").read_text()


def test_it_is_judged_by_the_bar_that_the_artifact_names(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_picture(tmp_path / "0.png", paint_probe(0, 24))
    words = [str(artifact), "--pictures", str(tmp_path), "--steps", "2", "--threads", "1"]
    verify.main(words)
    assert "model_short.onnx" in capsys.readouterr().out
    text = (artifact / NETWORKS_FILE).read_text()
    monkeypatch.setattr(verify, "check_sums", lambda folder: 0)
    try:
        (artifact / NETWORKS_FILE).write_text(text.replace("30.0", "99.0"))
        with pytest.raises(UserError, match=r"model_short\.onnx: the worst picture has .*, under the bar of 99;"):
            verify.main(words)
    finally:
        (artifact / NETWORKS_FILE).write_text(text)


def test_the_edge_opens_it(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "photo.png"
    save_picture(photo, paint_probe(0, 24))
    for name in ("fp32", "short"):
        edge([str(artifact), str(photo), str(tmp_path / f"{name}.png"), "--variant", name, "--steps", "2"])
    exact, short = (open_picture(tmp_path / f"{name}.png").astype(int) for name in ("fp32", "short"))
    assert 0 < np.abs(exact - short).max() < 20
    edge(["info", str(artifact)])
    assert re.search(r"variants +short 0\.\d MB, OK", capsys.readouterr().out)
    with pytest.raises(UserError, match="has no variant int8: it has fp32, short"):
        edge([str(artifact), str(photo), str(tmp_path / "none.png"), "--variant", "int8"])


def test_it_is_timed(artifact: Path) -> None:
    lines = bench.plan(variants(artifact), artifact / "model.safetensors", [1], 1, with_original=False)
    assert [line.title for line in lines] == ["fp32, model.onnx", "short, model_short.onnx", "PyTorch, eager"]
    assert lines[1].model == artifact / "onnx" / "model_short.onnx"


def test_the_page_offers_it(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "read_runtime", lambda source: {name: name.encode() for name in runtime.FILES})
    build_page(artifact, tmp_path / "site")
    (model,) = tmp_path.glob("site/app-*/model.json")
    assert [(v["name"], v["description"], v["file"]) for v in json.loads(model.read_text())["variants"]] == [
        ("fp32", "float32", "onnx/model.onnx"),
        ("short", "short floats", "onnx/model_short.onnx"),
    ]


def test_a_later_export_without_it_removes_it(artifact: Path, tmp_path: Path) -> None:
    bundle = artifact / "model.safetensors"
    export(bundle, tmp_path, "--variants", "short")
    assert {path.name for path in tmp_path.glob("artifact/onnx/*")} == {"model.onnx", "model_short.onnx"}
    (tmp_path / "artifact/notes.txt").write_text("mine")
    to_onnx.main([str(bundle), "--output", str(tmp_path / "artifact"), "--variants", "fp32", "--no-sampler"])
    assert {path.name for path in tmp_path.glob("artifact/onnx/*")} == {"model.onnx"}
    assert (tmp_path / "artifact/notes.txt").is_file()


def test_without_the_module_the_name_is_unknown(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(artifact / "model.safetensors"), "--output", str(tmp_path / "artifact"), "--variants", "short"]
    with pytest.raises(SystemExit) as ended:
        run(lambda: to_onnx.main(words))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and len(said.splitlines()) == 1 and "'short'" in said


@pytest.mark.parametrize("exported", ["unet"], indirect=True)
def test_an_artifact_of_before_networks_json_is_read_as_ever(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = Path(shutil.copytree(exported[1].parents[1], tmp_path / "old"))
    (old / NETWORKS_FILE).unlink()
    kept = [line for line in (old / SUMS).read_text().splitlines(keepends=True) if NETWORKS_FILE not in line]
    (old / SUMS).write_text("".join(kept))
    save_picture(tmp_path / "0.png", paint_probe(0, 24))
    verify.main([str(old), "--pictures", str(tmp_path), "--steps", "2", "--threads", "1"])
    assert "golden picture: largest difference 0 of 255" in capsys.readouterr().out
    edge(["info", str(old)])
    assert re.search(r"variants +fp16 0\.\d MB, OK", capsys.readouterr().out)
    edge([str(old), str(tmp_path / "0.png"), str(tmp_path / "half.png"), "--variant", "fp16", "--steps", "1"])
    monkeypatch.setattr(runtime, "read_runtime", lambda source: {name: name.encode() for name in runtime.FILES})
    build_page(old, tmp_path / "site")
    (model,) = tmp_path.glob("site/app-*/model.json")
    assert [v["name"] for v in json.loads(model.read_text())["variants"]][:2] == ["fp32", "fp16"]
