"""What can be said of a model without running it, beside what onnx says of the same file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from PIL import Image

from export.edge.__main__ import main
from export.edge.errors import UserError
from export.edge.info import describe
from export.edge.model.layout import SUMS, model_file, variants
from export.edge.model.onnx_file import onnx_versions

MakeModel = Callable[..., Path]


@pytest.fixture
def artifact(make_model: MakeModel, tmp_path: Path) -> Path:
    """An artifact folder with two variants and its sums."""
    folder = tmp_path / "artifact"
    (folder / "onnx").mkdir(parents=True)
    for name in ("model.onnx", "model_int8.onnx"):
        shutil.copy(make_model(sampler="dpmpp", steps="7"), folder / "onnx" / name)
    (folder / "config.json").write_text("{}\n")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    ]
    (folder / SUMS).write_text("".join(lines))
    return folder


def test_the_versions_are_those_that_onnx_reads(make_model: MakeModel) -> None:
    path = make_model()
    model = onnx.load(path)
    assert onnx_versions(path.read_bytes()) == (model.ir_version, model.opset_import[0].version) == (8, 17)
    model.opset_import.insert(0, onnx.helper.make_opsetid("com.microsoft", 300))
    assert onnx_versions(model.SerializeToString()) == (8, 17)


def test_a_folder_is_described_with_all_it_holds(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", str(artifact), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told == describe(artifact)
    assert (told["sampler"], told["steps"], told["timesteps"], told["prediction"]) == ("dpmpp", 7, 100, "x0")
    assert told["digest"] == "OK" and told["files_checked"] == 3
    assert told["variants"] == {"int8": (artifact / "onnx/model_int8.onnx").stat().st_size}
    main(["info", str(artifact)])
    text = capsys.readouterr().out
    for part in ("opset 17", "32 x 32", "dpmpp, 7 of 100 steps, trailing", "digest       OK", "int8", "3 files OK"):
        assert part in text


def test_a_file_is_described_alone(artifact: Path) -> None:
    told = describe(artifact / "onnx/model.onnx")
    assert "variants" not in told and told["bytes"] == (artifact / "onnx/model.onnx").stat().st_size


@pytest.mark.parametrize("name", ["onnx/model.onnx", "onnx/model_int8.onnx", "config.json"])
def test_damage_is_found_wherever_it_is(artifact: Path, name: str) -> None:
    data = bytearray((artifact / name).read_bytes())
    data[len(data) // 2] ^= 1
    (artifact / name).write_bytes(data)
    with pytest.raises(UserError, match=f"{name} is changed or damaged"):
        describe(artifact)


def test_only_the_expected_file_is_described(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = hashlib.sha256((artifact / "onnx/model.onnx").read_bytes()).hexdigest()
    main(["info", str(artifact), "--expect-sha256", digest])
    assert f"sha256       {digest}" in capsys.readouterr().out
    photo, output = artifact / "photo.png", artifact / "out.png"
    Image.new("RGB", (8, 8)).save(photo)
    for words in (["info", str(artifact)], [str(artifact), str(photo), str(output)]):
        with pytest.raises(UserError, match=f"has the SHA-256 {digest}, not the expected 0000"):
            main([*words, "--expect-sha256", 64 * "0"])
    with pytest.raises(UserError, match="--expect-sha256 0 is no SHA-256"):
        main(["info", str(artifact), "--expect-sha256", "0"])


def test_a_missing_file_and_a_wrong_word_are_named(artifact: Path) -> None:
    (artifact / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json does not exist"):
        describe(artifact)
    with pytest.raises(UserError, match="none does not exist"):
        main(["info", str(artifact / "none")])
    with pytest.raises(UserError, match=r"required: model; see `python -m export\.edge info --help`"):
        main(["info"])


def test_a_variant_is_chosen_from_a_folder(artifact: Path) -> None:
    assert model_file(artifact).name == model_file(artifact, "fp32").name == "model.onnx"
    assert model_file(artifact, "int8").name == "model_int8.onnx"
    assert list(variants(artifact)) == ["fp32", "int8"]
    with pytest.raises(UserError, match="has no variant fp16: it has fp32, int8; choose another"):
        model_file(artifact, "fp16")
    with pytest.raises(UserError, match=r"has no onnx/model\.onnx at all"):
        model_file(artifact / "onnx")
    with pytest.raises(UserError, match="--variant int8 chooses from an artifact folder"):
        model_file(artifact / "onnx/model.onnx", "int8")
