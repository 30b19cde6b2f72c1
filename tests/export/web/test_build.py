"""The static folder: what it holds, what it says of the model, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.sealed import seal
from export.web import runtime, scenes
from export.web.__main__ import main
from export.web.build import build_page
from export.web.scenes import paint_scene


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime has tests of its own; here its files are small and need no network."""
    monkeypatch.setattr(runtime, "read_runtime", lambda source: {name: name.encode() for name in runtime.FILES})


def parts(site: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of everything that never changes, and the description of the model."""
    (app,) = site.glob("app-*")
    return app, json.loads((app / "model.json").read_text())


def test_a_page_holds_the_models_and_says_what_they_are(folder_of_models: Path, tmp_path: Path) -> None:
    build_page(folder_of_models, tmp_path / "site")
    app, described = parts(tmp_path / "site")
    model = open_artifact(folder_of_models / "onnx/model.onnx")
    assert described["alphas_cumprod"] == model.alphas_cumprod.tolist()  # every digit
    for key in ("prediction", "clamp", "size", "size_multiple", "fit", "steps", "sampler", "spacing", "weights_digest"):
        assert described[key] == getattr(model, key)
    assert [variant["name"] for variant in described["variants"]] == ["fp32", "int8"]
    for variant in described["variants"]:
        data = (app / variant["file"]).read_bytes()
        assert data == (folder_of_models / variant["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (variant["bytes"], variant["sha256"])
    for name in runtime.FILES:
        assert (app / "ort" / name).read_bytes() == name.encode()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            '{"measured": {"pairs": 9, "points": [[1, 18, 60], [0, 16.5, 180]]}}',
            [[0.0, 16.5, 180.0], [1.0, 18.0, 60.0]],
        ),
        ('{"measured": {"pairs": 9, "points": [[1, 18, 60]]}}', None),
        ('{"measured": {"pairs": 9, "points": [[0, 16.5], [1, 18]]}}', None),
        ('{"measured": {"pairs": "many", "points": [[0, 1, 2], [1, 1, 2]]}}', None),
        ('{"measured": 7}', None),
        ("{}", None),
        ("{", None),
        (None, None),
    ],
    ids=range(8),
)
def test_figures_of_a_slider_are_taken_over_where_they_make_sense(
    text: str | None, wanted: list[list[float]] | None, folder_of_models: Path, tmp_path: Path
) -> None:
    artifact = tmp_path / "artifact"
    shutil.copytree(folder_of_models, artifact)
    if text is not None:
        (artifact / "sampler_config.json").write_text(text)
    build_page(artifact, tmp_path / "site")
    found = parts(tmp_path / "site")[1]["measured"]
    assert found == (None if wanted is None else {"pairs": 9, "points": wanted})


def test_no_placeholder_is_left_and_every_kept_file_is_there(folder_of_models: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_page(folder_of_models, site)
    app, _ = parts(site)
    for path in [*site.glob("*.*"), *app.glob("*.*")]:
        assert "__" not in path.read_text(), path
    worker = (site / "sw.js").read_text()
    core = json.loads(worker.split("const CORE = ")[1].split(";\n")[0])
    assert {"page.js", "worker.js", "model.json", "onnx/model.onnx", "ort/ort.wasm.min.mjs"} <= set(core)
    assert [name for name in core if not (app / name).is_file()] == []
    assert not [name for name in core if "asyncify" in name or "int8" in name]  # kept when first used
    page = (site / "index.html").read_text()
    assert f"{app.name}/page.js" in page and "default-src 'none'" in page


def test_the_name_follows_the_content(folder_of_models: Path, tmp_path: Path) -> None:
    build_page(folder_of_models, tmp_path / "site")
    first = parts(tmp_path / "site")[0].name
    build_page(folder_of_models, tmp_path / "site")
    assert parts(tmp_path / "site")[0].name == first
    one = tmp_path / "one"
    shutil.copytree(folder_of_models, one)
    (one / "onnx/model_int8.onnx").unlink()
    build_page(one, tmp_path / "site")
    assert parts(tmp_path / "site")[0].name != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "site"]  # nothing half-made is left


def test_examples_are_painted_or_given(folder_of_models: Path, tmp_path: Path) -> None:
    build_page(folder_of_models, tmp_path / "painted")
    app, described = parts(tmp_path / "painted")
    assert [entry["title"] for entry in described["examples"]] == list(scenes.TITLES)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "notes.txt").write_text("not one of them")
    Image.new("RGB", (2000, 500), "teal").save(pictures / "wide_sea.png")
    build_page(folder_of_models, tmp_path / "given", pictures)
    app, described = parts(tmp_path / "given")
    (entry,) = described["examples"]
    assert entry["title"] == "wide sea"
    with Image.open(app / entry["file"]) as large, Image.open(app / entry["thumbnail"]) as small:
        assert (large.size, small.size) == ((1024, 256), (240, 60))


def named(folder_of_models: Path, folder: Path, words: dict[str, str]) -> Path:
    """A copy of the artifact whose files say `words`."""
    shutil.copytree(folder_of_models, folder)
    for path in (folder / "onnx").glob("*.onnx"):
        proto = onnx.load(path)
        onnx.helper.set_model_props(proto, {entry.key: entry.value for entry in proto.metadata_props} | words)
        onnx.save(proto, path)
        seal(path)
    return folder


def test_title_and_texts_are_the_artifact_s(folder_of_models: Path, tmp_path: Path) -> None:
    words = {"title": "<b>__APP__ & Co", "input_name": "sketch", "target_name": "painting"}
    build_page(named(folder_of_models, tmp_path / "artifact", words), tmp_path / "site")
    app, described = parts(tmp_path / "site")
    page = (tmp_path / "site/index.html").read_text()
    assert page.count("&lt;b&gt;__APP__ &amp; Co") == 2 and "<b>" not in page
    assert "From sketch to painting" in page and "sun" not in page.lower()
    assert json.loads((app / "page.webmanifest").read_text())["name"] == words["title"]
    assert described["words"] == {"title": words["title"], "input": "sketch", "target": "painting"}
    assert described["examples"] == []  # The painted ones are of sunrises.
    build_page(named(folder_of_models, tmp_path / "dawn", {"input_name": "sunrise"}), tmp_path / "site")
    assert len(parts(tmp_path / "site")[1]["examples"]) == len(scenes.TITLES)


def test_scenes_are_pictures_that_differ() -> None:
    painted = [scenes.paint_scene(number) for number in range(len(scenes.TITLES))]
    for picture in painted:
        assert picture.shape == (scenes.HEIGHT, scenes.WIDTH, 3) and picture.dtype == np.uint8
        assert picture[: scenes.HEIGHT // 3].mean() > picture[-20:].mean() + 50  # light above, dark reeds below
    np.testing.assert_array_equal(painted[0], paint_scene(0))  # Not the one that is kept.
    assert np.abs(painted[0].astype(int) - painted[1]).mean() > 10


def test_a_folder_of_something_else_is_left_alone(folder_of_models: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear diary")
    with pytest.raises(UserError, match="holds something else"):
        build_page(folder_of_models, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    "mistake", ["no artifact", "no model", "damaged", "other weights", "no examples", "no pictures"]
)
def test_mistakes_are_one_line_and_leave_nothing(folder_of_models: Path, tmp_path: Path, mistake: str) -> None:
    artifact, examples = tmp_path / "artifact", None
    if mistake != "no artifact":
        shutil.copytree(folder_of_models, artifact)
    model = artifact / "onnx/model_int8.onnx"
    if mistake == "no model":
        shutil.rmtree(artifact / "onnx")
    elif mistake == "damaged":
        data = bytearray(model.read_bytes())
        data[len(data) // 3] ^= 1
        model.write_bytes(data)
    elif mistake == "other weights":
        proto = onnx.load(model)
        for entry in proto.metadata_props:
            entry.value = {"weights_digest": 64 * "b", "file_digest": "sha256:" + 64 * "0"}.get(entry.key, entry.value)
        onnx.save(proto, model)
        seal(model)
    elif mistake == "no examples":
        examples = tmp_path / "nowhere"
    elif mistake == "no pictures":
        examples = tmp_path / "empty"
        examples.mkdir()
    before = sorted(tmp_path.rglob("*"))
    command = ["--artifact", str(artifact), "--output", str(tmp_path / "site")]
    with pytest.raises(UserError) as caught:
        main(command if examples is None else [*command, "--examples", str(examples)])
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_says_what_it_wrote(
    folder_of_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site"
    main(["--artifact", str(folder_of_models), "--output", str(site)])
    written = [path for path in site.rglob("*") if path.is_file()]
    assert f"{site}  {len(written)} files" in capsys.readouterr().out
    with pytest.raises(UserError, match="--artifact"):
        main([])
