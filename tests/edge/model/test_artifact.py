"""The model file: sealed, checked before it is opened, opened, and refused with a reason."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.edge.errors import UserError
from export.edge.model import artifact, sealed
from export.edge.model.layout import write_networks
from export.edge.model.likeness import features, fit
from export.edge.model.variants import VARIANTS, Variant
from export.edge.pictures.arrays import working

MakeModel = Callable[..., Path]


def test_an_artifact_says_what_its_metadata_says(make_model: MakeModel) -> None:
    model = artifact.open_artifact(make_model(clamp="null", prediction="v", sampler="ddpm", fit="letterbox"), threads=1)
    assert (model.prediction, model.clamp, model.sampler, model.fit) == ("v", None, "ddpm", "letterbox")
    assert (model.size, model.size_multiple, model.steps) == (32, 8, 4)
    assert model.weights_digest == 64 * "a"
    assert model.alphas_cumprod.dtype == np.float64 and model.alphas_cumprod.shape == (100,)


def test_what_older_files_lack_has_its_old_meaning(make_model: MakeModel) -> None:
    model = artifact.open_artifact(make_model())
    assert (model.spacing, model.threshold, model.coordinates) == ("trailing", 0.0, False)
    model = artifact.open_artifact(make_model(spacing="logsnr", threshold="0.995", sampler="dpmpp"))
    assert (model.spacing, model.threshold, model.sampler) == ("logsnr", 0.995, "dpmpp")


def test_what_training_inputs_look_like_is_there_or_not(make_model: MakeModel) -> None:
    rng = np.random.default_rng(0)
    known = fit(np.stack([features(rng.integers(0, 60, (32, 32, 3), np.uint8)) for _ in range(20)]))
    assert known is not None
    dark, light = (rng.integers(low, low + 60, (40, 70, 3), np.uint8) for low in (0, 190))
    assert artifact.open_artifact(make_model()).unlikeness(dark) is None
    model = artifact.open_artifact(make_model(likeness=known.to_json()))
    assert model.unlikeness(light) == known.distance(working(light, 32, "crop", 8)) > 2
    with pytest.raises(UserError, match=r"model\.onnx: likeness does not describe pictures .*; export it again$"):
        artifact.open_artifact(make_model(likeness=known.to_json().replace("[", "[0,", 1)))


def test_the_schedule_crosses_to_the_last_bit(make_model: MakeModel) -> None:
    schedule = np.sort(np.random.default_rng(0).uniform(0, 1, 50))[::-1]
    model = artifact.open_artifact(make_model(alphas_cumprod=json.dumps(schedule.tolist())))
    np.testing.assert_array_equal(model.alphas_cumprod, schedule)


def test_denoise_takes_and_gives_channels_last(make_model: MakeModel) -> None:
    path = make_model()
    random = np.random.default_rng(0)
    x_t, cond = random.standard_normal((2, 2, 8, 16, 3)).astype(np.float32)
    t = np.array([3, 90])
    found = artifact.open_artifact(path).denoise(x_t, cond, t)
    assert found.shape == x_t.shape and found.dtype == np.float32 and found.flags.c_contiguous
    reference = onnx.load(path).graph.initializer[0]
    kernel = onnx.numpy_helper.to_array(reference)
    padded = np.pad(np.concatenate([x_t, cond], -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = (
        sum(padded[:, i : i + 8, j : j + 16] @ kernel[:, :, i, j].T for i in range(3) for j in range(3))
        + (t / 1000.0)[:, None, None, None]
    )
    np.testing.assert_allclose(found, np.tanh(expected), atol=1e-5)


def test_a_model_with_coordinates_takes_whole_pictures_and_parts_of_one(make_model: MakeModel) -> None:
    model = artifact.open_artifact(make_model(coordinates="true"))
    assert model.coordinates
    random = np.random.default_rng(0)
    x_t, cond = random.standard_normal((2, 2, 16, 24, 3)).astype(np.float32)
    t = np.array([3, 90])
    whole = model.denoise(x_t, cond, t)
    rows, columns = np.mgrid[:16, :24] + 0.5
    placed = np.concatenate([cond, np.tile(np.stack([rows / 8 - 1, columns / 12 - 1], -1), (2, 1, 1, 1))], -1)
    np.testing.assert_allclose(model.denoise(x_t, placed, t), whole, atol=1e-6)
    # The model looks one pixel far: inside, a part that knows its place says what the whole picture says.
    part = model.denoise(x_t[:, 8:, 8:16], placed[:, 8:, 8:16], t)
    np.testing.assert_allclose(part[:, 1:-1, 1:-1], whole[:, 9:-1, 9:15], atol=1e-6)
    assert np.abs(model.denoise(x_t[:, 8:, 8:16], cond[:, 8:, 8:16], t) - part)[:, 1:-1, 1:-1].max() > 1e-3


def test_the_seal_is_the_digest_of_the_file_with_zeros_in_its_place(make_model: MakeModel) -> None:
    path = make_model(seal=False)
    unsealed = path.read_bytes()
    assert unsealed.count(sealed.UNSEALED.encode()) == 1
    digest = sealed.seal(path)
    assert digest == hashlib.sha256(unsealed).hexdigest()
    assert path.read_bytes() == unsealed.replace(64 * b"0", digest.encode())
    assert sealed.seal(path) == digest
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_unsealed_file_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(UserError, match="damaged"):
        artifact.open_artifact(make_model(seal=False))


def test_a_changed_byte_anywhere_is_refused(make_model: MakeModel) -> None:
    path = make_model()
    whole = path.read_bytes()
    for place in [*range(0, len(whole), max(1, len(whole) // 300)), len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x04]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"model\.onnx is (changed or damaged|not a whole file)"):
            artifact.open_artifact(path)
    path.write_bytes(whole)
    artifact.open_artifact(path)


@pytest.mark.parametrize(
    "change", [lambda data: data[: len(data) // 2], lambda data: data[:-1], lambda data: data + b"\0"]
)
def test_a_file_cut_short_or_lengthened_is_refused(make_model: MakeModel, change: Callable[[bytes], bytes]) -> None:
    path = make_model()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match="get a fresh copy"):
        artifact.open_artifact(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"just words\n", "no digest"),
        (b"sha256:" + 64 * b"a" + b" sha256:" + 64 * b"b", "2 digests"),
        (b"sha256:" + 63 * b"a", "no digest"),
        (b"sha256:" + 65 * b"a", "no digest"),
        (b"sha256:" + 64 * b"a", "damaged"),
    ],
    ids=["empty", "words", "two digests", "short digest", "long digest", "digest alone"],
)
def test_files_that_are_no_model_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        artifact.open_artifact(path)


def test_a_sealed_text_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"text " + sealed.UNSEALED.encode())
    sealed.seal(path)
    with pytest.raises(UserError, match="is no whole ONNX file"):
        artifact.open_artifact(path)


def test_what_onnxruntime_refuses_is_one_line(make_model: MakeModel, capfd: pytest.CaptureFixture[str]) -> None:
    path = make_model()
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    path.write_bytes(re.sub(rb"sha256:[0-9a-f]{64}", sealed.UNSEALED.encode(), model.SerializeToString()))
    sealed.seal(path)
    with pytest.raises(UserError, match=r"onnxruntime .* cannot open model .*model\.onnx") as caught:
        artifact.open_artifact(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_onnx_file_of_someone_else_is_refused(tmp_path: Path) -> None:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
    body = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "other", value[:1], value[1:])
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(body), path)
    with pytest.raises(UserError, match=r"other\.onnx is not a whole file written by export\.to_onnx"):
        artifact.open_artifact(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model .* does not exist"):
        artifact.open_artifact(tmp_path / "none.onnx")
    with pytest.raises(UserError, match=r"has no onnx/model\.onnx at all"):
        artifact.open_artifact(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "format 'other', expected 'dawn2dusk'"),
        ({"format": None}, "format '', expected 'dawn2dusk'"),
        ({"format_version": "3"}, "format version .3., this program reads 1 and 2"),
        ({"steps": None, "fit": None}, "lacks the metadata fit, steps"),
        ({"prediction": "noise"}, "prediction is 'noise'"),
        ({"fit": "pad"}, "fit is 'pad'"),
        ({"sampler": "euler"}, "sampler is 'euler'"),
        ({"value_range": "[0, 1]"}, "value_range is"),
        ({"size": "0"}, "size is '0'"),
        ({"size_multiple": "1.5"}, "size_multiple is '1.5'"),
        ({"steps": "-4"}, "steps is '-4'"),
        ({"steps": "101"}, r"steps 101 is outside 1 \.\.\. 100"),
        ({"spacing": "karras"}, "spacing is 'karras', not one of trailing, leading, linspace, logsnr"),
        ({"coordinates": "1"}, "coordinates is '1', not one of false, true"),
        ({"threshold": "1.5"}, "threshold is 1.5, not a number from 0 to 1"),
        ({"threshold": "NaN"}, "threshold is not JSON"),
        ({"threshold": "null"}, "threshold is None"),
        ({"clamp": "-1"}, "clamp is -1"),
        ({"clamp": "NaN"}, "clamp is not JSON"),
        ({"clamp": "one"}, "clamp is not JSON"),
        ({"alphas_cumprod": "[0.9, 0.5"}, "alphas_cumprod is not JSON"),
        ({"alphas_cumprod": '{"a": 1}'}, "alphas_cumprod is not a list of numbers"),
        ({"alphas_cumprod": "[0.5, 0.9]"}, "alphas_cumprod must be a list of numbers that fall"),
        ({"alphas_cumprod": "[]"}, "alphas_cumprod must be"),
    ],
)
def test_metadata_that_makes_no_sense_is_named(
    make_model: MakeModel, changes: dict[str, str | None], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        artifact.open_artifact(make_model(**changes))
    assert "model.onnx" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("rename", [("cond", "condition"), ("prediction", "out")])
def test_a_graph_with_other_inputs_or_outputs_is_refused(make_model: MakeModel, rename: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=rf"has the (inputs|outputs) .*{rename[1]}.* expected"):
        artifact.open_artifact(make_model(rename=rename))


def test_threads_must_be_one_or_more(make_model: MakeModel) -> None:
    with pytest.raises(UserError, match="threads 0 is less than 1"):
        artifact.open_artifact(make_model(), threads=0)


def test_a_run_that_fails_is_one_line(make_model: MakeModel) -> None:
    model = artifact.open_artifact(make_model())
    x = np.zeros((1, 8, 8, 3), np.float32)
    with pytest.raises(UserError, match=r"failed on pictures of 8 x 8") as caught:
        model.denoise(x, x[:, :4], np.zeros(1, np.int64))
    assert "\n" not in str(caught.value)


def test_without_onnxruntime_the_remedy_is_named(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_model()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="pip install onnxruntime"):
        artifact.open_artifact(path)


def test_importing_the_floor_imports_nothing_heavy() -> None:
    """Numpy and Pillow alone, and onnxruntime only when a model is opened."""
    code = """
import importlib, pkgutil, sys
import export.edge
for module in pkgutil.iter_modules(export.edge.__path__):
    importlib.import_module(f"export.edge.{module.name}")
heavy = {"onnxruntime", "onnx", "torch", "jax", "flax", "tensorflow", "scipy", "safetensors", "tqdm"}
print(sorted((heavy | {"jax_impl", "torch_ref"}) & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "999999999"}, "size is '999999999', not a whole number from 1 to 4096"),
        ({"size_multiple": "8192"}, "size_multiple is"),
        ({"steps": "1000000000"}, "steps is"),
        ({"clamp": "true"}, "clamp is True"),
        ({"guidance": "1e999"}, "guidance is not JSON"),
        ({"alphas_cumprod": "[0.9, NaN]"}, "alphas_cumprod is not JSON"),
        ({"alphas_cumprod": "[true, 0.5]"}, "alphas_cumprod is not a list of numbers"),
        ({"alphas_cumprod": "[1" + 399 * "0" + "]"}, "alphas_cumprod is not JSON"),
        ({"alphas_cumprod": 200_000 * "["}, "nested too deeply"),
        ({"alphas_cumprod": json.dumps(100_001 * [0.5])}, "has 100001 numbers, more than 100000"),
        ({"config": 7_000_000 * " "}, "config has more than 6,400,000 characters"),
        ({"weights_digest": "\x1b[2J"}, r"weights_digest is '\\x1b\[2J'"),
    ],
)
def test_metadata_that_mean_harm_are_one_line(make_model: MakeModel, changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        artifact.open_artifact(make_model(**changes))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 3000


def test_only_the_expected_file_is_opened(make_model: MakeModel) -> None:
    path = make_model()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert artifact.open_artifact(path, expect_sha256=digest.upper()).size == 32
    # Whole and sealed, but another one.
    make_model(gain=2.0)
    with pytest.raises(UserError, match=f"not the expected {digest}; get the file that has"):
        artifact.open_artifact(path, expect_sha256=digest)
    with pytest.raises(UserError, match="--expect-sha256 abc is no SHA-256"):
        artifact.open_artifact(path, expect_sha256="abc")


def test_a_file_too_large_for_a_model_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(sealed.MOST_MODEL_BYTES + 1)
    with pytest.raises(UserError, match="has more than 1,073,741,824 bytes"):
        artifact.open_artifact(path)


def test_a_folder_is_opened_with_all_its_networks(make_model: MakeModel, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    (folder / "onnx").mkdir(parents=True)
    mean = make_model(gain=2.0).rename(folder / "onnx/mean.onnx")
    tables = '{"ddim": {"4": {"t": [9, 0], "source": "mean", "start_from_source": 1.0, "start_from_noise": 0.0}}}'
    make_model(alphas_cumprod=None, tables=tables).rename(folder / "onnx/model.onnx")
    with pytest.raises(UserError, match=r"tables name the source 'mean', which the file lacks; give the folder"):
        artifact.open_artifact(folder)  # Without networks.json there is the denoiser alone.
    held = {"denoiser": {"fp32": VARIANTS["fp32"]}, "mean": {"fp32": Variant("mean.onnx", None, "")}}
    write_networks(folder, held)
    model = artifact.open_artifact(folder)
    assert list(model.networks) == ["denoiser", "mean"]
    assert list(artifact.open_artifact(folder / "onnx/model.onnx").networks) == ["denoiser", "mean"]
    x, t = np.zeros((1, 8, 8, 3), np.float32), np.zeros(1, np.int64)
    alone = artifact.open_artifact(mean)
    np.testing.assert_array_equal(model.networks["mean"](x, x + 0.5, t), alone.denoise(x, x + 0.5, t))
    make_model(weights_digest=64 * "b").rename(folder / "onnx/mean.onnx")
    with pytest.raises(UserError, match=r"mean\.onnx was made from other weights than .*model\.onnx"):
        artifact.open_artifact(folder)
    (folder / "onnx/mean.onnx").unlink()
    with pytest.raises(UserError, match="has no variant fp32 of mean"):
        artifact.open_artifact(folder)
