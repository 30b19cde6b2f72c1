"""The folder of an artifact: whole or not at all, known by its digests, and its golden picture comes back."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from export.edge.disk.sums import check_sums
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import ARTIFACT_FILES, SUMS
from export.edge.model.sealed import seal
from export.edge.pictures.files import open_picture, save_picture
from export.folder import check_golden, measured_of, staged
from torch_ref.weights import load_bundle


@pytest.fixture
def artifact(exported: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of an exported folder, to change."""
    return Path(shutil.copytree(exported[1].parents[1], tmp_path / "copy"))


LOOPS = ("onnx/sampler", "onnx/photo", "onnx/required_operators")


def test_it_holds_what_belongs_to_it(exported: tuple[Path, Path]) -> None:
    bundle, folder = load_bundle(exported[0]), exported[1].parents[1]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    # The bundle recommends ddpm, which no loop in a graph can be; whether 8 bits pass depends on the random weights.
    all_of_them = {name for name in ARTIFACT_FILES if not name.startswith(LOOPS)}
    assert all_of_them - {"onnx/model_int8.onnx"} <= there <= all_of_them
    assert (folder / "model.safetensors").read_bytes() == exported[0].read_bytes()
    config, preprocessor, sampler = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("config", "preprocessor_config", "sampler_config")
    )
    assert config == bundle.config["model"] | {"weights_digest": bundle.weights_digest}
    assert (preprocessor["size"], preprocessor["fit"]) == ({"height": 24, "width": 24}, "letterbox")
    assert (preprocessor["image_processor_type"], preprocessor["resample"]) == (
        "ViTImageProcessor",
        Image.Resampling.LANCZOS,
    )
    values = np.array([0, 255]) * preprocessor["rescale_factor"]
    np.testing.assert_allclose((values - preprocessor["image_mean"][0]) / preprocessor["image_std"][0], [-1.0, 1.0])
    np.testing.assert_array_equal(sampler["alphas_cumprod"], bundle.alphas_cumprod)
    assert (sampler["sampler"], sampler["steps"], sampler["clamp"]) == ("ddpm", 7, None)


def test_the_figures_of_a_slider_come_from_an_evaluation() -> None:
    def point(realism: float, colour: float) -> dict[str, Any]:
        metrics = {"delta_e": {"mean": colour}, "joint_swd": {"mean": 10 * colour}, "psnr": {"mean": 1.0}}
        return {"realism": realism, "metrics": metrics}

    evaluation = {"data": {"pairs": 7}, "realism_curve": [point(1, 18.0), point(0, 16.0)]}
    assert measured_of(evaluation) == {"pairs": 7, "points": [[0, 16.0, 160.0], [1, 18.0, 180.0]]}
    assert measured_of({"data": {"pairs": 7}}) is None


def test_other_tools_read_its_digests(exported: tuple[Path, Path]) -> None:
    folder = exported[1].parents[1]
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == check_sums(folder)


@pytest.mark.parametrize("name", ["onnx/model.onnx", "config.json", "golden/output.png", "model.safetensors"])
def test_a_changed_or_missing_file_is_named(name: str, artifact: Path) -> None:
    data = bytearray((artifact / name).read_bytes())
    data[len(data) // 2] ^= 1
    (artifact / name).write_bytes(data)
    with pytest.raises(UserError, match=f"{name} is changed or damaged"):
        check_sums(artifact)
    (artifact / name).unlink()
    with pytest.raises(UserError, match=f"{name} does not exist"):
        check_sums(artifact)
    (artifact / SUMS).write_text(64 * "0" + "  ../secret\n")
    with pytest.raises(UserError, match=r"names '\.\./secret'"):
        check_sums(artifact)


def test_the_golden_picture_comes_back(artifact: Path) -> None:
    assert check_golden(artifact) == 0
    path = artifact / "golden" / "output.png"
    save_picture(path, np.clip(open_picture(path).astype(int) + 9, 0, 255).astype(np.uint8))
    assert check_golden(artifact) > 2
    (artifact / "golden" / "golden.json").write_text("{}")
    with pytest.raises(UserError, match="has no seed"):
        check_golden(artifact)


def test_nothing_changes_when_the_work_breaks_off(tmp_path: Path) -> None:
    for output in (tmp_path / "new", tmp_path / "old"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ZeroDivisionError), staged(output) as new:
            (new / "config.json").write_text("half" + str(1 / 0))
        assert sorted(tmp_path.rglob("*")) == before
        (tmp_path / "old").mkdir(exist_ok=True)
        (tmp_path / "old" / "config.json").write_text("old")
    assert (tmp_path / "old" / "config.json").read_text() == "old"


def test_a_second_export_replaces_the_first_and_spares_the_rest(tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    with staged(output) as new:
        (new / "onnx").mkdir()
        (new / "onnx" / "sampler.onnx").write_text("first")
        (new / "config.json").write_text("first")
    (output / "notes.txt").write_text("mine")
    with staged(output) as new:
        assert (output / "onnx" / "sampler.onnx").exists()
        (new / "config.json").write_text("second")
    assert {p.name for p in output.rglob("*") if p.is_file()} == {"config.json", "notes.txt", SUMS}
    assert (output / "config.json").read_text() == "second"
    assert check_sums(output) == 1


def test_weights_outside_the_file_are_not_read(exported: tuple[Path, Path], tmp_path: Path) -> None:
    """A sealed graph whose weights lie in a file beside it is refused, though that file is there."""
    model = onnx.load(exported[1])
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").is_file()
    model = onnx.load(path, load_external_data=False)
    held = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, held | {"file_digest": "sha256:" + 64 * "0"})
    path.write_bytes(model.SerializeToString())
    seal(path)
    with pytest.raises(UserError, match="has weights in another file"):
        open_artifact(path)
